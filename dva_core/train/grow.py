"""Initialisation of a noise predictor from a smaller one: larger patches with the same feature maps, and a detail head."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.diffusion.schedule import Schedule
from dva_core.errors import DVAError
from dva_core.networks.unet import UNet

FITTED = 32  # timesteps at which a detail head is fitted
MOST_SCALE, RIDGE = 12.0, 1e-3
FIRST, LAST = "input_blocks.0.0.", "out.2."  # where patches are folded into channels and unfolded


def spread_patches(state: Mapping[str, Tensor], small: int, large: int) -> dict[str, Tensor]:
    """Convert the weights of a UNet with patches of `small` pixels to patches of `large`; all feature maps keep their size.

    Weights of one pixel are spread over k x k, k = large / small. The mean of k x k pixels has noise k times weaker, so that the network
    at first estimates an earlier timestep, which training must correct.

    Raises DVAError if `large` is no multiple of `small`.
    """
    k, rest = divmod(large, small)
    if rest:
        raise DVAError(f"Patches of {small} pixels do not divide patches of {large}; choose a patch_size that is a multiple.")
    at = torch.arange(large) // k
    pixels = (at[:, None] * small + at).flatten()  # of the small patch, for each of the large one's
    channels = state[f"{LAST}bias"].shape[0] // small**2
    places = (torch.arange(channels)[:, None] * small**2 + pixels).flatten()
    first, last = f"{FIRST}weight", [f"{LAST}weight", f"{LAST}bias"]
    return {**state, first: state[first][:, places] / k**2, **{key: state[key][places] for key in last}}


@torch.no_grad()
def fit_to_time(unet: UNet, values: Tensor, weight: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """Weight [C, E] and bias [C] of a linear layer that gives values [T, C] of all T timesteps from SiLU of their embedding.

    By least squares; `weight` [T]: of the errors.
    """
    parameter = next(unet.time_embed.parameters())
    every = torch.arange(len(values), device=parameter.device)
    embedding = F.silu(unet.time_embed(every, parameter.dtype)).cpu().double()
    terms = torch.cat([embedding, torch.ones(len(every), 1, dtype=torch.float64)], 1)
    weight = torch.as_tensor(weight, dtype=torch.float64).cpu().reshape(-1, 1)
    left, right = (terms * weight).T @ (terms * weight), (terms * weight).T @ (values * weight)
    layer = torch.linalg.solve(left + RIDGE * torch.eye(len(left), dtype=torch.float64), right).to(parameter)
    return layer[:-1].T, layer[-1]


@torch.no_grad()
def fit_detail_head(unet: UNet, schedule: Schedule, x_0: Tensor, z_face: Tensor, generator: torch.Generator) -> None:
    """Fit the linear part of a new detail head, by least squares, to the prediction error as a function of the pixels of a patch.

    At some timesteps the error of the prediction of pictures x_0 [B, 3, S, S] of faces z_face [B, F] is regressed on x_t, in a basis
    in which the errors are uncorrelated; the scales over t are then the nearest that a linear layer can make of the embedding of t.
    """
    head, count = unet.detail, len(x_0)
    visited = (torch.linspace(0, 1, FITTED) ** 2 * (schedule.train_steps - 1)).round().long().unique()
    inputs, errors = [], []
    for t in visited.tolist():
        at = torch.full((count,), t, device=x_0.device)
        noise = torch.randn(x_0.shape, generator=generator).to(x_0)
        x_t = schedule.add_noise(x_0, at, noise)
        error = schedule.as_output(noise, x_t, at) - unet(x_t, at, z_face)
        for kept, values in ((inputs, x_t), (errors, error)):
            kept.append(F.pixel_unshuffle(values, unet.patch_size).movedim(1, -1).flatten(0, -2))
    typical = errors[len(errors) // 3]  # the noise is strong enough to hide detail, weak enough to show the face
    basis = torch.linalg.eigh(typical.T.cov()).eigenvectors  # [C, C], in columns
    scales = torch.stack([((e @ basis) * (x @ basis)).mean(0) / (x @ basis).square().mean(0) for x, e in zip(inputs, errors)])
    scales = scales.clamp(-MOST_SCALE, MOST_SCALE).cpu().double().numpy()
    values = torch.from_numpy(np.stack([np.interp(np.arange(schedule.train_steps), visited, column) for column in scales.T], 1))
    weight = (1 - schedule.alphas_cumprod).sqrt()  # of an error, in the image that it leads to
    linear, channels = head.emb_layers[1], len(basis)
    linear.weight[-channels:], linear.bias[-channels:] = fit_to_time(unet, values, weight)
    head.basis.weight.copy_(basis.T[:, :, None, None])
    head.proj_out.weight[:, :channels] = basis[:, :, None, None]
