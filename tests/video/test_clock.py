"""Frame rates and timestamps: exact, also where a container rounds them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from video_helpers import NTSC, make_video

from dva_core.video import open_video
from dva_core.video.clock import Clock, frame_rate


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "ts"])
def test_ntsc_rate_is_exact(tmp_path, suffix):
    path = make_video(tmp_path / f"a.{suffix}", 40, rate=NTSC)
    info = open_video(path).info
    assert info.rate == NTSC and not info.variable_rate
    times = [f.time for f in open_video(path)]
    assert [t - times[0] for t in times] == [i / NTSC for i in range(40)]


def test_variable_rate_keeps_each_timestamp(tmp_path):
    pts = [0, 3000, 4500, 12000, 12100, 30000, 39999, 45001]
    path = make_video(tmp_path / "a.mp4", pts=pts, time_base=Fraction(1, 90000))
    with open_video(path) as reader:
        assert reader.info.variable_rate
        assert [f.time for f in reader] == [Fraction(p, 90000) for p in pts]


def test_rate_and_clock_of_rounded_timestamps():
    tick = Fraction(1, 1000)
    rounded = [round(i / NTSC / tick) for i in range(50)]
    assert frame_rate([Fraction(60), NTSC], Fraction(30), rounded, tick) == (NTSC, False)
    clock = Clock.of(tick, NTSC, False, 0)
    assert [clock.pts(p) * clock.time_base for p in rounded] == [i / NTSC for i in range(50)]
    assert clock.pts(1017) * clock.time_base == Fraction(1017, 1000)  # off the rhythm: stays
    assert frame_rate([NTSC], Fraction(24), [0, 10, 90, 100], tick) == (Fraction(24), True)
    assert Clock.of(Fraction(1, 90000), Fraction(25), False, 0).time_base == Fraction(1, 90000)
