"""Painted frames with faces that are rectangles, and stand-ins that find and know them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dva_core.faces.track import track_faces
from dva_core.faces.types import Face

HEIGHT, WIDTH = 180, 320
ANNA, BERT = 60, 180  # faces are rectangles of the colour (255, 0, who)


@dataclass
class Frame:
    index: int
    rgb: np.ndarray


def painted(*faces: tuple[int, float, float, float], scene: int = 0) -> np.ndarray:
    """A frame of a scene (its own grey pattern) with faces (who, centre x, centre y, size)."""
    small = np.random.default_rng(scene).integers(0, 255, (6, 10, 1), np.uint8)
    rgb = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)[..., None].repeat(3, 2)
    for who, x, y, size in faces:
        x0, y0, x1, y1 = (round(v) for v in (x - size / 2, y - size / 2, x + size / 2, y + size / 2))
        rgb[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = [255, 0, who]
    return rgb


def flat(*faces: tuple[int, float, float, float]) -> np.ndarray:
    """A frame of one grey with faces as different as black and white."""
    rgb = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for face in faces:
        there = (painted(face) == [255, 0, face[0]]).all(-1)
        rgb[there] = [255, 0, face[0]]
    return rgb


class PaintedDetector:
    """Finds the painted faces, and counts the pixels it was shown."""

    def __init__(self):
        self.pixels = []

    def detect(self, rgb: np.ndarray) -> list[Face]:
        self.pixels.append(rgb.shape[0] * rgb.shape[1])
        found = []
        for who in (ANNA, BERT):
            y, x = np.nonzero((rgb == [255, 0, who]).all(-1))
            if len(x) > 30:
                found.append(Face((float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)), 0.9))
        return found


def landmarker(rgb: np.ndarray, face: Face) -> np.ndarray:
    x0, y0, x1, y1 = face.box
    return np.array([x0, y0]) + face_points() * [x1 - x0, y1 - y0]


def face_points() -> np.ndarray:
    """68 points in 0..1 of a box, symmetric where it matters."""
    points = np.full((68, 2), 0.5)
    points[36:42], points[42:48] = [0.3, 0.4], [0.7, 0.4]
    points[48], points[54] = [0.35, 0.75], [0.65, 0.75]
    return points


def embed_fn(crops: np.ndarray) -> np.ndarray:
    """One axis a person, by the colour in the middle of the crop."""
    who = crops[:, 120:136, 120:136, 2].astype(float).mean((1, 2))
    return np.stack([np.abs(who - ANNA) < 30, np.abs(who - BERT) < 30], 1).astype(float)


def follow(pictures: list[np.ndarray], detector=None, **options):
    return track_faces((Frame(i, rgb) for i, rgb in enumerate(pictures)), detector or PaintedDetector(), landmarker, **options)


def centres(track) -> np.ndarray:
    return track.quads.mean(1)


def points5(box) -> np.ndarray:
    points = landmarker(None, Face(box, 1.0))
    return np.stack([points[36], points[42], points[30], points[48], points[54]])
