"""Colour tags of a video and the RGB <-> YUV equations they stand for (ITU-T H.273, BT.601, BT.709, BT.2020)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

log = logging.getLogger(__name__)

UNSPECIFIED = 2
RANGE_UNSPECIFIED, RANGE_LIMITED, RANGE_FULL = 0, 1, 2

# H.273 table 4, MatrixCoefficients -> (Kr, Kb)
_KR_KB = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601, 625 lines
    6: (0.299, 0.114),  # BT.601, 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020, non-constant luminance
    10: (0.2627, 0.0593),  # BT.2020, constant luminance: treated as non-constant
}


@dataclass(frozen=True)
class ColorTags:
    """Colour description as the file states it, numbers of H.273 (and of FFmpeg); 2 = unspecified, range 0 = unspecified.

    `range`: 1 limited ("tv"), 2 full ("pc").
    """

    primaries: int = UNSPECIFIED
    trc: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = RANGE_UNSPECIFIED

    def resolve(self, width: int, height: int) -> ColorTags:
        """The tags with a default matrix if the file states none: BT.709 from 1280 wide or 720 high, else BT.601."""
        if self.matrix in _KR_KB:
            return self
        if self.matrix not in (0, UNSPECIFIED):
            _warn_matrix(self.matrix)
        return replace(self, matrix=1 if width >= 1280 or height >= 720 else 6)


BT709 = ColorTags(primaries=1, trc=1, matrix=1, range=RANGE_LIMITED)


@cache
def _warn_matrix(matrix: int) -> None:
    log.warning("colour matrix %d has no RGB equations here; the convention for the picture's size is used", matrix)


@dataclass(frozen=True)
class Scale:
    """Code values of one bit depth and range: code = offset + gain * value, with luma value 0..1 and chroma -0.5..0.5."""

    luma_offset: float
    luma_gain: float
    chroma_offset: float
    chroma_gain: float

    @staticmethod
    def of(bits: int, full: bool) -> Scale:
        """H.273 equations 20-25."""
        if full:
            return Scale(0.0, 2.0**bits - 1, 2.0 ** (bits - 1), 2.0**bits - 1)
        step = 2.0 ** (bits - 8)
        return Scale(16 * step, 219 * step, 128 * step, 224 * step)


def rgb_to_yuv_matrix(matrix: int) -> np.ndarray:
    """3x3 from R'G'B' in 0..1 to (Y' 0..1, Cb -0.5..0.5, Cr -0.5..0.5); H.273 equations 38-40."""
    kr, kb = _KR_KB[matrix]
    y = np.array([kr, 1 - kr - kb, kb])
    cb = (np.array([0, 0, 1]) - y) / (2 * (1 - kb))
    cr = (np.array([1, 0, 0]) - y) / (2 * (1 - kr))
    return np.stack([y, cb, cr])


def yuv_to_rgb_matrix(matrix: int) -> np.ndarray:
    """Inverse of `rgb_to_yuv_matrix`: columns Y', Cb, Cr; rows R', G', B'."""
    return np.linalg.inv(rgb_to_yuv_matrix(matrix))
