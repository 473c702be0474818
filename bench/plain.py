"""The plain method: a straightforward loop from the paper's equations, without anything that saves work; what bench/speed.py compares with.

Three passes of T evaluations for an edit: invert, decode unedited (the public scripts do, to log it), decode edited. The network is
the same one in float32, its maps channel after channel, four frames at a time; every evaluation computes everything anew.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from unittest.mock import patch

import torch
from torch import Tensor, nn

BATCH = 4


def channel_after_channel() -> AbstractContextManager:
    """Context: maps stay as they come, [B, C, H, W], on CUDA too, where the network otherwise lays them out anew."""
    return patch("dva_core.networks.unet.prefers_channels_last", lambda _: False)


class PlainMethod:
    """The model's noise predictor and schedule, nothing else of it."""

    def __init__(self, model) -> None:
        self.schedule, self.device = model.schedule, model.host.device
        self.network: nn.Module = copy.deepcopy(model.noise_predictor).float().to(self.device, memory_format=torch.contiguous_format)

    def noise(self, x: Tensor, t: int, z_face: Tensor) -> tuple[Tensor, Tensor]:
        """eps_theta(x_t, t, z_face) and the x_0 it leaves, brought into [-1, 1] (Kim et al. 2023, eq. 3)."""
        steps = torch.full((len(x),), t, device=x.device)
        with channel_after_channel():
            eps = self.schedule.as_noise(self.network(x, steps, z_face), x, steps)
        alpha = self.schedule.alphas_cumprod[t].item()
        x_0 = ((x - (1 - alpha) ** 0.5 * eps) / alpha**0.5).clamp(-1, 1)
        return (x - alpha**0.5 * x_0) / (1 - alpha) ** 0.5, x_0

    def along(self, x: Tensor, z_face: Tensor, times: list[int], last: float | None) -> Tensor:
        """DDIM through `times`; after them, where `last` is given, on to that alpha_bar."""
        for i, t in enumerate(times):
            eps, x_0 = self.noise(x, t, z_face)
            then = self.schedule.alphas_cumprod[times[i + 1]].item() if i + 1 < len(times) else last
            if then is not None:
                x = then**0.5 * x_0 + (1 - then) ** 0.5 * eps
        return x

    @torch.no_grad()
    def edit(self, x_0: Tensor, z_face: Tensor, z_edited: Tensor, T: int) -> tuple[Tensor, Tensor]:
        """Images [N, 3, H, W] in [-1, 1], two z_face [N, F] -> rebuilt and edited; 3 T evaluations of each frame."""
        up = [i * 1000 // T for i in range(T)]
        rebuilt, edited = [], []
        for start in range(0, len(x_0), BATCH):
            x, z, z_new = (a[start : start + BATCH].to(self.device) for a in (x_0, z_face, z_edited))
            x_T = self.along(x, z, up, None)
            rebuilt.append(self.along(x_T, z, up[::-1], 1.0).cpu())
            edited.append(self.along(x_T, z_new, up[::-1], 1.0).cpu())
        return torch.cat(rebuilt), torch.cat(edited)
