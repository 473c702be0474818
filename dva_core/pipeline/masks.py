"""The soft masks that edited crops are pasted by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..decomposition import Decomposition
from ..faces.composite import SOFTEN_FRAMES, soften
from ..faces.regions import Region, kept_to


class SoftMasks:
    """The stored masks, softened over their neighbours in time as they are asked for; nothing mixes across a cut or a gap.

    With `regions` each is kept to where these lie on the frame's face. `window` is what the motion encoder sees of a crop, from and to.
    """

    def __init__(self, decomposition: Decomposition, regions: Sequence[Region] = (), window: tuple[float, float] = (0.0, 1.0)):
        self._masks, self._segment, self._motion = decomposition.masks, decomposition.segment, decomposition.z_motion
        self._regions, self._window = regions, window
        self._cache: dict[int, np.ndarray] = {}

    def __getitem__(self, row: int) -> np.ndarray:
        first, last = (int(np.searchsorted(self._segment, self._segment[row], side)) for side in ("left", "right"))
        near = range(max(first, row - SOFTEN_FRAMES), min(last, row + SOFTEN_FRAMES + 1))
        self._cache = {i: self._cache[i] if i in self._cache else self._masks[i] for i in near}
        mask = soften(np.stack([self._cache[i] for i in near]), centre=row - near.start)
        if not self._regions:
            return mask
        start, end = self._window
        return kept_to(self._regions, start + (end - start) * self._motion[row].reshape(-1, 2), mask)
