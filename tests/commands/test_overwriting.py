"""What a command reads is never written over."""

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_helpers import pictures

from dva_core.video import VideoWriter, open_video

from .answers import YOUNG, refused

pytestmark = pytest.mark.usefixtures("bright_finder")


def folder_of(video, folder):
    """The frames of a video as a folder of PNGs that this program wrote."""
    with open_video(video) as reader, VideoWriter(folder, reader.info, codec="png") as writer:
        for frame in reader:
            writer.write(frame)
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_source_of_a_decomposition_is_not_overwritten(call, video, tmp_path):
    (tmp_path / "src.mkv").write_bytes(video.read_bytes())
    os.link("src.mkv", "other_name.mkv")
    assert call("encode", "src.mkv", "-o", "c.safetensors", "--steps", 1)[0] == 0
    before = contents(tmp_path)
    for out in ("src.mkv", "./src.mkv", "other_name.mkv"):
        for command in (("decode", "c.safetensors"), ("edit", "c.safetensors", *YOUNG)):
            refused(call(*command, "-o", out, "--codec", "ffv1"), out, "would overwrite", "src.mkv")
    Path("src.mkv").rename("moved.mkv")
    refused(call("decode", "c.safetensors", "-o", "moved.mkv", "--codec", "ffv1", "--video", "moved.mkv"), "would overwrite")
    Path("moved.mkv").rename("src.mkv")
    assert contents(tmp_path) == before


def test_a_source_folder_is_neither_replaced_nor_added_to(call, video, tmp_path):
    folder_of(video, tmp_path / "frames")
    assert call("encode", "frames", "-o", "c.safetensors", "--steps", 1)[0] == 0
    before = contents(tmp_path)
    for command in (("decode", "c.safetensors"), ("edit", "c.safetensors", *YOUNG)):
        refused(call(*command, "-o", "frames", "--codec", "png"), "would overwrite", "frames")
        refused(call(*command, "-o", "out", "--codec", "png", "--sheet", "frames/s.png"), "one of the pictures of")
    refused(call("edit", "frames", *YOUNG, "--steps", 1, "-o", "out.mp4", "--sheet", "frames/s.png"), "one of the pictures of")
    refused(call("sheet", "c.safetensors", "-o", "frames/s.png"), "one of the pictures of")
    refused(call("sheet", "frames", "-o", "frames/frame_000001.png"), "one of the pictures of")
    refused(call("edit", "frames/frame_000001.png", *YOUNG, "-o", "frames", "--codec", "png"), "folder that", "lies in")
    assert contents(tmp_path) == before


def test_a_picture_is_not_written_over_what_is_read(call, video, tmp_path):
    (tmp_path / "me.png").write_bytes(cv2.imencode(".png", pictures(video)[0])[1].tobytes())
    before = contents(tmp_path)
    refused(call("edit", video, *YOUNG, "-o", "out.mp4", "--face", "reference:me.png", "--sheet", "me.png"), "me.png", "is read")
    refused(call("sheet", video, "-o", "me.png", "--face", "reference:me.png"), "me.png", "is read")
    refused(call("sheet", "me.png", "-o", "me.png"), "me.png", "is read")
    refused(call("edit", video, *YOUNG, "-o", "x.jpg", "--codec", "png", "--sheet", "x.jpg"), "x.jpg", "overlap")
    (tmp_path / "out").mkdir()
    refused(call("edit", video, *YOUNG, "-o", "out", "--codec", "png", "--sheet", "out/s.png"), "overlap")
    assert contents(tmp_path) == before


def test_a_model_a_direction_and_a_decomposition_are_not_overwritten_by_another(call, bundle, video, tmp_path):
    own = tmp_path / "own.safetensors"
    own.write_bytes(bundle.read_bytes())
    assert call("encode", video, "-o", "c.safetensors", "--steps", 1, model=own)[0] == 0
    before = contents(tmp_path)
    refused(call("encode", video, "-o", "own.safetensors", model=own), "own.safetensors", "is read")
    refused(call("edit", video, *YOUNG, "-o", "own.safetensors", model=own), "own.safetensors", "is read")
    refused(call("edit", video, "--direction", "c.safetensors", "--scale", "1", "-o", "c.safetensors"), "c.safetensors", "is read")
    refused(call("expression", "c.safetensors", "--frames", 0, 1, "-o", "c.safetensors"), "c.safetensors", "is read")
    refused(call("convert", "own.safetensors", "-o", "own.safetensors"), "own.safetensors", "is read")
    assert contents(tmp_path) == before


def test_a_folder_without_access_is_one_sentence(call, video, tmp_path, monkeypatch):
    stat = Path.stat  # chmod does not bind root, so the answer of the system is put in

    def denied(self, **options):
        if "locked" in self.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", denied)
    refused(call("edit", "locked/video.mp4", *YOUNG, "-o", "out.mp4"), "locked/video.mp4", "Permission denied")
    refused(call("encode", video, "-o", "locked/c.safetensors"), "locked", "Permission denied")
    refused(call("edit", video, *YOUNG, "-o", "out.mp4", "--sheet", "locked/s.png"), "locked", "Permission denied")


def test_a_direction_that_is_read_is_not_written_over(call, model, bundle, tmp_path):
    from dva_core.edit.directions import Direction, encoder_fingerprint

    for name in "ab":
        Direction(np.ones(model.identity_dim), "identity", name, encoder_fingerprint(model, "identity")).save(f"{name}.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    for words in (["a.safetensors", "b.safetensors"], ["b.safetensors", "--without", "a.safetensors"]):
        refused(call("direction", *words, "-o", "a.safetensors"), "would overwrite")
    refused(call("expression", "--attribute", "Smiling", "-o", bundle), "would overwrite")
    assert (tmp_path / "a.safetensors").read_bytes() == before
