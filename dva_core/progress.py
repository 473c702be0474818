"""Progress callbacks and the timing of phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class Progress(Protocol):
    """Progress callback, called between any two evaluations of the noise predictor at the latest; may raise to cancel the run.

    `phase` is "track", "encode" or "decode", or, for making an edit, "text" or "shown"; `done` of `total` are frames or steps (`done` may
    be fractional: steps of a batch; `total` 0: unknown); `preview` is an RGB picture uint8 [h, w, 3], if there is one to show.
    If it has a method `looks() -> bool`, pictures are made only while that returns true: each one synchronises with the GPU.
    """

    def __call__(self, phase: str, done: float, total: int, preview: np.ndarray | None = None) -> None: ...


def silent(phase: str, done: float, total: int, preview: np.ndarray | None = None) -> None:
    """Progress callback that does nothing."""


def picture_for(progress: Progress, make: Callable[[], np.ndarray]) -> np.ndarray | None:
    """Call `make` if `progress` wants a picture now, else None."""
    looks = getattr(progress, "looks", None)
    return make() if progress is not silent and (looks is None or looks()) else None


class Shares:
    """The progress of several parts of a run as one: `done` and `total` are summed over the parts.

    totals: frames or steps of each part.
    """

    def __init__(self, progress: Progress, totals: Sequence[int]) -> None:
        self.progress, self.total, self.done = progress, sum(totals), [0.0] * len(totals)

    def of(self, number: int) -> Progress:
        """Make the progress callback of one part; if there is only one part, that is the whole callback itself."""
        return self.progress if len(self.done) == 1 else _Share(self, number)


class _Share:
    def __init__(self, shares: Shares, number: int) -> None:
        self.shares, self.number = shares, number
        if (looks := getattr(shares.progress, "looks", None)) is not None:
            self.looks = looks

    def __call__(self, phase: str, done: float, total: int, preview: np.ndarray | None = None) -> None:
        shares = self.shares
        shares.done[self.number] = done
        shares.progress(phase, sum(shares.done), shares.total, preview)


class Stopwatch:
    """Seconds by phase. Nested time counts for the innermost phase only, so the phases sum to the total."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        self._book()
        self._running.append(phase)
        try:
            yield
        finally:
            self._book()
            self._running.pop()

    def each(self, phase: str, items: Iterable[T]) -> Iterator[T]:
        """Yield `items`, counting the time to get each under `phase`."""
        iterator = iter(items)
        end = object()
        while True:
            with self(phase):
                item = next(iterator, end)
            if item is end:
                return
            yield item

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def _book(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] = self.seconds.get(self._running[-1], 0.0) + now - self._since
        self._since = now
