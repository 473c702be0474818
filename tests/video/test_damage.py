"""Files that are damaged or cut short, and ones that cannot be opened: a sentence or a warning, and what is whole is read."""

from __future__ import annotations

import logging
from fractions import Fraction

import av
import numpy as np
import pytest
from video_helpers import audio_packets, make_video, one_sentence, tone

from dva_core.errors import DVAError
from dva_core.video import VideoWriter, open_video


@pytest.mark.parametrize(
    "make",
    [
        lambda p: (p / "text.mp4").write_text("this is not a video\n" * 50) and p / "text.mp4",
        lambda p: (p / "empty.mp4").write_bytes(b"") or p / "empty.mp4",
        lambda p: p / "absent.mp4",
        lambda p: (p / "cut.mp4").write_bytes(make_video(p / "whole.mp4", 20).read_bytes()[:1500]) and p / "cut.mp4",
        lambda p: (p / "folder").mkdir() or p / "folder",
    ],
    ids=["text", "empty", "absent", "cut short", "empty folder"],
)
def test_what_cannot_be_opened_is_said_in_a_sentence(tmp_path, make):
    path = make(tmp_path)
    with pytest.raises(DVAError) as error:
        list(open_video(path))
    assert one_sentence(error) and str(path) in str(error.value)


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48000, layout="stereo")
        for chunk in tone(0.5, 48000, "fltp"):
            out.mux(stream.encode(chunk))
        out.mux(stream.encode(None))
    with pytest.raises(DVAError, match="no picture stream") as error:
        open_video(tmp_path / "a.m4a")
    assert one_sentence(error)


def test_damage_in_the_middle_is_passed_over_with_one_warning(tmp_path, caplog):
    path = make_video(tmp_path / "a.mkv", 60, size=(160, 120), options={"g": "10", "crf": "5", "preset": "ultrafast"}, native=True)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = bytes(np.random.default_rng(0).integers(0, 256, 6000, dtype=np.uint8))
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        frames = list(open_video(path))
    assert 30 <= len(frames) <= 60
    assert len(caplog.records) == 1 and "damaged" in caplog.text and f"{len(frames)} frames" in caplog.text


def test_video_that_ends_early_warns(tmp_path, caplog):
    path = make_video(tmp_path / "a.mp4", 60, size=(160, 120), native=True, options={"crf": "5"})
    fast = tmp_path / "fast.mp4"
    with av.open(str(path)) as source, av.open(str(fast), "w", container_options={"movflags": "+faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    fast.write_bytes(fast.read_bytes()[: fast.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        frames = list(open_video(fast))
    assert 5 < len(frames) < 60 and len(caplog.records) == 1


@pytest.mark.parametrize("tagged", [True, False])
def test_half_a_matroska_file_warns(tmp_path, caplog, tagged):
    whole = make_video(tmp_path / "a.mkv", 100, size=(160, 120), native=True, options={"crf": "5", "g": "5"}, sound="aac").read_bytes()
    if not tagged:
        whole = whole.replace(b"DURATION", b"DURATIEN")
    (tmp_path / "whole.mkv").write_bytes(whole)
    with open_video(tmp_path / "whole.mkv") as reader:
        assert len(list(reader)) == 100 and reader.info.duration == pytest.approx(4, abs=0.05)
    assert not caplog.records
    (tmp_path / "half.mkv").write_bytes(whole[: len(whole) // 2])
    frames = list(open_video(tmp_path / "half.mkv"))
    assert 20 < len(frames) < 80 and len(caplog.records) == 1 and caplog.records[0].levelname == "WARNING"
    assert f"pictures for {len(frames) / 25:.2f} of the 4.0" in caplog.text or "damaged" in caplog.text
    caplog.clear()
    assert list(open_video(tmp_path / "half.mkv", length=0.4)) and not caplog.records
    with open_video(tmp_path / "half.mkv", start=0.4, every=3) as reader:
        assert list(reader) and list(reader) and len(caplog.records) == 1  # said once, however often it is read


def test_sound_longer_than_the_pictures_is_no_damage(tmp_path, caplog):
    """And all of it is kept."""
    for suffix in ("mkv", "mp4", "ts"):
        source = make_video(tmp_path / f"a.{suffix}", 50, sound="aac", sound_start=Fraction(3, 2))
        with open_video(source) as reader, VideoWriter(tmp_path / "b.mkv", reader.info, audio_from=source) as writer:
            for frame in reader:
                writer.write(frame)
        assert not caplog.records
        assert len(audio_packets(tmp_path / "b.mkv")) == len(audio_packets(source))
