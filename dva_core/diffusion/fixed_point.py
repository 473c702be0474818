"""Implicit inversion of DDIM: each sampling step is inverted by fixed-point iteration.

Downwards DDIM goes from t' to t by xb = xb' - h eps(x', t'), h = sb' - sb. Its inverse is not the explicit step upwards but the x' with

    xb' = xb + h eps(x', t'),

found as the fixed point of the right-hand side (Pan et al. 2023, "Effective real image editing with accelerated iterative diffusion
inversion"). Each iteration is one network evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from torch import Tensor

from dva_core.diffusion.ddim import Callback, NoiseModel, estimate
from dva_core.diffusion.multistep import sigma_bar
from dva_core.diffusion.schedule import Step

ITERATIONS = 2


def invert(
    model: NoiseModel,
    x: Tensor,
    z_face: Tensor,
    path: Sequence[Step],
    clamp: bool,
    callback: Callback | None,
    iterations: int = ITERATIONS,
) -> Tensor:
    """Invert x [B, 3, H, W] to noise by inverting each step of `path`, DDIM's sampling path; iterations * len(path) evaluations.

    The first estimate of eps in each step is the last one of the previous step.
    """
    eps, count = None, 0
    for t, alpha_bar, alpha_bar_next in reversed(path):
        xb, h = x / sqrt(alpha_bar_next), sigma_bar(alpha_bar) - sigma_bar(alpha_bar_next)
        x = sqrt(alpha_bar) * (xb if eps is None else xb + h * eps)
        for _ in range(iterations):
            _, eps = estimate(model, x, t, alpha_bar, z_face, clamp)
            x = sqrt(alpha_bar) * (xb + h * eps)
            count += 1
            if callback is not None:
                callback(count, iterations * len(path), x)
    return x
