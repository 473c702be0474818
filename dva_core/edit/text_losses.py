"""The terms that text editing minimises (Kim et al. 2023, sec. 3.4, CLIP-based editing; system.md 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DVAError

LEAST_TEXT_CHANGE = 1e-4  # distance of unit features below which two texts count as equal


def text_direction(source: Tensor, target: Tensor) -> Tensor:
    """Direction of the text: features of N sentences each, [N, E] and [N, E] -> [1, E], unit length.

    The features are normalised, then averaged over the sentences; the direction is the difference of the averages.
    DVAError if both texts have the same features.
    """
    change = F.normalize(target, dim=-1).mean(0, keepdim=True) - F.normalize(source, dim=-1).mean(0, keepdim=True)
    if change.norm() < LEAST_TEXT_CHANGE:
        raise DVAError("Source text and target text mean the same to the image-text model; say what shall be different.")
    return F.normalize(change, dim=-1)


def directional_loss(source: Tensor, target: Tensor, direction: Tensor, floor: float = 0.0) -> Tensor:
    """Directional loss d_i = 1 - cos(image change, text change): features [n, E], [n, E], direction [1, E] unit -> [n], in 0..2.

    With `floor` the norm of the image change u in the cosine is sqrt(|u|^2 + floor^2), which is smooth at u = 0 (no change yet), where
    the gradient of the plain cosine is undefined, and approaches the plain cosine for |u| of several floors.
    """
    change = F.normalize(target, dim=-1) - F.normalize(source, dim=-1)
    length = (change.square().sum(-1) + max(floor, 1e-8) ** 2).sqrt()
    return 1 - (change @ direction[0]) / length


def clip_loss(directional: Tensor) -> Tensor:
    """L_clip = -log((2 - d) / 2) with d the mean of the directional losses [n] in 0..2: 0 if every change has the text's direction."""
    return -torch.log((2 - directional.mean()).clamp(min=1e-6) / 2)


def identity_loss(z: Tensor, z_0: Tensor) -> Tensor:
    """L_id = 1 - cos(z, z_0), mean over rows: [n, D], [n, D] -> scalar in 0..2."""
    return (1 - F.cosine_similarity(z, z_0, dim=-1)).mean()


def masked_l1(images: Tensor, originals: Tensor, mask: Tensor) -> Tensor:
    """L_l1 of each image: mean of |images - originals| mask over its pixels; [n, 3, H, W] twice and [n, 1, H, W] in 0..1 -> [n]."""
    return ((images - originals).abs() * mask).mean((1, 2, 3))
