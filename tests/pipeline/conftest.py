"""A video with a bright face, and its decomposition by the tiny model; a video of two people."""

import pytest
from standin import write_two, write_video

from dva_core.pipeline import encode
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
