"""Drawn pictures, masks and squares for the tests of aligning and pasting."""

from __future__ import annotations

import numpy as np

from dva_core.faces import align, composite

SIZE = 48  # of a crop


def blob(height: int, width: int, x: float, y: float, sigma: float) -> np.ndarray:
    u, v = np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]
    plane = 250 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma**2))
    return np.repeat(np.rint(plane)[..., None], 3, 2).astype(np.uint8)


def centroid(image: np.ndarray) -> np.ndarray:
    plane = image[..., 0].astype(np.float64)
    u, v = np.arange(plane.shape[1]) + 0.5, np.arange(plane.shape[0]) + 0.5
    return np.array([(plane.sum(0) * u).sum(), (plane.sum(1) * v).sum()]) / plane.sum()


def square(cx: float, cy: float, half: float, angle: float) -> np.ndarray:
    x = half * np.array([np.cos(angle), np.sin(angle)])
    return align.corners(np.array([cx, cy]), x, align.turn(x))


def noise_frame(seed: int, height: int = 90, width: int = 110) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def as_model(crop: np.ndarray) -> np.ndarray:
    return crop.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1


def soft_disc(size: int = SIZE) -> np.ndarray:
    u = (np.arange(size) + 0.5) / size - 0.5
    return composite.soften(((u**2 + u[:, None] ** 2) < 0.35**2)[None].astype(np.uint8))
