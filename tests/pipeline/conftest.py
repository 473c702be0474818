"""A video with a bright face, and its decomposition by the tiny model."""

import pytest
from standin import write_video

from dva_core.pipeline import encode
from dva_core.video import open_video

STEPS = 4


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "video.mkv", 6)


@pytest.fixture
def decomposition(video, model, bright_finder):
    return encode(video, model, steps=STEPS)


def pictures(path):
    with open_video(path) as reader:
        return [frame.rgb for frame in reader]
