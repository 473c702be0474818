"""The shapes of occluders as masks [S, S] in 0..1: hands, bars, paper, cups, cloth, microphones, strands, random shapes."""

from __future__ import annotations

import cv2
import numpy as np

from dva_core.faces.composite import blur
from dva_core.train.mask.scene import Generator, Scene

FINE = 2  # outlines are drawn this much finer than the picture
SUBPIXEL = 4  # bits of cv2's coordinates


class Outline:
    """A mask of `size` pixels to which shapes are added, in fractions of the picture."""

    def __init__(self, size: int):
        self.size = size
        self.layer = np.zeros((FINE * size, FINE * size), np.uint8)

    def _fixed(self, points) -> np.ndarray:
        return np.int32(np.round((np.asarray(points, np.float64) * FINE * self.size - 0.5) * 2**SUBPIXEL))

    def polygon(self, points) -> Outline:
        cv2.fillPoly(self.layer, [self._fixed(points)], 255, cv2.LINE_AA, SUBPIXEL)
        return self

    def curve(self, points, width: float) -> Outline:
        """Add a line of this width with round ends."""
        pixels = max(1, round(width * FINE * self.size))
        cv2.polylines(self.layer, [self._fixed(points)], False, 255, pixels, cv2.LINE_AA, SUBPIXEL)
        return self

    def ellipse(self, centre, axes, angle: float = 0.0) -> Outline:
        t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        x, y = axes[0] * np.cos(t), axes[1] * np.sin(t)
        cos, sin = np.cos(angle), np.sin(angle)
        return self.polygon(np.asarray(centre) + np.stack([cos * x - sin * y, sin * x + cos * y], 1))

    def mask(self) -> np.ndarray:
        return np.float32(cv2.resize(self.layer, (self.size, self.size), interpolation=cv2.INTER_AREA)) / 255


def box(centre: np.ndarray, half: np.ndarray, angle: float) -> np.ndarray:
    """Corners [4, 2] of a turned rectangle."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return centre + (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half) @ turn.T


def shape(rng: Generator, scene: Scene) -> np.ndarray:
    """A random rounded or pointed shape."""
    count = rng.integers(5, 12)
    t = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = rng.uniform(0.06, 0.28) * rng.uniform(0.45, 1.0, count)
    if rng.random() < 0.6:
        fine = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        radius, t = np.interp(fine, t, radius, period=2 * np.pi), fine
        radius = np.real(np.fft.ifft(np.fft.fft(radius) * (np.abs(np.fft.fftfreq(60, 1 / 60)) < 7)))
    points = scene.spot(rng) + radius[:, None] * np.stack([np.cos(t), np.sin(t)], 1)
    return Outline(scene.size).polygon(points).mask()


def bar(rng: Generator, scene: Scene) -> np.ndarray:
    """A bar from one side to the other, or one that ends on the face; sometimes a second one beside it."""
    half = np.array([rng.choice([1.5, rng.uniform(0.15, 0.5)]), rng.uniform(0.015, 0.09)])
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]) + rng.normal(0, 0.05)
    middle, outline = scene.spot(rng), Outline(scene.size)
    outline.polygon(box(middle, half, angle))
    if rng.random() < 0.2:
        outline.polygon(box(middle + rng.uniform(2.5, 6) * half[1] * np.array([-np.sin(angle), np.cos(angle)]), half, angle))
    return outline.mask()


def paper(rng: Generator, scene: Scene) -> np.ndarray:
    """A sheet, a telephone, a book: a turned rectangle, its corners a little off."""
    half = rng.uniform(0.08, 0.3, 2)
    corners = box(scene.spot(rng) + rng.normal(0, 0.12, 2), half, rng.normal(0, 0.5)) + rng.normal(0, 0.01, (4, 2))
    return Outline(scene.size).polygon(corners).mask()


def cup(rng: Generator, scene: Scene) -> np.ndarray:
    """A cup or a glass in front of the mouth, with a handle or without."""
    mouth = scene.landmarks[48:60].mean(0) + rng.normal(0, 0.03, 2) + (0, rng.uniform(-0.02, 0.12))
    wide, tall, taper = rng.uniform(0.07, 0.15), rng.uniform(0.1, 0.25), rng.uniform(0.65, 1.0)
    turn = rng.normal(0, 0.25)
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    body = np.array([(-wide, 0), (wide, 0), (wide * taper, tall), (-wide * taper, tall)]) @ rotate.T + mouth
    outline = Outline(scene.size).polygon(body).ellipse(mouth, (wide, wide * rng.uniform(0.1, 0.35)), turn)
    if rng.random() < 0.6:
        side = rng.choice([-1, 1])
        t = np.linspace(-np.pi / 2, np.pi / 2, 12)
        handle = np.stack([side * (wide * 0.95 + 0.06 * np.cos(t)), tall * 0.45 + 0.3 * tall * np.sin(t)], 1)
        outline.curve(handle @ rotate.T + mouth, 0.02)
    return outline.mask()


def microphone(rng: Generator, scene: Scene) -> np.ndarray:
    """A ball on a stick, from below or from the side."""
    top = scene.landmarks[48:60].mean(0) + rng.normal(0, 0.08, 2) + (0, 0.03)
    angle = rng.normal(np.pi / 2, 0.6)
    ball, end = rng.uniform(0.035, 0.09), top + 1.2 * np.array([np.cos(angle), np.sin(angle)])
    return Outline(scene.size).curve([top, end], ball * rng.uniform(0.4, 1.2)).ellipse(top, (ball, ball * 1.15), angle).mask()


def cloth(rng: Generator, scene: Scene) -> np.ndarray:
    """A mask or a scarf over nose and mouth, from one side of the face to the other, down to the chin or below."""
    jaw, nose = scene.landmarks[1:16], scene.landmarks[30]
    jaw = nose + rng.uniform(0.95, 1.2) * (jaw - nose)
    top = scene.landmarks[28 + rng.integers(4)] + rng.normal(0, 0.01, 2)
    below = jaw[4:11] + (0, rng.choice([0.0, rng.uniform(0.02, 0.35)]))
    left, right = jaw[rng.integers(3)], jaw[-1 - rng.integers(3)]
    t = np.linspace(0, 1, 9)[:, None]
    upper = (1 - t) ** 2 * left + 2 * t * (1 - t) * (2 * top - (left + right) / 2) + t**2 * right
    return Outline(scene.size).polygon(np.concatenate([upper, jaw[11:14][::-1], below[::-1], jaw[1:4][::-1]])).mask()


def strands(rng: Generator, scene: Scene) -> np.ndarray:
    """Hair that falls into the face, one strand or a lock of many."""
    outline = Outline(scene.size)
    brows = scene.landmarks[17:27]
    up = brows.mean(0) - scene.landmarks[8]
    root = brows[rng.integers(10)] + rng.uniform(0.3, 0.7) * up
    fall = np.array([rng.normal(0, 0.12), rng.uniform(0.12, 0.5)])
    bend, spread = rng.normal(0, 0.08), rng.uniform(0.01, 0.06)
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(rng.integers(1, 14)):
        start, end = root + rng.normal(0, spread, 2), root + fall * rng.uniform(0.7, 1.1) + rng.normal(0, spread * 1.3, 2)
        path = start + t * (end - start) + np.sin(np.pi * t) * (bend + rng.normal(0, 0.015), 0)
        outline.curve(path, rng.uniform(0.004, 0.022))
    return outline.mask()


def hand(rng: Generator, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Fingers, with a palm or without: the mask, and its shading [S, S], darker at the sides of each finger."""
    tip = scene.spot(rng)
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.3 else np.pi / 2 + rng.normal(0, 0.8)  # most come from below
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    width, length = rng.uniform(0.04, 0.075), rng.uniform(0.16, 0.32)
    count, fan, gap = rng.integers(1, 6), rng.uniform(0, 0.25), rng.uniform(0.95, 1.5)
    mask, light = np.zeros((scene.size, scene.size), np.float32), np.ones((scene.size, scene.size), np.float32)
    y, x = (np.mgrid[: scene.size, : scene.size] + 0.5) / scene.size
    root = tip + length * along
    for finger in rng.permutation(count):
        place = finger - (count - 1) / 2
        base = root + place * width * gap * across
        reach = length * (1 - 0.08 * place**2 * rng.uniform(0.3, 1.2))
        top = base - reach * (along - place * fan * across)
        bend = base + (top - base) * 0.5 + rng.normal(0, 0.012) * across
        new = Outline(scene.size).curve([base + 0.4 * along, base, bend, top], width * rng.uniform(0.9, 1.05)).mask()
        axis = (top - base) / np.linalg.norm(top - base)
        away = np.abs((x - base[0]) * -axis[1] + (y - base[1]) * axis[0]) / (width / 2)
        light = np.where(new > 0.5, 1.05 - rng.uniform(0.15, 0.45) * np.clip(away, 0, 1) ** 2, light)
        mask = np.maximum(mask, new)
    if rng.random() < 0.65:
        half = np.array([count * width * gap / 2 + 0.01, rng.uniform(0.1, 0.2)])
        palm = Outline(scene.size).curve([root + half[1] * along, root + (half[1] + 1) * along], half[0] * 1.6)
        palm.ellipse(root + half[1] * 0.8 * along, (half[1] * 1.1, half[0]), angle)
        mask = np.maximum(mask, palm.mask())
    return mask, blur(light, 0.7)
