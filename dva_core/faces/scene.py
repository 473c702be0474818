"""Differences between consecutive pictures: scene cuts, and changes of the face."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from dva_core.faces.align import crop_face, quad_from_landmarks

THUMBNAIL = 32  # pixels a side
RIM = 10  # pixels around the thumbnail of a face that are hair and background and left out


class SceneCuts:
    """Measure of how strongly a frame differs from the previous one: 1 or more is a scene cut.

    The mean difference of 32x32 thumbnails against CUT grey levels or, where everything moves, four times its running mean.
    """

    CUT = 14.0

    def __init__(self):
        self.previous: np.ndarray | None = None
        self.mean_change = 0.0

    def __call__(self, rgb: np.ndarray) -> float:
        return self.step(thumbnail(rgb))

    def of(self, frame: Any) -> float:
        """Compute the difference of the next frame from the one before, by the frame's `thumbnail(size)`, or its `rgb` if it has none."""
        return self.step(frame.thumbnail(THUMBNAIL)) if hasattr(frame, "thumbnail") else self(frame.rgb)

    def step(self, current: np.ndarray) -> float:
        change = self.change(current)
        self.keep(current)
        return change

    def change(self, current: np.ndarray) -> float:
        """Difference of a thumbnail from the last one; 0 if there is none."""
        return 0.0 if self.previous is None else self._difference(current) / max(self.CUT, 4 * self.mean_change)

    def keep(self, current: np.ndarray) -> None:
        """Set the thumbnail with which the next one is compared."""
        if self.previous is not None:
            self.mean_change += 0.2 * (min(self._difference(current), self.CUT) - self.mean_change)
        self.previous = current

    def _difference(self, current: np.ndarray) -> float:
        return float(np.abs(current - self.previous).mean())


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """Shrink a picture to float32 [32, 32, 3]."""
    return cv2.resize(rgb, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)


def face_thumbnail(rgb: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Crop the face with these landmarks, upright, to float32 [32, 32, 3]; independent of the box it was detected in."""
    crop = crop_face(rgb, quad_from_landmarks(landmarks), THUMBNAIL + 2 * RIM)
    return crop[RIM:-RIM, RIM:-RIM].astype(np.float32)
