"""Sound: copied packets, cuts, delays, and what is done where a container does not take a codec."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from video_helpers import audio_packets, make_clip, sound_length, sound_samples

from dva_core.video import VideoWriter, open_video

NTSC = Fraction(30000, 1001)


def copy(source, target, codec="h264", limit=None, copy_audio=True, compatible=False, **select):
    settings = {"preset": "ultrafast", "copy_audio": copy_audio, "compatible": compatible}
    with open_video(source, **select) as reader, VideoWriter(target, reader.info, codec, audio_from=source, **settings) as writer:
        for frame in reader:
            if frame.index == limit:
                break
            writer.write(frame)
    return target


def sound_codec(path):
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.codec.canonical_name


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_shared_clip_keeps_its_sound(shared, tmp_path, suffix):
    source = shared("data/clips/swiz3n.mpg")
    target = copy(source, tmp_path / f"a.{suffix}")
    original, copied = audio_packets(source), audio_packets(target)
    assert [p for _, p in original] == [p for _, p in copied]
    assert all(abs(a - b) < Fraction(1, 900) for (a, _), (b, _) in zip(original, copied))
    assert sound_length(target) == pytest.approx(sound_length(source), abs=1e-6)
    assert open_video(target).count_frames() == 75


@pytest.mark.parametrize(
    ("sound", "source_suffix", "suffix"),
    [
        ("aac", "mp4", "mp4"),
        ("aac", "mp4", "mov"),
        ("mp2", "mkv", "mkv"),
        ("mp2", "mkv", "mp4"),
        ("pcm_s16le", "mov", "mkv"),
        ("flac", "mkv", "mp4"),
    ],
)
def test_packets_are_copied(tmp_path, sound, source_suffix, suffix):
    source = make_clip(tmp_path / f"a.{source_suffix}", 30, rate=NTSC, sound=sound)
    target = copy(source, tmp_path / f"b.{suffix}")
    original, copied = audio_packets(source), audio_packets(target)
    assert [p for _, p in original] == [p for _, p in copied]
    assert all(abs(a - b) <= Fraction(1, 1000) for (a, _), (b, _) in zip(original, copied))


def test_sound_and_picture_stay_together_in_matroska(tmp_path):
    """Encoder delay before 0 must not push the picture back."""
    source = make_clip(tmp_path / "a.mp4", 30, sound="aac")
    target = copy(source, tmp_path / "b.mkv")
    assert next(iter(open_video(target))).time == 0
    (start, a), (copied_start, b) = sound_samples(source), sound_samples(target)
    assert shift(a, b) / 48000 + float(copied_start - start) == pytest.approx(0, abs=2e-3)


def shift(a: np.ndarray, b: np.ndarray) -> float:
    """Samples by which b runs behind a, from where the growing tone reaches the same loudness."""
    loud = [np.interp(0.3, np.maximum.accumulate(np.abs(x)), np.arange(len(x))) for x in (a, b)]
    return loud[1] - loud[0]


def test_late_sound_stays_late(tmp_path):
    source = make_clip(tmp_path / "a.mp4", 40, sound="aac", sound_start=Fraction(1, 2))
    for suffix in ("mp4", "mkv"):
        target = copy(source, tmp_path / f"b.{suffix}")
        assert abs(sound_samples(target)[0] - sound_samples(source)[0]) <= Fraction(1, 1000)
        assert next(iter(open_video(target))).time == 0


def test_transport_stream_with_its_own_clock(tmp_path):
    """Time zero is the earlier of sound and picture; the distance between them stays."""
    source = make_clip(tmp_path / "a.ts", 40, sound="aac")
    target = copy(source, tmp_path / "b.mp4")
    before = sound_samples(source)[0] - next(iter(open_video(source))).time
    after = sound_samples(target)[0] - next(iter(open_video(target))).time
    assert abs(before - after) <= Fraction(1, 1000)
    assert open_video(target).count_frames() == 40


@pytest.mark.parametrize(("sound", "suffix", "slack"), [("aac", "mp4", 0.025), ("mp2", "mkv", 0.03), ("pcm_s16le", "mov", 0.0002)])
@pytest.mark.parametrize(("start", "length"), [(0.6, None), (0, 1.0), (0.7, 0.5), (2.6, 0.4)])
def test_sound_is_cut_with_the_picture(tmp_path, sound, suffix, slack, start, length):
    source = make_clip(tmp_path / f"a.{suffix}", 90, sound=sound)
    target = copy(source, tmp_path / f"b.{suffix}", start=start, length=length)
    frames = open_video(target).count_frames()
    begin, samples = sound_samples(target)
    whole_begin, whole = sound_samples(source)
    seconds = len(samples) / 48000
    assert abs(float(begin)) <= slack + 0.012 and abs(float(begin) + seconds - frames / 25) <= 2 * slack + 0.012
    # the loudness at a time of the output is that of the source at start + time
    first = Fraction(str(start)) if start == 0 else next(f.time for f in open_video(source, start=start))
    middle = 0.2
    level = level_at(samples, middle - float(begin))
    assert level == pytest.approx(level_at(whole, middle + float(first - whole_begin)), abs=0.02)


def level_at(samples: np.ndarray, seconds: float) -> float:
    middle = round(seconds * 48000)
    return float(np.abs(samples[middle - 500 : middle + 500]).max())


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_pcm_is_cut_at_the_sample_without_loss(tmp_path, suffix):
    source = make_clip(tmp_path / "a.mov", 50, sound="pcm_s16le")
    target = copy(source, tmp_path / f"b.{suffix}", start=0.52, length=0.4)
    _, whole = sound_samples(source)
    begin, part = sound_samples(target)
    first = round(0.52 * 48000)
    assert begin == 0 and np.array_equal(part, whole[first : first + 19200])


def test_fewer_frames_written_cut_the_sound(tmp_path):
    source = make_clip(tmp_path / "a.mp4", 60, sound="aac")
    target = copy(source, tmp_path / "b.mp4", limit=25)
    assert sound_length(target) == pytest.approx(1.0, abs=0.05)


def test_every_nth_frame_keeps_all_the_sound(tmp_path):
    source = make_clip(tmp_path / "a.mp4", 50, sound="aac")
    target = copy(source, tmp_path / "b.mp4", every=3)
    assert audio_packets(target) == audio_packets(source)


@pytest.mark.parametrize(("sound", "source_suffix", "suffix"), [("libopus", "mkv", "mov"), ("adpcm_ima_wav", "avi", "mp4")])
def test_sound_the_container_does_not_take_is_encoded(tmp_path, sound, source_suffix, suffix):
    source = make_clip(tmp_path / f"a.{source_suffix}", 50, sound=sound)
    target = copy(source, tmp_path / f"b.{suffix}")
    assert sound_codec(target) == "aac"
    assert sound_length(target) == pytest.approx(sound_length(source), abs=0.05)


@pytest.mark.parametrize("part", [{}, {"start": 0.2}])
def test_uncompressed_sound_in_mp4_becomes_aac(tmp_path, caplog, part):
    source = make_clip(tmp_path / "a.mov", 25, sound="pcm_s16le")
    for suffix, expected in (("mp4", "aac"), ("m4v", "aac"), ("mov", "pcm_s16le"), ("mkv", "pcm_s16le")):
        caplog.clear()
        assert sound_codec(copy(source, tmp_path / f"b.{suffix}", **part)) == expected
        assert len(caplog.records) == (expected == "aac")


def test_compatible_sound(tmp_path):
    for sound, expected in (("aac", "aac"), ("libmp3lame", "mp3"), ("flac", "aac"), ("mp2", "aac")):
        source = make_clip(tmp_path / "a.mkv", 25, sound=sound)
        assert sound_codec(copy(source, tmp_path / "b.mp4", compatible=True)).startswith(expected)


def test_copying_can_be_turned_off(tmp_path):
    source = make_clip(tmp_path / "a.mkv", 25, sound="mp2")
    assert sound_codec(copy(source, tmp_path / "b.mp4", copy_audio=False)) == "aac"
    assert sound_codec(copy(source, tmp_path / "b.mkv", copy_audio=False)) == "flac"


def test_silent_clip_gets_no_sound(tmp_path):
    target = copy(make_clip(tmp_path / "a.mp4", 5), tmp_path / "b.mp4")
    with av.open(str(target)) as container:
        assert not container.streams.audio
