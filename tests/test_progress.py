"""Progress: pictures are made when somebody looks."""

from __future__ import annotations

import numpy as np
import pytest
from waiting import ticking

from dva_core.progress import Stopwatch, picture_for, silent


def test_pictures_are_fetched_when_somebody_looks():
    class Looking:
        def __init__(self, looks):
            self.looks = lambda: looks

    picture = np.zeros(3)
    assert picture_for(silent, lambda: pytest.fail("nobody looks")) is None
    assert picture_for(Looking(False), lambda: pytest.fail("nobody looks now")) is None
    assert picture_for(Looking(True), lambda: picture) is picture and picture_for(lambda *_: None, lambda: picture) is picture


def test_a_stopwatch_counts_each_second_once(monkeypatch):
    monkeypatch.setattr("dva_core.progress.time", ticking(1.0))
    clock = Stopwatch()
    with clock("outer"):
        for _ in clock.each("inner", range(3)):
            pass
    assert clock.seconds == {"outer": 5, "inner": 4} and clock.total == 9  # looked at ten times, four of them at the end of an inner one
