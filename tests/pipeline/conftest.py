"""A video with a bright face, and its decomposition by the tiny model; a video of two people."""

import pytest
from standin import use_stand_in, write_two, write_video

from dva_core.pipeline import decode, encode
from dva_core.video import open_video

STEPS = 4


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "video.mkv", 6)


@pytest.fixture
def decomposition(video, model, bright_finder):
    return encode(video, model, steps=STEPS)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two people, of whom one leaves before the last two of eight frames."""
    return write_two(tmp_path_factory.mktemp("video") / "two.mkv", 8, alone=(6, 7))


def pictures(path):
    with open_video(path) as reader:
        return [frame.rgb for frame in reader]


def five_frames(folder, model):
    """A decomposition of five frames, whose face a stand-in finds."""
    with pytest.MonkeyPatch.context() as patch:
        use_stand_in(patch, model)
        return encode(write_video(folder / "a.mkv", 5), model, steps=2)


def frames_of(edited, model, path, **settings):
    """Each frame before and after an edit, as `decode` writes it to `path`."""
    seen = []
    decode(edited, model, path, codec="ffv1", watch=lambda i, row, before, after, crop: seen.append((before.rgb, after.rgb)), **settings)
    return seen
