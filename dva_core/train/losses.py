"""The two training losses of Kim et al. 2023, sec. 3.4: L = L_simple + L_reg, one value per sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dva_core.diffusion.schedule import Schedule, image_of


class Losses(NamedTuple):
    """Per-sample losses, each [B]."""

    simple: Tensor
    reg: Tensor


def training_losses(
    predict_noise: Callable[[Tensor, Tensor, Tensor], Tensor],
    x_0: Tensor,
    z_face: Tensor,
    t: Tensor,
    noise_1: Tensor,
    noise_2: Tensor,
    mask: Tensor,
    schedule: Schedule,
) -> Losses:
    """Compute the losses of x_0 [B, 3, H, W] in [-1, 1] given z_face [B, F] at t [B], for two noises [B, 3, H, W].

    simple: | eps_theta(x_t, t, z_face) - eps |_1, the mean over all values of the image, summed over the two noises (eq. 5).
    reg: | (x0_hat_1 - x0_hat_2) * mask |_1, the mean over all values, inside the mask or not (eq. 6), x0_hat unclamped; mask
    [B, 1, H, W], 1 on the face: what is there must come from z_face, not from the noise.
    One call of `predict_noise` runs both noises as a batch of 2B.
    """
    x_0, z_face, t = (torch.cat([v, v]) for v in (x_0, z_face, t))
    noise = torch.cat([noise_1, noise_2])

    x_t = schedule.add_noise(x_0, t, noise)
    eps = predict_noise(x_t, t, z_face).to(x_t.dtype)
    simple_1, simple_2 = (eps - noise).abs().mean(dim=(1, 2, 3)).chunk(2)

    x_0_hat_1, x_0_hat_2 = image_of(x_t, eps, schedule.at(t, x_t)).chunk(2)
    reg = ((x_0_hat_1 - x_0_hat_2) * mask).abs().mean(dim=(1, 2, 3))
    return Losses(simple_1 + simple_2, reg)
