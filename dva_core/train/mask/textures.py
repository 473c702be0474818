"""Textures of occluders: plain and patterned materials, skin, hair, pieces of other pictures. Colours [S, S, 3] in 0..255."""

from __future__ import annotations

import cv2
import numpy as np

from dva_core.train.mask.scene import Generator, Scene


def waves(rng: Generator, size: int, scale: float) -> np.ndarray:
    """Smooth noise [size, size] of standard deviation 1, features about `scale` pixels wide."""
    cells = max(2, round(size / scale))
    return cv2.resize(rng.standard_normal((cells, cells)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def shade(rng: Generator, rgb: np.ndarray, strength: float) -> np.ndarray:
    """Vary the light over a surface [S, S, 3]: a gradient and slow waves."""
    size = len(rgb)
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    light = np.exp(strength * (rng.normal(0, 0.8) * (np.cos(angle) * x + np.sin(angle) * y) + 0.15 * waves(rng, size, size / 4)))
    return rgb * light[..., None]


def plain(rng: Generator, scene: Scene) -> np.ndarray:
    grey = rng.uniform(5, 250)
    colour = np.clip(grey + rng.normal(0, 40 * rng.random(), 3), 0, 255)
    return shade(rng, np.full((scene.size, scene.size, 3), colour, np.float32), 0.6)


def skin(rng: Generator, scene: Scene) -> np.ndarray:
    """This person's skin, or another's: a tone of its own, waves of red, fine grain."""
    colour = scene.skin if rng.random() < 0.75 else np.median(scene.donor[50:90, 45:83].reshape(-1, 3), axis=0)
    colour = colour * np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.04, 3))
    layer = np.full((scene.size, scene.size, 3), colour, np.float32)
    layer += waves(rng, scene.size, 12)[..., None] * (5, 3, 3) + waves(rng, scene.size, 2.5)[..., None] * rng.uniform(0, 4)
    return shade(rng, layer, 0.7)


def repeated(rng: Generator, scene: Scene) -> np.ndarray:
    """Stripes, checks or dots in two colours, soft or sharp, one of them sometimes this person's skin, lips or hair."""
    size = scene.size
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 24)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    u, v = np.sin(2 * np.pi * u / period), np.sin(2 * np.pi * v / period)
    share = np.clip(rng.uniform(1, 12) * ((u, u * v, u + v - 1)[rng.integers(3)] + rng.normal(0, 0.2)) + 0.5, 0, 1)[..., None]
    first, second = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.4:
        second = (scene.skin, scene.lips, scene.hair)[rng.integers(3)]
    return shade(rng, first * share + second * (1 - share), 0.4)


def natural(rng: Generator, scene: Scene) -> np.ndarray:
    """A piece of another picture: hair, clothes, leaves, walls; sometimes its face."""
    size = scene.size
    width = int(rng.uniform(0.25, 0.8) * size)
    y, x = rng.integers(0, size - width, 2)
    if rng.random() < 0.75:  # from the rim, where faces are not
        y, x = (y, rng.choice([0, size - width])) if rng.random() < 0.5 else (rng.choice([0, size - width]), x)
    piece = np.rot90(scene.donor[y : y + width, x : x + width], rng.integers(4))
    return shade(rng, np.float32(cv2.resize(np.ascontiguousarray(piece), (size, size), interpolation=cv2.INTER_LINEAR)), 0.3)


def strands_of(rng: Generator, scene: Scene) -> np.ndarray:
    """Hair: this person's colour or another, streaked."""
    colour = scene.hair if rng.random() < 0.7 else rng.uniform((10, 8, 5), (190, 150, 110))
    streaks = waves(rng, scene.size, 2) * 0.12 + waves(rng, scene.size, 10) * 0.12
    return np.clip(colour + 6, 0, 255) * np.exp(streaks + rng.normal(0, 0.15))[..., None]
