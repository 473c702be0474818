"""Edit guidance: classifier-free guidance from the face before the edit to the face after it.

As Ho and Salimans (2022, eq. 6), with the face before the edit, z_o, in the place of the empty condition:

    eps = eps(x_t, z_e) + (w - 1) (eps(x_t, z_e) - eps(x_t, z_o)),

w = 1 is the edit z_e as Kim et al. (2023) decode it. Both evaluations are one batch, and are made in an interval of timesteps only
(Kynkaanniemi et al. 2024); outside it there is one, as without guidance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dva_core.diffusion.ddim import NoiseModel, noise_at
from dva_core.diffusion.schedule import Schedule, Step
from dva_core.errors import DVAError

LARGEST_WEIGHT = 10.0


@dataclass(frozen=True)
class Guidance:
    """The guidance weight w, 1 (none) to LARGEST_WEIGHT, applied at timesteps `low` to `high` inclusive. DVAError outside these ranges."""

    weight: float = 1.0
    low: int = 0
    high: int = 999

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and 1 <= self.weight <= LARGEST_WEIGHT):
            raise DVAError(f"The guidance {self.weight:g} makes no sense; choose 1 (none) to {LARGEST_WEIGHT:g}, usually 2 to 3.")
        if not 0 <= self.low <= self.high:
            raise DVAError(f"Guidance from timestep {self.low} to {self.high} makes no sense; give the lower one first.")

    @classmethod
    def from_config(cls, config: dict[str, Any], weight: float | None = None) -> Guidance:
        """Read `guidance`, {"weight": w, "interval": [low, high]}, of a bundle's configuration; `weight` overrides its weight.

        A bundle without the entry has no guidance, as in the paper.
        """
        record = config.get("guidance") or {}
        low, high = record.get("interval") or (cls.low, cls.high)
        return cls(float(record.get("weight", cls.weight) if weight is None else weight), int(low), int(high))

    @property
    def is_on(self) -> bool:
        return self.weight != 1

    def acts_at(self, t: int) -> bool:
        return self.is_on and self.low <= t <= self.high

    def evaluations(self, path: Iterable[Step]) -> int:
        """Count the network evaluations for one image along `path`: two per guided step, one per other step."""
        return sum(1 + self.acts_at(step.t) for step in path)


class GuidedModel:
    """A noise model with guided `predict_noise`, for the solvers, which clamp its estimates as usual.

    Its z_face [2 B, F] (or its `face_conditions`) holds the B rows of the edited face, then the B rows of the face before the edit.
    """

    def __init__(self, model: NoiseModel, guidance: Guidance) -> None:
        self.model, self.guidance = model, guidance
        self.schedule: Schedule = model.schedule

    def predict_noise(self, x_t: Tensor, t: Tensor, z_face: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Predict the guided noise: x_t [B, 3, H, W], t [B] one timestep for all -> eps [B, 3, H, W]."""
        return self.noise_at(x_t, int(t[0]), z_face)

    def noise_at(self, x_t: Tensor, t: int, z_face: Tensor | tuple[Tensor, ...]) -> Tensor:
        """As `predict_noise`, with the timestep as an int, so that no device has to be read."""
        if not self.guidance.acts_at(t):
            return noise_at(self.model, x_t, t, first_rows(z_face, len(x_t)))
        both = noise_at(self.model, torch.cat([x_t, x_t]), t, z_face)
        edited, original = both.chunk(2)
        return edited + (self.guidance.weight - 1) * (edited - original)


def first_rows(value: Tensor | tuple[Tensor, ...], count: int) -> Tensor | tuple[Tensor, ...]:
    return tuple(first_rows(part, count) for part in value) if isinstance(value, tuple) else value[:count]
