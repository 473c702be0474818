"""The noise schedule: alpha_bar at each timestep, and the timesteps that a solver with T steps visits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from dva_core.errors import DVAError

PREDICTIONS = ("epsilon", "v")
LEAST_POWER, LARGEST_POWER = 0.5, 4.0


class Step(NamedTuple):
    """One solver step: from timestep `t` with cumulative product `alpha_bar` to the timestep with `alpha_bar_next`."""

    t: int
    alpha_bar: float
    alpha_bar_next: float


def image_of(x_t: Tensor, eps: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """The estimated image x_0 = (x_t - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar) (Kim et al. 2023, eq. 3) of x_t with the noise eps."""
    return (x_t - root(1 - alpha_bar) * eps) / root(alpha_bar)


def noise_of(x_t: Tensor, x_0: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """The noise eps = (x_t - sqrt(alpha_bar) x_0) / sqrt(1 - alpha_bar) of x_t with the image x_0."""
    return (x_t - root(alpha_bar) * x_0) / root(1 - alpha_bar)


def combine(x_0: Tensor, eps: Tensor, alpha_bar: float | Tensor) -> Tensor:
    """The noisy image x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps."""
    return root(alpha_bar) * x_0 + root(1 - alpha_bar) * eps


def root(value: float | Tensor) -> float | Tensor:
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


@dataclass(frozen=True)
class Schedule:
    """Linear betas, x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (Ho et al. 2020, eq. 4).

    `prediction` is what the network outputs: "epsilon", the noise, as in the paper and its published weights; or "v", the velocity
    sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0 (Salimans and Ho 2022), whose error in x_0 does not grow at high noise.
    """

    train_steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise DVAError(f"A noise predictor cannot predict {self.prediction!r}; the configuration must name {' or '.join(PREDICTIONS)}.")

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """The cumulative products alpha_bar_t = prod_{s <= t} (1 - beta_s): float64 [train_steps], on the CPU."""
        betas = torch.linspace(self.beta_start, self.beta_end, self.train_steps, dtype=torch.float64, device="cpu")
        return torch.cumprod(1 - betas, dim=0)

    def timesteps(self, steps: int, power: float = 1.0) -> Tensor:
        """The timesteps round(i train_steps / steps), i = 0..steps-1: int64 [steps]. Raises DVAError outside 1..train_steps.

        With `power` p != 1, t_i = round((i / (steps - 1))^p t_(steps-1)): the same first and last timestep, no duplicates, and for p > 1
        a finer spacing at low noise. Raises DVAError for a power outside LEAST_POWER..LARGEST_POWER.
        """
        if isinstance(steps, bool) or int(steps) != steps or not 1 <= steps <= self.train_steps:
            raise DVAError(f"{steps} is not a number of diffusion steps; choose a whole number from 1 to {self.train_steps}.")
        if not LEAST_POWER <= power <= LARGEST_POWER:  # nan too
            raise DVAError(f"{power} is not a power for the timesteps; choose {LEAST_POWER} to {LARGEST_POWER}, 1 for even ones.")
        steps = int(steps)
        t = [(2 * i * self.train_steps + steps) // (2 * steps) for i in range(steps)]
        if power != 1 and steps > 1:
            last, gaps = t[-1], steps - 1
            for i in range(1, steps):  # leaves room for the timesteps that follow
                t[i] = min(max(round((i / gaps) ** power * last), t[i - 1] + 1), last - (gaps - i))
        return torch.tensor(t, device="cpu")

    def upwards(self, steps: int, power: float = 1.0) -> list[Step]:
        """The steps - 1 moves from the image, t_0 = 0, to the noise, t_(steps-1)."""
        t = self.timesteps(steps, power).tolist()
        alpha_bar = self.alphas_cumprod[t].tolist()
        return [Step(*step) for step in zip(t[:-1], alpha_bar[:-1], alpha_bar[1:])]

    def downwards(self, steps: int, power: float = 1.0) -> list[Step]:
        """The `steps` moves from the noise, t_(steps-1), to the image; the last arrives at alpha_bar = 1."""
        t = self.timesteps(steps, power).tolist()
        alpha_bar = self.alphas_cumprod[t].tolist()
        return [Step(*step) for step in zip(t, alpha_bar, [1.0, *alpha_bar[:-1]])][::-1]

    def add_noise(self, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Add noise: x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise; x_0 and noise [B, C, H, W], t [B] -> [B, C, H, W]."""
        return combine(x_0, noise, self.at(t, x_0))

    def as_noise(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Convert the network's output for x_t [B, C, H, W] at t [B] to eps: itself, or sqrt(alpha_bar) v + sqrt(1 - alpha_bar) x_t."""
        output = output.to(x_t.dtype)
        if self.prediction == "epsilon":
            return output
        a = self.at(t, x_t)
        return (a.sqrt() * output + (1 - a).sqrt() * x_t).to(x_t.dtype)

    def as_output(self, noise: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Convert eps of x_t [B, C, H, W] at t [B] to what the network should output: the reverse of `as_noise`."""
        if self.prediction == "epsilon":
            return noise
        a = self.at(t, x_t)
        return ((noise - (1 - a).sqrt() * x_t) / a.sqrt()).to(x_t.dtype)

    def at(self, t: Tensor, like: Tensor) -> Tensor:
        """Look up alpha_bar_t: [B, 1, 1, 1], at least float32, on the device of `like`."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        return self._table(like.device, dtype)[t.to(like.device)][:, None, None, None]

    def _table(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """alpha_bar on a device, copied once: a copy at every evaluation would synchronise with the device."""
        if (device, dtype) not in self._tables:
            with torch.inference_mode(False):  # so that autograd may use it later
                self._tables[device, dtype] = self.alphas_cumprod.to(dtype).to(device)
        return self._tables[device, dtype]

    @cached_property
    def _tables(self) -> dict[tuple[torch.device, torch.dtype], Tensor]:
        return {}
