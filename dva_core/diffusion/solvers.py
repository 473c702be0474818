"""Solvers of the diffusion equation, up (encode) and down (decode), under one signature and by name.

With xb = x / sqrt(alpha_bar) and sb = sqrt(1 - alpha_bar) / sqrt(alpha_bar), what DDIM follows is the ordinary differential
equation d xb / d sb = eps_theta (Song et al. 2021, eq. 14). DDIM is its Euler method; here are others.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from dva_core.diffusion import ddim
from dva_core.diffusion.ddim import Callback, NoiseModel, estimate
from dva_core.diffusion.schedule import Step
from dva_core.errors import DVAError


class Solver(NamedTuple):
    """Both directions of a method, each `(model, x, z_face, steps, clamp, callback) -> x`."""

    invert: Callable[..., Tensor]
    sample: Callable[..., Tensor]


def sigma_bar(alpha_bar: float) -> float:
    """sb = sqrt(1 - alpha_bar) / sqrt(alpha_bar): the independent variable of the equation, 0 at the image."""
    return sqrt((1 - alpha_bar) / alpha_bar)


def order2(model: NoiseModel, x: Tensor, z_face: Tensor, path: list[Step], clamp: bool, callback: Callback | None) -> Tensor:
    """Along `path` by the two-step Adams-Bashforth method for uneven steps; one evaluation a step, the first step is Euler's."""
    x, slope, h = x.float(), None, 0.0
    for i, (t, now, then) in enumerate(path):
        before, h_before = slope, h
        _, slope = estimate(model, x, t, now, z_face, clamp)
        h = sigma_bar(then) - sigma_bar(now)
        # xb' = xb + h ((1 + r/2) eps_i - (r/2) eps_(i-1)), r = h_i / h_(i-1)
        mean_slope = slope if before is None else slope + (h / h_before / 2) * (slope - before)
        x = sqrt(then) * (x / sqrt(now) + h * mean_slope)
        if clamp and then == 1:
            x = x.clamp(-1, 1)
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


@torch.no_grad()
def invert_order2(
    model: NoiseModel, x_0: Tensor, z_face: Tensor, steps: int = 20, clamp: bool = True, callback: Callback | None = None
) -> Tensor:
    """As `ddim.invert`, second order: x_0 [B, 3, H, W] in [-1, 1] -> x_T float32; steps - 1 evaluations."""
    return order2(model, x_0, z_face, model.schedule.upwards(steps), clamp, callback)


@torch.no_grad()
def sample_order2(
    model: NoiseModel, x_T: Tensor, z_face: Tensor, steps: int = 20, clamp: bool = True, callback: Callback | None = None
) -> Tensor:
    """As `ddim.sample`, second order: x_T [B, 3, H, W] -> x_0 float32; `steps` evaluations."""
    return order2(model, x_T, z_face, model.schedule.downwards(steps), clamp, callback)


SOLVERS: dict[str, Solver] = {
    "ddim": Solver(ddim.invert, ddim.sample),
    "order2": Solver(invert_order2, sample_order2),
}


def named(solver: str) -> Solver:
    """The solver called `solver`; DVAError where there is none."""
    if solver not in SOLVERS:
        raise DVAError(f"There is no solver {solver!r}; choose one of {', '.join(SOLVERS)}.")
    return SOLVERS[solver]


def invert(
    model: NoiseModel,
    x_0: Tensor,
    z_face: Tensor,
    steps: int = 20,
    solver: str = "order2",
    clamp: bool = True,
    callback: Callback | None = None,
) -> Tensor:
    """Images to noise maps by the named solver: x_0 [B, 3, H, W] in [-1, 1], z_face [B, F] -> x_T [B, 3, H, W] float32.

    `callback(done, total, x)` comes after each evaluation and may raise to cancel. Raises DVAError for an unknown solver.
    """
    return named(solver).invert(model, x_0, z_face, steps, clamp, callback)


def sample(
    model: NoiseModel,
    x_T: Tensor,
    z_face: Tensor,
    steps: int = 20,
    solver: str = "order2",
    clamp: bool = True,
    callback: Callback | None = None,
) -> Tensor:
    """Noise maps to images by the named solver: x_T [B, 3, H, W], z_face [B, F] -> x_0 [B, 3, H, W] float32.

    `callback(done, total, x)` comes after each evaluation and may raise to cancel. Raises DVAError for an unknown solver.
    """
    return named(solver).sample(model, x_T, z_face, steps, clamp, callback)
