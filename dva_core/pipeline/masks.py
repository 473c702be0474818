"""Soft masks for pasting edited crops."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..decomposition import Decomposition
from ..faces.composite import SOFTEN_FRAMES, smoothstep, soften
from ..faces.regions import Region, hidden_share, limit_to_regions

FRONT = (0.1, 0.5)  # share of a pixel that is in front of the face: from where on the edit fades, and is gone


class SoftMasks:
    """Stored masks, softened over neighbouring frames on access; frames of different segments are never mixed.

    What the model saw in front of the face (`Decomposition.soft_masks`) is cut out of the softened mask, frame by frame: a hand moves
    faster than a face may flicker. `regions` limits each mask to these regions of the frame's face. `window` (start, end) is the part
    of the crop, in 0..1, that the motion encoder sees.
    """

    def __init__(self, decomposition: Decomposition, regions: Sequence[Region] = (), window: tuple[float, float] = (0.0, 1.0)):
        self._decomposition, self._segment, self._motion = decomposition, decomposition.segment, decomposition.z_motion
        self._regions, self._window = regions, window
        self._cache: dict[int, np.ndarray] = {}

    def __getitem__(self, row: int) -> np.ndarray:
        mask = self.whole(row)
        if self._regions:
            mask = limit_to_regions(self._regions, self._points(row), mask)
        front = self._cache[row][1]
        return mask if front is None else mask * (1 - in_front(front))

    def whole(self, row: int) -> np.ndarray:
        """The softened mask [C, C] alone: all of the face, whatever the regions."""
        first, last = (int(np.searchsorted(self._segment, self._segment[row], side)) for side in ("left", "right"))
        window = range(max(first, row - SOFTEN_FRAMES), min(last, row + SOFTEN_FRAMES + 1))
        self._cache = {i: self._cache[i] if i in self._cache else self._read(i) for i in window}
        return soften(np.stack([self._cache[i][0] for i in window]), centre=row - window.start)

    def _read(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The visible face [C, C] of a row, 0..1, and where it is known what is in front of it [C, C], 0..1."""
        soft = self._decomposition.soft_masks
        if soft is None:
            return self._decomposition.masks[row], None
        face, front = soft[row].astype(np.float32) / 255
        return face, front

    def hidden(self, row: int, front: np.ndarray | None = None) -> float:
        """Which part of the face in a row's crop is hidden, 0..1: left out by its own mask, or behind `front` [n, n] in 0..1."""
        mask = (self._cache[row] if row in self._cache else self._read(row))[0]
        if front is not None and front.shape != mask.shape:
            front = cv2.resize(front, mask.shape[::-1], interpolation=cv2.INTER_AREA)
        return hidden_share(mask, self._points(row), front)

    def _points(self, row: int) -> np.ndarray:
        """The inner landmarks [51, 2] in 0..1 of the crop."""
        start, end = self._window
        return start + (end - start) * self._motion[row].reshape(-1, 2)


def in_front(shares: np.ndarray) -> np.ndarray:
    """Weight of the source [C, C], 0..1, where something covers these `shares` [C, C] of the pixels: 1 on it, and a pixel beyond."""
    return smoothstep(*FRONT, cv2.dilate(shares, np.ones((3, 3), np.uint8)))
