"""Waiting for what must come, on a machine that may be busy: for a condition, not for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
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
