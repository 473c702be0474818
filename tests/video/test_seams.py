"""Files joined end to end: the pictures and the sound go on where the next file begins."""

from __future__ import annotations

import errno
import logging
from fractions import Fraction

import av
import numpy as np
import pytest
from video_helpers import audio_packets, copy_with_sound, level_at, make_video, sound_samples

from dva_core.video import open_video
from dva_core.video.seams import SoundSeams, leaps


def join(path, *parts):
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def part(path, frames=30, late=0, **settings):
    """A transport stream of `frames` pictures, `late` seconds on its clock."""
    pts = [round(25 * late) + i for i in range(frames)]
    return make_video(path, frames, pts=pts, sound="aac", sound_start=Fraction(late), options={"bf": "2", "g": "12"}, **settings)


def times(path):
    return [frame.time for frame in open_video(path)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_shared_video_twice(shared, tmp_path, suffix):
    video = shared("data/clips/swiz3n.mpg")
    twice = join(tmp_path / "twice.mpg", video, video)
    assert times(twice) == [Fraction(i, 25) for i in range(150)]
    target = copy_with_sound(twice, tmp_path / f"b.{suffix}")
    assert times(target) == [Fraction(i, 25) for i in range(150)]
    packets, once = audio_packets(target), audio_packets(video)
    assert [p for _, p in packets] == [p for _, p in once] * 2
    again = [time - 3 for time, _ in packets[len(once) :]]
    assert all(abs(a - b) <= Fraction(1, 900) for a, (b, _) in zip(again, once, strict=True))


@pytest.mark.parametrize("late", [0, 1000], ids=["back", "ahead"])
@pytest.mark.parametrize("copy_audio", [True, False])
def test_the_sound_stays_with_the_pictures(tmp_path, late, copy_audio):
    parts = part(tmp_path / "a.ts"), part(tmp_path / "b.ts", 50, late)
    target = copy_with_sound(join(tmp_path / "c.ts", *parts), tmp_path / "d.mkv", copy_audio=copy_audio)
    steps = np.diff([float(t) for t in times(target)])
    assert len(steps) == 79 and np.allclose(steps, 0.04, atol=1e-3)
    begin, samples = sound_samples(target)
    times_shown = times(target)
    for source, at in zip(parts, (0, 30), strict=True):
        own_begin, own = sound_samples(source)
        own_shown = times(source)[0]
        for later in (0.4, 0.8):
            level = level_at(own, later + float(own_shown - own_begin))
            assert level_at(samples, later + float(times_shown[at] - begin)) == pytest.approx(level, abs=0.02)


def test_sound_longer_or_shorter_than_its_pictures(tmp_path):
    """The next file's sound begins with its pictures; what would lie over it, or under, is left out."""
    for sound_frames in (20, 45):
        pictures = make_video(tmp_path / "p.ts", 30, options={"bf": "0", "g": "12"})
        tones = make_video(tmp_path / "s.ts", sound_frames, sound="aac", options={"bf": "0", "g": "12"})
        first = tmp_path / "first.ts"
        with av.open(str(pictures)) as a, av.open(str(tones)) as b, av.open(str(first), "w") as out:
            streams = [out.add_stream_from_template(c.streams.best(kind)) for c, kind in ((a, "video"), (b, "audio"))]
            packets = [(p, s) for c, s in zip((a, b), streams) for p in c.demux(c.streams.best(s.type)) if p.size]
            for packet, stream in sorted(packets, key=lambda pair: pair[0].dts):
                packet.stream = stream
                out.mux(packet)
        second = part(tmp_path / "second.ts")
        for copy_audio in (True, False):
            target = copy_with_sound(join(tmp_path / "c.ts", first, second), tmp_path / "d.mkv", copy_audio=copy_audio)
            starts = [time for time, _ in audio_packets(target)]
            assert starts == sorted(set(starts)) and len(times(target)) == 60
            begin, samples = sound_samples(target)
            own_begin, own = sound_samples(second)
            if sound_frames > 30:  # without gaps, so that samples count the time
                level = level_at(own, 0.8 + float(times(second)[0] - own_begin))
                assert level_at(samples, 0.8 + float(times(target)[30] - begin)) == pytest.approx(level, abs=0.03)


def test_a_part_behind_the_seam(tmp_path):
    joined = join(tmp_path / "c.ts", part(tmp_path / "a.ts", 60), part(tmp_path / "b.ts", 60))
    everything = list(open_video(joined))
    expected = list(open_video(joined, start=3.2, length=0.4))
    assert [f.time for f in expected] == [f.time for f in everything[80:90]]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(expected, everything[80:90]))
    target = copy_with_sound(joined, tmp_path / "d.mp4", start=3.2, length=0.4)
    begin, samples = sound_samples(target)
    assert abs(float(begin)) < 0.03 and len(samples) / 48000 == pytest.approx(0.4, abs=0.06)


def test_what_is_a_leap():
    assert leaps(Fraction(3), Fraction(0), False) and not leaps(Fraction(3), Fraction(29, 10), False)
    assert leaps(Fraction(3), Fraction(100), True) and not leaps(Fraction(3), Fraction(100), False)
    assert not leaps(Fraction(3), Fraction(20), True)


def test_the_sound_takes_the_pictures_shift_or_its_own():
    seams = SoundSeams()
    seams.leap(Fraction(29, 10))
    assert not seams.is_settled
    seams.pictures(Fraction(3))
    assert seams.is_settled
    seams.settle()
    assert seams.shift == 3
    seams.leap(Fraction(6))  # the pictures know nothing of it
    seams.settle()
    assert seams.shift == 6


def test_sound_the_muxer_calls_invalid_is_left_out_with_a_warning(tmp_path, monkeypatch, caplog):
    source = make_video(tmp_path / "a.mp4", 20, sound="aac")
    mux, refused = av.container.OutputContainer.mux, []

    class Picky:
        def __init__(self, container):
            self._container = container

        def __getattr__(self, name):
            return getattr(self._container, name)

        def mux(self, packets):
            if isinstance(packets, av.Packet) and packets.stream.type == "audio" and len(refused) < 3:
                refused.append(packets)
                raise av.error.ArgumentError(errno.EINVAL, "Invalid argument")
            mux(self._container, packets)

    monkeypatch.setattr("dva_core.video.writer.Soundtrack", lambda source, index, output, *rest: sound(source, index, Picky(output), *rest))
    from dva_core.video.audio import Soundtrack as sound

    with caplog.at_level(logging.WARNING):
        target = copy_with_sound(source, tmp_path / "b.mp4")
    assert len(audio_packets(target)) == len(audio_packets(source)) - 3
    assert [r.levelname for r in caplog.records] == ["WARNING"] and "it has gaps, 3 in all" in caplog.text
