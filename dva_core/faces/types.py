"""What a face detector reports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Face:
    """One detected face, in pixels of the frame, origin at its top-left corner.

    `box` is (x0, y0, x1, y1). `points5` [5, 2] holds the left eye, right eye, nose tip, left and right
    mouth corner, left and right as the upright face's picture shows them; None where the detector gives none.
    """

    box: Box
    score: float
    points5: np.ndarray | None = None

    @property
    def centre(self) -> tuple[float, float]:
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return max(0.0, x1 - x0) * max(0.0, y1 - y0)


def extent(box: Box) -> float:
    """The longer side of a box."""
    return max(box[2] - box[0], box[3] - box[1])
