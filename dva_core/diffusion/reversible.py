"""Reversible solvers: inversion is exact up to rounding, because each step is linear in two neighbouring states.

The state is a pair, concatenated along the channels [B, 2 C, H, W], the noisier one first. eps is always computed from the middle one
of three states, which is available in both directions. Exact inversion does not make edits more faithful (docs/solvers.md).

Bars as in multistep.py; state i lies at t_i, i = 0 (the image, as in `ddim.invert`) to T-1, h_i = sb_i - sb_(i-1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import torch
from torch import Tensor

from dva_core.diffusion.ddim import Callback, NoiseModel, estimate, step
from dva_core.diffusion.multistep import sigma_bar
from dva_core.diffusion.schedule import Step

# three neighbouring states, in either direction: (first, middle, (x_0, eps) of the middle, alpha_bar of all three) -> last
Move = Callable[[Tensor, Tensor, tuple[Tensor, Tensor], tuple[float, float, float]], Tensor]


def belm(first: Tensor, x: Tensor, estimates: tuple[Tensor, Tensor], alpha_bars: tuple[float, float, float]) -> Tensor:
    """O-BELM (Wang et al. 2024): xb_(i-1) = a xb_(i+1) + (1 - a) xb_i - h_i (h_i + h_(i+1)) / h_(i+1) eps_i, a = h_i^2 / h_(i+1)^2.

    Solved for xb_(i+1) it is the same equation with the two steps exchanged and their signs flipped, so one function serves both ways.
    """
    first_bar, alpha_bar, last_bar = alpha_bars
    h_first, h_last = sigma_bar(first_bar) - sigma_bar(alpha_bar), sigma_bar(alpha_bar) - sigma_bar(last_bar)
    a = (h_last / h_first) ** 2
    xb = a * first / sqrt(first_bar) + (1 - a) * x / sqrt(alpha_bar) - h_last * (h_last + h_first) / h_first * estimates[1]
    return sqrt(last_bar) * xb


def bdia(first: Tensor, x: Tensor, estimates: tuple[Tensor, Tensor], alpha_bars: tuple[float, float, float]) -> Tensor:
    """BDIA (Zhang et al. 2023) with gamma = 1: x_(i-1) = x_(i+1) - DDIM(x_i, t_i -> t_(i+1)) + DDIM(x_i, t_i -> t_(i-1)); either way."""
    first_bar, _, last_bar = alpha_bars
    return first - step(*estimates, first_bar) + step(*estimates, last_bar)


def upwards(move: Move) -> Callable[..., Tensor]:
    """Make the inversion of `move`: x_0 [B, C, H, W] -> the pair [B, 2 C, H, W]; one evaluation per step, the first step is DDIM's."""

    def along(model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None) -> Tensor:
        below, below_bar = x, 1.0
        for i, (t, alpha_bar, alpha_bar_next) in enumerate(path):
            estimates = estimate(model, x, t, alpha_bar, z_face, clamp)
            above_next = step(*estimates, alpha_bar_next) if i == 0 else move(below, x, estimates, (below_bar, alpha_bar, alpha_bar_next))
            below, below_bar, x = x, alpha_bar, above_next
            if callback is not None:
                callback(i + 1, len(path), x)
        return torch.cat([x, below], 1)

    return along


def downwards(move: Move) -> Callable[..., Tensor]:
    """Make the sampler of `move`: the pair [B, 2 C, H, W] -> x_0 [B, C, H, W]; len(path) - 2 evaluations."""

    def along(model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None) -> Tensor:
        above, x = x.chunk(2, 1)
        for i in range(1, len(path) - 1):
            t, alpha_bar, alpha_bar_next = path[i]
            estimates = estimate(model, x, t, alpha_bar, z_face, clamp)
            above, x = x, move(above, x, estimates, (path[i - 1].alpha_bar, alpha_bar, alpha_bar_next))
            if callback is not None:
                callback(i, len(path) - 2, x)
        return x.clamp(-1, 1) if clamp else x

    return along
