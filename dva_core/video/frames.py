"""The selected frames of a video."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import DVAError
from .reader import open_video
from .threads import read_ahead


class Frames:
    """The selected frames of a video: at most `max_frames` of those of the reader; can be iterated repeatedly.

    A thread reads a few frames ahead. Use it as a context manager: on exit, unfinished iterations are closed.
    """

    def __init__(
        self,
        source: str | Path,
        start: float = 0.0,
        length: float | None = None,
        every: int = 1,
        max_frames: int | None = None,
        rate: float | Fraction | None = None,
    ):
        if max_frames is not None and max_frames < 1:
            raise DVAError(f"The most frames to take cannot be {max_frames}; use 1 or more.")
        self._reader = open_video(source, start=start, length=length, every=every, **({} if rate is None else {"rate": rate}))
        self.info, self._max_frames = self._reader.info, max_frames
        self._running: weakref.WeakSet = weakref.WeakSet()
        if max_frames is not None and max_frames < (self.info.frames or max_frames + 1):  # the sound ends with the pictures
            seconds = max_frames / self.info.rate
            self.info = replace(self.info, length=seconds if self.info.length is None else min(seconds, self.info.length))

    @property
    def total(self) -> int:
        """Expected number of frames; 0 if the container does not state it."""
        return min(self.info.frames or 0, self._max_frames or self.info.frames or 0)

    def __iter__(self) -> Iterator[Any]:
        frames = read_ahead(limit_frames(iter(self._reader), self._max_frames))
        self._running.add(frames)
        return frames

    def __enter__(self) -> Frames:
        self._reader.__enter__()
        return self

    def __exit__(self, *error) -> None:
        for frames in list(self._running):
            frames.close()
        self._reader.__exit__(*error)


def limit_frames(frames: Iterator[Any], most: int | None) -> Iterator[Any]:
    """The first `most` frames, or all; closes `frames` when closed itself."""
    with closing(frames):
        yield from islice(frames, most)
