"""The properties of a video, known before its frames are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from .clock import snap_rate
from .color import ColorTags


@dataclass(frozen=True)
class VideoInfo:
    """Properties of the frames that a reader gives out (after rotation, `start`, `length` and `every`).

    width, height: pixels, upright. rate: frames a second, exact, of the frames given out. time_base: seconds a tick of `Frame.pts`.
    frames: their number if the container states it, else None. rotation: clockwise degrees by which the stored picture was rotated.
    duration: seconds, or None. variable_rate: the timestamps are uneven (judged by the first 300). origin: time zero of
    the video on the source's clock, seconds. trimmed: a `start` or `length` was set. losses: content of the file that is not
    carried over to outputs. chroma_location: of 4:2:0, FFmpeg's number, 0 unspecified (chroma.py).
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    pix_fmt: str = "rgb24"
    frames: int | None = None
    duration: Fraction | None = None
    color: ColorTags = field(default_factory=ColorTags)
    rotation: int = 0
    sample_aspect: Fraction | None = None
    has_audio: bool = False
    variable_rate: bool = False
    origin: Fraction = Fraction(0)
    start: Fraction = Fraction(0)
    length: Fraction | None = None
    every: int = 1
    losses: tuple[str, ...] = ()
    chroma_location: int = 0

    @property
    def trimmed(self) -> bool:
        return self.start > 0 or self.length is not None

    @staticmethod
    def for_images(width: int, height: int, rate: Fraction | int, frames: int | None = None, alpha: bool = False) -> VideoInfo:
        """Make the info of plain RGB frames (`Frame.from_rgb`) at a constant rate, `pts` counting frames."""
        rate = snap_rate(Fraction(rate))
        duration = frames / rate if frames is not None else None
        return VideoInfo(width, height, rate, 1 / rate, "rgba" if alpha else "rgb24", frames, duration)
