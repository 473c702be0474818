"""Reading a video frame by frame: exact timing, upright native pixels, bounded memory."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from ..errors import DVAError
from ..files import VIDEOS, check_input
from .clock import snap_rate
from .frame import Frame
from .images import ImageFolder
from .info import VideoInfo
from .source import VideoFile
from .webp import AnimatedWebP, is_animated_webp

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = VIDEOS


class VideoReader:
    """Iterates over the frames of a video, from its start each time; a context manager.

    `info` describes the frames. Memory holds the few frames the decoder needs, whatever the video's length.
    """

    def __init__(self, source: VideoFile | ImageFolder | AnimatedWebP, path: Path) -> None:
        self._source = source
        self.path = path
        self.info: VideoInfo = source.info
        self._running: weakref.WeakSet = weakref.WeakSet()

    def __iter__(self) -> Iterator[Frame]:
        frames = self._source.frames()
        self._running.add(frames)
        return frames

    def count_frames(self) -> int:
        """Count the frames that iteration gives, exactly, by their packets; reads the file without decoding."""
        return self.info.frames if self.info.frames is not None else self._source.count()

    def close(self) -> None:
        """Close the files of unfinished iterations."""
        for frames in list(self._running):
            frames.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_video(
    path: str | os.PathLike,
    start: float | Fraction = 0,
    length: float | Fraction | None = None,
    every: int = 1,
    rate: float | Fraction | str = 25,
) -> VideoReader:
    """Open a video file or a folder of images for reading.

    start, length: seconds from the video's beginning; frames with start <= time < start + length are given, by timestamp.
    every: give each `every`-th of those frames; the video keeps its duration at rate / every.
    rate: images a second, for a folder only.
    Raises DVAError, one sentence, for input that cannot be read.
    """
    path = check_input(path)
    start = _seconds("start", start)
    length = None if length is None else _seconds("length", length)
    if length is not None and length <= 0:
        raise DVAError("length must be more than 0 seconds; leave it out for the whole video.")
    if int(every) != every or every < 1:
        raise DVAError(f"every must be a whole number from 1, not {every}.")
    if path.is_dir():
        return VideoReader(ImageFolder(path, _rate(rate), start, length, int(every)), path)
    if is_animated_webp(path):
        return VideoReader(AnimatedWebP(path, start, length, int(every)), path)
    return VideoReader(VideoFile(path, start, length, int(every)), path)


def _seconds(name: str, value: float | Fraction) -> Fraction:
    try:
        # 0.1 means a tenth of a second, not the binary number nearest to it
        seconds = value if isinstance(value, Fraction) else Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise DVAError(f"{name} must be a number of seconds, not {value!r}.") from error
    if seconds < 0:
        raise DVAError(f"{name} must not be negative ({value}).")
    return seconds


def _rate(value: float | Fraction | str) -> Fraction:
    try:
        rate = snap_rate(value if isinstance(value, Fraction) else Fraction(str(value)))
    except (ValueError, ZeroDivisionError) as error:
        raise DVAError(f"rate must be images a second such as 25 or 30000/1001, not {value!r}.") from error
    if not 0 < rate <= 1000:
        raise DVAError(f"rate must lie between 0 and 1000 images a second, not {value}.")
    return rate
