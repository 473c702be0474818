"""A folder of decompositions by content: encoded once, opened by whoever has the same video, settings and model."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from standin import stand_in, write_video

import dva_core.pipeline.cache as cache
from dva_core.errors import DVAError
from dva_core.faces.finder import FaceFinder
from dva_core.pipeline import decode
from dva_core.pipeline.cache import encode_cached
from dva_core.pipeline.encoding import encode_video


@pytest.fixture
def encodes(monkeypatch, model):
    """How often something was encoded."""
    finder, count = stand_in(model), []
    monkeypatch.setattr(FaceFinder, "of", classmethod(lambda cls, *_: finder))
    monkeypatch.setattr(cache, "encode_video", lambda *args, **settings: count.append(1) or encode_video(*args, **settings))
    return count


def test_the_same_video_is_encoded_once(model, encodes, tmp_path):
    video, copy = write_video(tmp_path / "video.mkv", 3), tmp_path / "elsewhere.mkv"
    shutil.copyfile(video, copy)
    first = encode_cached(video, model, tmp_path / "cache", steps=2)
    second = encode_cached(copy, model, tmp_path / "cache", steps=2, batch_size=1, scratch=tmp_path)
    assert len(encodes) == 1 and second.info.source == str(copy) and first.info.source == str(video)
    np.testing.assert_array_equal(first.x_T[:], second.x_T[:])
    video.unlink()
    assert decode(second, model, tmp_path / "out.mkv", codec="ffv1").frames == 3  # from its own source


def test_what_makes_a_difference(model, encodes, tmp_path):
    video, other = write_video(tmp_path / "video.mkv", 3), write_video(tmp_path / "other.mkv", 4)
    for number, (source, settings) in enumerate(
        [(video, {}), (video, {"steps": 3}), (video, {"max_frames": 2}), (video, {"face": ("position", 0.5, 0.5)}), (other, {})], 1
    ):
        encode_cached(source, model, tmp_path / "cache", **{"steps": 2, **settings})
        assert len(encodes) == number == len(list((tmp_path / "cache").glob("*.safetensors")))
    encode_cached(video, model, tmp_path / "cache", steps=2, face="largest", clamp=True, max_frames=None)  # as usual
    assert len(encodes) == 5


def test_a_damaged_file_is_made_again(model, encodes, tmp_path):
    video = write_video(tmp_path / "video.mkv", 3)
    path = encode_cached(video, model, tmp_path / "cache", steps=2).store.path
    path.write_bytes(path.read_bytes()[:100])
    assert encode_cached(video, model, tmp_path / "cache", steps=2).faces == 3 and len(encodes) == 2


def test_two_at_a_time(model, encodes, tmp_path):
    video, results = write_video(tmp_path / "video.mkv", 3), []
    threads = [threading.Thread(target=lambda: results.append(encode_cached(video, model, tmp_path / "cache", steps=2))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and len(encodes) == 1


def test_a_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DVAError, match="cannot be made"):
        encode_cached(write_video(tmp_path / "video.mkv", 3), model, tmp_path / "file" / "x", steps=2)
