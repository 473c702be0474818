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


def write_clip(path: Path, frames: int = 6, faceless: tuple[int, ...] = (), rate: int = 25, codec: str = "ffv1") -> Path:
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
