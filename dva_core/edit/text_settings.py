"""Settings of a text search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DVAError
from ..values import whole


@dataclass(frozen=True)
class TextSettings:
    """Settings of a text search.

    source, target   texts; the edit is the difference between the two
    frames           numbers of the frames to search on, or one number; a frame without a face stands for the nearest with one
    images           S, the intermediate images of each frame
    iterations       largest number of Adam steps; with `settle` the search ends as soon as the loss has settled
    clip_weight, identity_weight, l1_weight, learning_rate   as in the paper
    seed, start      u starts as a random vector of length `start`; other seeds give other solutions
    save_memory      one image at a time, with gradient checkpointing: slower, a fraction of the memory
    """

    source: str = "face"
    target: str = ""
    frames: int | Sequence[int] = 0
    images: int = 5
    iterations: int = 2000
    settle: bool = True
    clip_weight: float = 3.0
    identity_weight: float = 5.0
    l1_weight: float = 5.0
    learning_rate: float = 0.002
    seed: int = 0
    start: float = 0.01
    save_memory: bool = False

    def __post_init__(self) -> None:
        """Make the numbers Python's own, which JSON keeps: they become part of the direction."""
        for name in ("images", "iterations", "seed"):
            object.__setattr__(self, name, whole(getattr(self, name), name))
        for name in ("clip_weight", "identity_weight", "l1_weight", "learning_rate", "start"):
            object.__setattr__(self, name, float(getattr(self, name)))

    def check(self) -> None:
        """DVAError for the first invalid setting."""
        if not self.target.strip() or not self.source.strip():
            raise DVAError('A text edit needs a source and a target text; say for example "face" and "face with beard".')
        for name in ("images", "iterations"):
            whole(getattr(self, name), f"number of {name}", 1)
        weights = (self.clip_weight, self.identity_weight, self.l1_weight)
        if not all(np.isfinite(weights)) or min(weights) < 0 or not self.clip_weight:
            raise DVAError(f"The weights {weights} of the text edit make no sense; use numbers from 0 up, such as 3, 5 and 5.")
        if not 0 < self.learning_rate <= 1:
            raise DVAError(f"The learning rate {self.learning_rate:g} makes no sense; use for example 0.002.")
