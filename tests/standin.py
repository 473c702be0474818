"""A face anybody can find: a video with a bright oval that moves, and a finder that knows what to look for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dva_core.faces.finder import FaceFinder
from dva_core.faces.types import Face
from dva_core.video import Frame, VideoInfo, VideoWriter

if TYPE_CHECKING:
    import pytest

WIDTH, HEIGHT, RADIUS = 96, 80, 14


def draw(i: int, face: bool = True) -> np.ndarray:
    """Frame i: a grey-blue texture, and unless told otherwise a skin-coloured disc with eyes and a mouth."""
    rng = np.random.default_rng(7)
    rgb = cv2.GaussianBlur(rng.integers(40, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8), (0, 0), 2)
    if face:
        x, y = 46 + round(6 * np.sin(i / 3)), 40
        cv2.circle(rgb, (x, y), RADIUS, (250, 200, 170), -1)
        for dx in (-5, 5):
            cv2.circle(rgb, (x + dx, y - 3), 2, (200, 160, 140), -1)
        cv2.line(rgb, (x - 5, y + 6), (x + 5, y + 6), (210, 140, 130), 2)
    return rgb


def write_video(path: Path, frames: int = 6, faceless: tuple[int, ...] = (), rate: int = 25, codec: str = "ffv1") -> Path:
    """A video of the drawn frames; those in `faceless` have no face."""
    info = VideoInfo.for_images(WIDTH, HEIGHT, rate, frames)
    with VideoWriter(path, info, codec=codec) as writer:
        for i in range(frames):
            writer.write(Frame.from_rgb(draw(i, i not in faceless), i, time_base=info.time_base))
    return path


class BrightDetector:
    """Finds the disc by its brightness."""

    def detect(self, rgb: np.ndarray) -> list[Face]:
        rows, columns = np.nonzero(rgb[..., 0] > 190)
        if len(rows) < 50:
            return []
        x, y = columns.mean() + 0.5, rows.mean() + 0.5
        points = np.array([[x - 5, y - 3], [x + 5, y - 3], [x, y + 1], [x - 5, y + 6], [x + 5, y + 6]])
        return [Face((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), 0.9, points)]


def landmarks_of(rgb: np.ndarray, face: Face) -> np.ndarray:
    """68 points of which those are right that the square is made of: eyes and mouth corners."""
    points = np.tile(np.asarray(face.centre), (68, 1)).astype(np.float32)
    points[36:42], points[42:48] = face.points5[0], face.points5[1]
    points[48], points[54] = face.points5[3], face.points5[4]
    return points


def stand_in(model) -> FaceFinder:
    """In the place of FaceFinder.of."""
    return FaceFinder(BrightDetector(), landmarks_of, FaceFinder.of(model).embed)


def use_stand_in(patch: pytest.MonkeyPatch, model) -> FaceFinder:
    """Have `FaceFinder.of` return the stand-in finder of `model`."""
    finder = stand_in(model)
    patch.setattr(FaceFinder, "of", classmethod(lambda cls, *_, **__: finder))
    return finder


# -- two people ----------------------------------------------------------------------------------------------

COLOURS = ((250, 200, 170), (170, 200, 250))  # by which the stand-in tells them apart
LEFT, RIGHT = 26, 70


def draw_two(i: int, there: tuple[bool, bool] = (True, True), places: tuple[int, int] = (LEFT, RIGHT)) -> np.ndarray:
    """Frame i with two discs, a reddish and a bluish one; `places` are their centres."""
    rgb = draw(i, face=False)
    for seen, x, colour in zip(there, places, COLOURS):
        if seen:
            y = 40 + round(2 * np.sin(i / 2))
            cv2.circle(rgb, (x, y), RADIUS, colour, -1)
            for dx in (-5, 5):
                cv2.circle(rgb, (x + dx, y - 3), 2, tuple(c - 40 for c in colour), -1)
            cv2.line(rgb, (x - 5, y + 6), (x + 5, y + 6), tuple(c - 50 for c in colour), 2)
    return rgb


def write_two(path: Path, frames: int = 6, alone: tuple[int, ...] = ()) -> Path:
    """A video of two people; in the frames `alone` only the first is there."""
    info = VideoInfo.for_images(WIDTH, HEIGHT, 25, frames)
    with VideoWriter(path, info, codec="ffv1") as writer:
        for i in range(frames):
            writer.write(Frame.from_rgb(draw_two(i, (True, i not in alone)), i, time_base=info.time_base))
    return path


class DiscsDetector:
    """Finds every disc; counts how often it looks."""

    looks = 0

    def detect(self, rgb: np.ndarray) -> list[Face]:
        self.looks += 1
        count, labels = cv2.connectedComponents((rgb.max(2) > 150).astype(np.uint8))
        faces = []
        for label in range(1, count):
            rows, columns = np.nonzero(labels == label)
            if len(rows) > 300:
                x, y = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
                points = np.array([[x - 5, y - 3], [x + 5, y - 3], [x, y + 1], [x - 5, y + 6], [x + 5, y + 6]])
                faces.append(Face((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), 0.9, points))
        return faces


def colour_identity(crops: np.ndarray) -> np.ndarray:
    """Identity vectors [n, 2] of crops: reddish or bluish."""
    size = crops.shape[1]
    middle = crops[:, size // 3 : -size // 3, size // 3 : -size // 3].astype(np.float64).mean((1, 2))
    return np.stack([middle[:, 0] - middle[:, 2], np.full(len(crops), 5.0)], 1)


def use_two(patch: pytest.MonkeyPatch) -> FaceFinder:
    """Have `FaceFinder.of` return a finder of discs that tells them apart by colour."""
    finder = FaceFinder(DiscsDetector(), landmarks_of, colour_identity)
    patch.setattr(FaceFinder, "of", classmethod(lambda cls, *_, **__: finder))
    return finder
