"""Soft masks for pasting edited crops."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..decomposition import Decomposition
from ..faces.composite import SOFTEN_FRAMES, smoothstep, soften
from ..faces.regions import Region, hidden_share, limit_to_regions, limit_to_worn

FRONT = (0.1, 0.5)  # share of a pixel in front of the face at which the edit begins to fade, and is gone
FRONT_OF_REGION = (0.35, 0.7)  # the same for edits of a region, which reach the rim of the face, where small shares are unreliable


class SoftMasks:
    """Stored masks, softened over neighbouring frames on access; frames of different segments are never mixed.

    What is in front of the face (`Decomposition.soft_masks`) is cut out of the softened mask in each frame separately, because a hand
    moves faster than a mask is smoothed. `regions` limits each mask to these regions of the frame's face, which may extend beyond its
    visible skin: within the hull of the landmarks, except for what is in front; what is worn, such as glasses, beyond it and over hair.
    `window` (start, end) is the part of the crop, in 0..1, that the motion encoder sees.
    """

    def __init__(self, decomposition: Decomposition, regions: Sequence[Region] = (), window: tuple[float, float] = (0.0, 1.0)):
        self._decomposition, self._segment, self._motion = decomposition, decomposition.segment, decomposition.z_motion
        self._whole = not regions or any(region.whole for region in regions)
        self._worn, self._others = ([region for region in regions if not region.whole and region.worn == one] for one in (True, False))
        self._window = window
        self._cache: dict[int, np.ndarray] = {}

    def __getitem__(self, row: int) -> np.ndarray:
        visible = self._soften(row, 0)
        masks = [visible * (1 - self._in_front(row, FRONT))] if self._whole else []
        if self._others:
            limited = limit_to_regions(self._others, self._points(row), visible, self._soften(row, 1))
            masks.append(limited * (1 - self._in_front(row, FRONT_OF_REGION)))
        if self._worn:
            masks.append(limit_to_worn(self._worn, self._points(row), self._in_front(row, FRONT_OF_REGION), visible))
        return np.max(masks, axis=0)

    def _in_front(self, row: int, limits: tuple[float, float]) -> np.ndarray:
        """Weight of the source [C, C] by what is in front of the face, see `in_front`; 0 if that is not known."""
        face, _, front = self._parts(row)
        return np.zeros(face.shape, np.float32) if front is None else in_front(front, limits)

    def whole(self, row: int) -> np.ndarray:
        """The softened mask [C, C] of the whole face, without `regions`."""
        return self._soften(row, 0)

    def _soften(self, row: int, part: int) -> np.ndarray:
        """Soften one part of `_read` over neighbouring frames: [C, C]."""
        first, last = (int(np.searchsorted(self._segment, self._segment[row], side)) for side in ("left", "right"))
        window = range(max(first, row - SOFTEN_FRAMES), min(last, row + SOFTEN_FRAMES + 1))
        self._cache = {i: self._parts(i) for i in window}
        return soften(np.stack([self._cache[i][part] for i in window]), centre=row - window.start)

    def _parts(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The masks of `_read`, which are kept for the rows about the last one that was softened."""
        return self._cache[row] if row in self._cache else self._read(row)

    def _read(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Masks [C, C] in 0..1 of a row: the visible face, the whole face, and, if known, what is in front of it."""
        soft = self._decomposition.soft_masks
        if soft is None:
            mask = self._decomposition.masks[row]
            return mask, mask, None
        face, front, hull = soft[row].astype(np.float32) / 255
        return face, np.maximum(face, hull), front

    def hidden(self, row: int, front: np.ndarray | None = None) -> float:
        """Share of the face in a row's crop, 0..1, that is hidden: excluded by its own mask, or behind `front` [n, n] in 0..1."""
        mask = self._parts(row)[0]
        if front is not None and front.shape != mask.shape:
            front = cv2.resize(front, mask.shape[::-1], interpolation=cv2.INTER_AREA)
        return hidden_share(mask, self._points(row), front)

    def _points(self, row: int) -> np.ndarray:
        """The inner landmarks [51, 2] in 0..1 of the crop."""
        start, end = self._window
        return start + (end - start) * self._motion[row].reshape(-1, 2)


def in_front(shares: np.ndarray, limits: tuple[float, float] = FRONT) -> np.ndarray:
    """Weight of the source [C, C], 0..1, from the `shares` [C, C] of each pixel that are in front: 1 on it and one pixel beyond.

    limits: the shares at which the weight begins to rise, and reaches 1.
    """
    return smoothstep(*limits, cv2.dilate(shares, np.ones((3, 3), np.uint8)))
