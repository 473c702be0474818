"""The result of a drawing, and helpers of all drawings."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

Array = np.ndarray


class Drawing(NamedTuple):
    """A drawn picture, uint8 [S, S, 3] RGB, and its mask, float32 [S, S]: how strongly each pixel changed, 0..1."""

    picture: Array
    mask: Array


def blur(image: Array, sigma: float) -> Array:
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) if sigma > 0.1 else image


def luminance(rgb: Array) -> Array:
    return rgb @ np.array([0.299, 0.587, 0.114], np.float32)


def blend(base: Array, colour: Array, alpha: Array) -> Array:
    """Blend `colour` [3] or [S, S, 3] over `base` [S, S, 3] by alpha [S, S]."""
    return base + (np.float32(colour) - base) * alpha[..., None]
