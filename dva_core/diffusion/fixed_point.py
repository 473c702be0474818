"""Inversion that undoes DDIM's own steps: each is an implicit equation, solved by iteration.

Downwards DDIM goes from t' to t by xb = xb' - h eps(x', t'), h = sb' - sb. Its inverse is not the explicit step upwards but the x' with

    xb' = xb + h eps(x', t'),

found as the fixed point of the right-hand side (Pan et al. 2023, "Effective real image editing with accelerated iterative diffusion
inversion"). An iteration is an evaluation, and all of them count.
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
    """Invert x [B, 3, H, W] to the noise by undoing the moves of `path`, DDIM's own downwards path; iterations len(path) evaluations.

    Each step's first guess of eps is the last one of the step before.
    """
    eps, done = None, 0
    for t, now, then in reversed(path):  # each move down, `now` -> `then`, undone
        xb, h = x / sqrt(then), sigma_bar(now) - sigma_bar(then)
        x = sqrt(now) * (xb if eps is None else xb + h * eps)
        for _ in range(iterations):
            _, eps = estimate(model, x, t, now, z_face, clamp)
            x = sqrt(now) * (xb + h * eps)
            done += 1
            if callback is not None:
                callback(done, iterations * len(path), x)
    return x
