"""Soft masks for pasting edited crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..decomposition import Decomposition
from ..faces.composite import SOFTEN_FRAMES, soften
from ..faces.regions import Region, limit_to_regions


class SoftMasks:
    """Stored masks, softened over neighbouring frames on access; frames of different segments are never mixed.

    `regions` limits each mask to these regions of the frame's face. `window` (start, end) is the part of the crop, in 0..1, that the
    motion encoder sees.
    """

    def __init__(self, decomposition: Decomposition, regions: Sequence[Region] = (), window: tuple[float, float] = (0.0, 1.0)):
        self._masks, self._segment, self._motion = decomposition.masks, decomposition.segment, decomposition.z_motion
        self._regions, self._window = regions, window
        self._cache: dict[int, np.ndarray] = {}

    def __getitem__(self, row: int) -> np.ndarray:
        first, last = (int(np.searchsorted(self._segment, self._segment[row], side)) for side in ("left", "right"))
        window = range(max(first, row - SOFTEN_FRAMES), min(last, row + SOFTEN_FRAMES + 1))
        self._cache = {i: self._cache[i] if i in self._cache else self._masks[i] for i in window}
        mask = soften(np.stack([self._cache[i] for i in window]), centre=row - window.start)
        if not self._regions:
            return mask
        start, end = self._window
        return limit_to_regions(self._regions, start + (end - start) * self._motion[row].reshape(-1, 2), mask)
