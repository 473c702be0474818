"""Non-square pixels (PAL, HDV, anamorphic DVD): stretch the picture to square pixels, and map points back."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cached_property

import cv2
import numpy as np

from .frame import Frame
from .info import VideoInfo

log = logging.getLogger(__name__)

PLAUSIBLE = Fraction(1, 4), Fraction(4)  # pixel shapes beyond these are a mistake in the file


class SquareFrame:
    """A frame's picture stretched along one axis until its pixels are square, `size` (width, height): `rgb` uint8 [H, W, 3]."""

    def __init__(self, frame: Frame, size: tuple[int, int]) -> None:
        self._frame, self._size = frame, size

    @cached_property
    def rgb(self) -> np.ndarray:
        return cv2.resize(self._frame.rgb, self._size, interpolation=cv2.INTER_LINEAR)

    def thumbnail(self, size: int) -> np.ndarray:
        return self._frame.thumbnail(size)


def square_size(info: VideoInfo) -> tuple[int, int]:
    """(width, height) of the picture in square pixels: the shorter axis is stretched, nothing is shrunk."""
    aspect = info.sample_aspect or Fraction(1)
    if not PLAUSIBLE[0] <= aspect <= PLAUSIBLE[1]:
        log.warning("the file says its pixels are %s times as wide as high, which is not believed: they are taken for square", aspect)
        aspect = Fraction(1)
    return round(info.width * max(aspect, 1)), round(info.height / min(aspect, 1))


def square_frames(frames: Iterable[Frame], info: VideoInfo) -> Iterator[Frame | SquareFrame]:
    """Yield the frames, or where their pixels are not square SquareFrames with the stretched `rgb`."""
    size = square_size(info)
    for frame in frames:
        yield frame if size == (frame.width, frame.height) else SquareFrame(frame, size)


def to_stored_pixels(points: np.ndarray, info: VideoInfo) -> np.ndarray:
    """Points [..., 2] of the stretched picture in stored pixels; both count from the outer corner."""
    width, height = square_size(info)
    return points * (info.width / width, info.height / height)
