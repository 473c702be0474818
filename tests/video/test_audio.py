"""Sound: copied packets, cuts, delays, and what is done where a container does not take a codec."""

from __future__ import annotations

import errno
from fractions import Fraction

import av
import av.error
import numpy as np
import pytest
from video_helpers import NTSC, audio_packets, copy_with_sound, damaged, level_at, make_video, sound_length, sound_samples

from dva_core.video import open_video
from dva_core.video.failures import of_ffmpeg
from dva_core.video.resample import Resampler, encoder_layout


def sound_codec(path):
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.codec.canonical_name


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_shared_video_keeps_its_sound(shared, tmp_path, suffix):
    source = shared("data/clips/swiz3n.mpg")
    target = copy_with_sound(source, tmp_path / f"a.{suffix}")
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
    source = make_video(tmp_path / f"a.{source_suffix}", 30, rate=NTSC, sound=sound)
    target = copy_with_sound(source, tmp_path / f"b.{suffix}")
    original, copied = audio_packets(source), audio_packets(target)
    assert [p for _, p in original] == [p for _, p in copied]
    assert all(abs(a - b) <= Fraction(1, 1000) for (a, _), (b, _) in zip(original, copied))


def test_sound_and_picture_stay_together_in_matroska(tmp_path):
    """Encoder delay before 0 must not push the picture back."""
    source = make_video(tmp_path / "a.mp4", 30, sound="aac")
    target = copy_with_sound(source, tmp_path / "b.mkv")
    assert next(iter(open_video(target))).time == 0
    (start, a), (copied_start, b) = sound_samples(source), sound_samples(target)
    assert shift(a, b) / 48000 + float(copied_start - start) == pytest.approx(0, abs=2e-3)


def shift(a: np.ndarray, b: np.ndarray) -> float:
    """Samples by which b runs behind a, from where the growing tone reaches the same loudness."""
    loud = [np.interp(0.3, np.maximum.accumulate(np.abs(x)), np.arange(len(x))) for x in (a, b)]
    return loud[1] - loud[0]


def test_late_sound_stays_late(tmp_path):
    source = make_video(tmp_path / "a.mp4", 40, sound="aac", sound_start=Fraction(1, 2))
    for suffix in ("mp4", "mkv"):
        target = copy_with_sound(source, tmp_path / f"b.{suffix}")
        assert abs(sound_samples(target)[0] - sound_samples(source)[0]) <= Fraction(1, 1000)
        assert next(iter(open_video(target))).time == 0


def test_transport_stream_with_its_own_clock(tmp_path):
    """Time zero is the earlier of sound and picture; the distance between them stays."""
    source = make_video(tmp_path / "a.ts", 40, sound="aac")
    target = copy_with_sound(source, tmp_path / "b.mp4")
    before = sound_samples(source)[0] - next(iter(open_video(source))).time
    after = sound_samples(target)[0] - next(iter(open_video(target))).time
    assert abs(before - after) <= Fraction(1, 1000)
    assert open_video(target).count_frames() == 40


@pytest.mark.parametrize(("sound", "suffix", "slack"), [("aac", "mp4", 0.025), ("mp2", "mkv", 0.03), ("pcm_s16le", "mov", 0.0002)])
@pytest.mark.parametrize(("start", "length"), [(0.6, None), (0, 1.0), (0.7, 0.5), (2.6, 0.4)])
def test_sound_is_cut_with_the_picture(tmp_path, sound, suffix, slack, start, length):
    source = make_video(tmp_path / f"a.{suffix}", 90, sound=sound)
    target = copy_with_sound(source, tmp_path / f"b.{suffix}", start=start, length=length)
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


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
def test_pcm_is_cut_at_the_sample_without_loss(tmp_path, suffix):
    source = make_video(tmp_path / "a.mov", 50, sound="pcm_s16le")
    target = copy_with_sound(source, tmp_path / f"b.{suffix}", start=0.52, length=0.4)
    _, whole = sound_samples(source)
    begin, part = sound_samples(target)
    first = round(0.52 * 48000)
    assert begin == 0 and np.array_equal(part, whole[first : first + 19200])


def test_fewer_frames_written_cut_the_sound(tmp_path):
    source = make_video(tmp_path / "a.mp4", 60, sound="aac")
    target = copy_with_sound(source, tmp_path / "b.mp4", limit=25)
    assert sound_length(target) == pytest.approx(1.0, abs=0.05)


def test_every_nth_frame_keeps_all_the_sound(tmp_path):
    source = make_video(tmp_path / "a.mp4", 50, sound="aac")
    target = copy_with_sound(source, tmp_path / "b.mp4", every=3)
    assert audio_packets(target) == audio_packets(source)


@pytest.mark.parametrize(("sound", "source_suffix", "suffix"), [("libopus", "mkv", "mov"), ("adpcm_ima_wav", "avi", "mp4")])
def test_sound_the_container_does_not_take_is_encoded(tmp_path, sound, source_suffix, suffix):
    source = make_video(tmp_path / f"a.{source_suffix}", 50, sound=sound)
    target = copy_with_sound(source, tmp_path / f"b.{suffix}")
    assert sound_codec(target) == "aac"
    assert sound_length(target) == pytest.approx(sound_length(source), abs=0.05)


@pytest.mark.parametrize("part", [{}, {"start": 0.2}])
def test_uncompressed_sound_in_mp4_becomes_aac(tmp_path, caplog, part):
    source = make_video(tmp_path / "a.mov", 25, sound="pcm_s16le")
    for suffix, expected in (("mp4", "aac"), ("m4v", "aac"), ("mov", "pcm_s16le"), ("mkv", "pcm_s16le")):
        caplog.clear()
        assert sound_codec(copy_with_sound(source, tmp_path / f"b.{suffix}", **part)) == expected
        assert len(caplog.records) == (expected == "aac")


def test_compatible_sound(tmp_path):
    for sound, expected in (("aac", "aac"), ("libmp3lame", "mp3"), ("flac", "aac"), ("mp2", "aac")):
        source = make_video(tmp_path / "a.mkv", 25, sound=sound)
        assert sound_codec(copy_with_sound(source, tmp_path / "b.mp4", compatible=True)).startswith(expected)


def test_copying_can_be_turned_off(tmp_path):
    source = make_video(tmp_path / "a.mkv", 25, sound="mp2")
    assert sound_codec(copy_with_sound(source, tmp_path / "b.mp4", copy_audio=False)) == "aac"
    assert sound_codec(copy_with_sound(source, tmp_path / "b.mkv", copy_audio=False)) == "flac"


def test_silent_video_gets_no_sound(tmp_path):
    target = copy_with_sound(make_video(tmp_path / "a.mp4", 5), tmp_path / "b.mp4")
    with av.open(str(target)) as container:
        assert not container.streams.audio


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("sound", ["ac3", "eac3", "aac", "mp2"])
def test_a_damaged_packet_costs_no_more_than_itself(tmp_path, caplog, sound, suffix):
    """Whether the muxer takes the packet or not, the pictures and the rest of the sound are written."""
    source = damaged(make_video(tmp_path / "a.mkv", 30, sound=sound), tmp_path / "bad.mkv", "audio", lambda n: n == 5)
    target = copy_with_sound(source, tmp_path / f"b.{suffix}")
    before, after = audio_packets(source), audio_packets(target)
    gone = len(before) - len(after)
    assert open_video(target).count_frames() == 30 and gone in (0, 1)
    assert [data for _, data in after] == [data for n, (_, data) in enumerate(before) if not gone or n != 5]
    assert gone == len([r for r in caplog.records if "damaged" in r.message])


def test_sound_of_which_nothing_can_be_decoded_is_said_to_be_left_out(tmp_path, caplog):
    source = damaged(make_video(tmp_path / "a.mkv", 10, sound="flac"), tmp_path / "bad.mkv", "audio")
    target = copy_with_sound(source, tmp_path / "b.mp4", compatible=True)
    assert open_video(target).count_frames() == 10
    assert [r.levelname for r in caplog.records] == ["WARNING"] and "sound (flac) is left out" in caplog.text


def test_sound_encoded_anew_tells_of_its_gaps(tmp_path, caplog):
    source = damaged(make_video(tmp_path / "a.mkv", 30, sound="flac"), tmp_path / "bad.mkv", "audio", lambda n: n in (2, 4))
    target = copy_with_sound(source, tmp_path / "b.mp4", compatible=True)
    assert sound_length(target) > 0.9 and len(caplog.records) == 1 and "has gaps, 2 in all" in caplog.text


def audio_frame(layout: str, rate: int, fmt: str = "fltp", samples: int = 1024) -> av.AudioFrame:
    shape = (av.AudioLayout(layout).nb_channels, samples) if fmt.endswith("p") else (1, av.AudioLayout(layout).nb_channels * samples)
    frame = av.AudioFrame.from_ndarray(np.zeros(shape, {"fltp": np.float32, "s16": np.int16}[fmt]), fmt, layout)
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    return frame


def test_sound_may_change_on_the_way():
    encoder = av.CodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "stereo", "fltp"
    resampler, seconds, at = Resampler(encoder), 0.0, Fraction(0)
    frames = []
    for layout, rate, fmt in [("stereo", 48000, "fltp"), ("5.1(side)", 48000, "fltp"), ("mono", 22050, "s16"), ("5.0", 44100, "fltp")] * 2:
        for _ in range(4):
            frame = audio_frame(layout, rate, fmt)
            frame.pts = round(at * rate)
            at, seconds = at + Fraction(1024, rate), seconds + 1024 / rate
            frames.extend(resampler(frame))
    frames.extend(resampler(None))
    assert {(f.layout.name, f.sample_rate, f.format.name) for f in frames} == {("stereo", 48000, "fltp")}
    assert sum(f.samples for f in frames) / 48000 == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize("codec", ["aac", "flac"])
@pytest.mark.parametrize("layout", ["mono", "2.1", "3.1", "quad(side)", "5.1(side)", "6.1", "7.1(wide)", "octagonal", "hexadecagonal"])
def test_every_layout_finds_one_that_the_encoder_takes(codec, layout):
    source = av.AudioLayout(layout)
    name = encoder_layout(codec, 48000, source)
    assert av.AudioLayout(name).nb_channels <= source.nb_channels
    encoder = av.CodecContext.create(codec, "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, name, encoder.codec.audio_formats[0]
    encoder.open()


def test_a_full_disk_is_no_damage_of_the_sound():
    assert not of_ffmpeg(av.error.OSError(errno.ENOSPC, "No space left on device")) and not of_ffmpeg(MemoryError())
    assert of_ffmpeg(av.error.InvalidDataError(1094995529, "Invalid data")) and of_ffmpeg(ValueError("layout"))
    assert of_ffmpeg(av.error.ArgumentError(errno.EINVAL, "Invalid argument"))
