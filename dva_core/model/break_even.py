"""Whether an optimisation that first costs time pays: measured by the device's clock while evaluations run, without waiting for it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeVar

import torch

T = TypeVar("T")

FIRST_COST = 1.0  # seconds that the first recording is assumed to take; afterwards the measured time of the last one counts
LEAST_GAIN = 0.03  # share of an evaluation; less is within the noise of the measurement
TURNS = 3


class BreakEven:
    """Decides, for each batch size, when to record an evaluation for replay.

    A recording is due once replays would have saved as much time as a recording costs, so that a short video never pays for one, and a
    long one loses at most twice its cost. Cost and gain are those measured at the recordings made so far.
    """

    def __init__(self) -> None:
        self.cost = FIRST_COST
        self.gains: dict[int, float] = {}  # by batch size: share of an evaluation's time that a replay saves
        self._spent: Counter[int] = Counter()  # by batch size: seconds of evaluations since the last recording
        self._running: deque[tuple[int, Any, Any]] = deque()  # evaluations that the device may not have finished

    def timed(self, size: int, run: Callable[[], T]) -> T:
        """Return run(), one evaluation of `size` images, and have the device note its time."""
        begin, end = event(), event()
        begin.record()
        result = run()
        end.record()
        self._running.append((size, begin, end))
        return result

    def is_due(self, size: int) -> bool:
        """Whether to record evaluations of `size` images now."""
        while self._running and self._running[0][2].query():
            done, begin, end = self._running.popleft()
            self._spent[done] += begin.elapsed_time(end) / 1e3
        # the larger a batch, the smaller the share of launches: what a smaller one saves is the most that this one can
        gain = min((share for other, share in self.gains.items() if other <= size), default=1.0)
        return gain * self._spent[size] > self.cost

    def note(self, size: int, cost: float, before: float, after: float) -> bool:
        """Take the measurements of a recording: its `cost` in seconds, an evaluation before and after in ms; whether it was worth it."""
        self.cost, self._spent[size] = cost, 0.0
        self.gains[size] = max(0.0, 1 - after / before) if before else 0.0
        return self.gains[size] >= LEAST_GAIN

    def decline(self, size: int) -> None:
        """Do not record evaluations of this size, or a larger one, again."""
        self.gains[size] = 0.0


def event() -> Any:
    return torch.cuda.Event(enable_timing=True)


def milliseconds(run: Callable[[], object]) -> float:
    """How long the device takes for run(), the least of several times; waits for it."""
    times = []
    for _ in range(TURNS):
        begin, end = event(), event()
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return min(times)
