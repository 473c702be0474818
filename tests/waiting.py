"""Time in tests, on machines that may be busy: waiting for a condition, and a clock that only the test sets."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import TypeVar

T = TypeVar("T")
LONG = 120.0  # seconds that nothing takes, however busy the machine is


def until(condition: Callable[[], T], seconds: float = LONG) -> T:
    """What the condition says once it holds; AssertionError where it does not in that time."""
    end = time.monotonic() + seconds
    while not (holds := condition()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s"
        time.sleep(0.02)
    return holds


def ticking(seconds: float) -> SimpleNamespace:
    """In place of the module `time`: a clock that goes on by so much whenever it is looked at, and by nothing else."""
    moments = count()

    def now() -> float:
        return next(moments) * seconds

    return SimpleNamespace(monotonic=now, perf_counter=now)
