"""Outputs: which are refused, what is left behind, and what a failure is blamed on."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image
from video_helpers import copy_video, make_video, one_sentence, picture

from dva_core.errors import DVAError
from dva_core.video import Frame, VideoInfo, VideoWriter, check_output, open_video
from dva_core.video.failures import read_error, write_error


@pytest.mark.parametrize(("codec", "quality", "name"), [("ffv1", 18, "a.mkv"), ("png", 18, "a"), ("h264", 0, "a.mp4")])
def test_what_cannot_be_compatible_is_refused(tmp_path, codec, quality, name):
    with pytest.raises(DVAError, match="every player shows") as error:
        VideoWriter(tmp_path / name, VideoInfo.for_images(16, 12, 25), codec, quality, compatible=True)
    assert one_sentence(error) and not list(tmp_path.iterdir())


def test_png_refuses_a_folder_that_is_not_its_own(tmp_path):
    folder = tmp_path / "holiday"
    folder.mkdir()
    Image.fromarray(picture(0, 8, 8)).save(folder / "frame_000000.png")
    with pytest.raises(DVAError, match="was not written by this program") as error:
        check_output(folder, "png")
    assert one_sentence(error) and (folder / "frame_000000.png").exists()
    mine = copy_video(make_video(tmp_path / "a.mp4", 2), tmp_path / "mine", "png")
    (mine / "thesis.txt").write_text("dear")
    with pytest.raises(DVAError, match="was not written by this program"):
        check_output(mine, "png")
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", "png")


@pytest.mark.parametrize(
    ("name", "codec", "words"),
    [
        ("a.avi", "h264", "h264 cannot be written to 'a.avi'"),
        ("a.mp4", "ffv1", "ffv1 cannot be written to 'a.mp4'"),
        ("a", "h264", "cannot be written to 'a'"),
        ("a.mp4", "vp9", "codec 'vp9' is not known"),
        ("a.mp4", "png", "name a folder"),
        ("nowhere/a.mp4", "h264", "does not exist"),
        ("nowhere/a", "png", "does not exist"),
    ],
)
def test_impossible_outputs_are_refused_up_front(tmp_path, name, codec, words):
    with pytest.raises(DVAError, match=words) as error:
        check_output(tmp_path / name, codec)
    assert one_sentence(error)


def test_folder_or_input_as_output(tmp_path):
    (tmp_path / "d.mp4").mkdir()
    with pytest.raises(DVAError, match="is a folder"):
        check_output(tmp_path / "d.mp4")
    source = make_video(tmp_path / "a.mp4", 2)
    with pytest.raises(DVAError, match="would overwrite"):
        check_output(source, source=source)
    with pytest.raises(DVAError, match="quality"):
        VideoWriter(tmp_path / "b.mp4", open_video(source).info, quality=70)
    with pytest.raises(DVAError, match="preset"):
        VideoWriter(tmp_path / "b.mp4", open_video(source).info, preset="warp")


def test_read_only_folder(tmp_path, monkeypatch):
    if os.geteuid() == 0:  # root may write anywhere: let the operating system's answer be played

        def refuse(*_, **__):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("dva_core.files.Path.mkdir", refuse)
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(DVAError, match="may not be written there") as error:
        check_output(tmp_path / "a.mp4")
    assert one_sentence(error)


@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "h264"), ("out.mkv", "ffv1"), ("out", "png")])
@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(tmp_path, name, codec, stop):
    source = make_video(tmp_path / "a.mp4", 10)
    before = set(tmp_path.iterdir())
    with pytest.raises(stop), open_video(source) as reader, VideoWriter(tmp_path / name, reader.info, codec, audio_from=source) as writer:
        for frame in reader:
            writer.write(frame)
            if frame.index == 4:
                raise stop
    assert set(tmp_path.iterdir()) == before


def test_existing_output_survives_a_failure_and_is_replaced_by_success(tmp_path):
    source = make_video(tmp_path / "a.mp4", 6)
    target = tmp_path / "b.mp4"
    target.write_text("precious")
    with pytest.raises(ZeroDivisionError), open_video(source) as reader, VideoWriter(target, reader.info) as writer:
        writer.write(next(iter(reader)))
        raise ZeroDivisionError
    assert target.read_text() == "precious"
    copy_video(source, target)
    assert open_video(target).info.frames == 6


def test_full_disk_is_said_in_a_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    source = make_video(tmp_path / "a.mp4", 6)
    before = set(tmp_path.iterdir())

    def full(self, packets):
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dva_core.video.writer._FileSink._mux", full)
    with pytest.raises(DVAError, match="disk is full") as error:
        copy_video(source, tmp_path / "b.mp4")
    assert one_sentence(error) and set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (av.error.ArgumentError(errno.EINVAL, "Invalid argument"), "FFmpeg cannot encode .*Invalid argument.*another codec"),
        (av.error.ExternalError(542398533, "Generic error"), "FFmpeg cannot encode .*Generic error.*another codec"),
        (av.error.OSError(errno.EIO, "Input/output error"), "Input/output error.* check that its disk"),
        (OSError(errno.EFBIG, "File too large"), "larger than its disk"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "too long .* shorter"),
        (OSError(errno.EROFS, "Read-only file system"), "may not be written to"),
        (av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory"), "too little memory"),
        (av.error.FileNotFoundError(errno.ENOENT, "No such file or directory"), "its folder is gone"),
    ],
    ids=str,
)
def test_a_failure_to_write_is_blamed_on_its_cause(tmp_path, error, words):
    message = str(write_error(error, tmp_path / "gone" / "a.mp4"))
    assert re.search(words, message) and message.endswith(".") and "\n" not in message
    assert ("disk" in message) == ("disk" in words or "too long" in words)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (av.error.InvalidDataError(1094995529, "Invalid data found"), "not a video .*Invalid data found.* convert"),
        (av.error.OSError(errno.EIO, "Input/output error"), "cannot be read .*Input/output error.* its disk"),
        (av.error.PermissionError(errno.EACCES, "Permission denied"), "permissions"),
        (av.error.FileNotFoundError(errno.ENOENT, "No such file or directory"), "There is no file"),
    ],
    ids=str,
)
def test_a_failure_to_read_is_blamed_on_its_cause(tmp_path, error, words):
    message = str(read_error(error, tmp_path / "a.mp4"))
    assert re.search(words, message) and message.endswith(".") and ("convert" in message) == ("convert" in words)


def test_no_frames_and_wrong_sizes(tmp_path):
    info = VideoInfo.for_images(16, 12, 25)
    with pytest.raises(DVAError, match="No frame was given"), VideoWriter(tmp_path / "a.mp4", info):
        pass
    with pytest.raises(DVAError, match="16x12"), VideoWriter(tmp_path / "a.mp4", info) as writer:
        writer.write(Frame.from_rgb(picture(0, 18, 12), 0))
    assert not list(tmp_path.iterdir())


def test_a_rate_no_encoder_can_count_is_said_in_a_sentence(tmp_path):
    fine = Fraction(10**12 + 1, 10**11)
    info = replace(VideoInfo.for_images(16, 12, 25), rate=fine, time_base=1 / fine)
    with pytest.raises(DVAError, match="choose another rate") as error, VideoWriter(tmp_path / "a.mp4", info) as writer:
        writer.write(Frame.from_rgb(picture(0, 16, 12), 0, time_base=info.time_base))
    assert one_sentence(error) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "h264"), ("out", "png")])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, name, codec, there):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / f"target{Path(name).suffix}", tmp_path / name
    if there:
        target.mkdir() if codec == "png" else target.write_bytes(b"old")
    link.symlink_to(target)
    source = make_video(tmp_path / "a.mp4", 3)
    for _ in range(2):  # the second time over what the first wrote
        with open_video(source) as reader, VideoWriter(link, reader.info, codec) as writer:
            for frame in reader:
                writer.write(frame)
        assert link.is_symlink() and open_video(target).count_frames() == 3
        assert [path.name for path in (tmp_path / "disk").iterdir()] == [target.name]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.mp4", "disk", name])


def test_a_video_of_the_longest_name_is_written(tmp_path):
    source, out = make_video(tmp_path / "a.mp4", 3), tmp_path / ("é" * 122 + ".mp4")
    with open_video(source) as reader, VideoWriter(out, reader.info) as writer:
        for frame in reader:
            writer.write(frame)
    assert open_video(out).count_frames() == 3
    with pytest.raises(DVAError, match="too long"):
        check_output(tmp_path / ("é" * 128 + ".mp4"))
    with pytest.raises(DVAError, match="is empty"):
        check_output("")
