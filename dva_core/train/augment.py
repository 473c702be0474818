"""Augmentations with known labels: re-framing (points move along), mirror image, light and colour, softness.

Random numbers are drawn on the CPU, so that they are the same for any device; pictures stay on theirs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.faces.align import MIRROR68
from dva_core.hosts.devices import to_device

MIRROR = torch.as_tensor(MIRROR68)


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def reframe(images: Tensor, points: Tensor, generator: torch.Generator, *, turn: float, zoom: float, shift: float) -> tuple[Tensor, Tensor]:
    """Apply a random similarity transform and mirror image.

    Args:
        images: [B, 3, S, S]; points: [B, 68, 2] in fractions of the picture, on the CPU.
        turn: standard deviation of the rotation in degrees; zoom: largest logarithm of the scale; shift: largest shift as a fraction.

    Returns:
        Pictures and points in the new frame; outside the old frame the picture is mirrored.
    """
    count = len(images)
    angle = torch.randn(count, generator=generator) * turn * torch.pi / 180
    scale = uniform(count, -zoom, zoom, generator).exp()
    move = uniform(2 * count, -shift, shift, generator).view(count, 2)
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    # new -> old, centre at 0 and half a side = 1: old = A new + b
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)], 1)
    offset = 2 * move
    affine = to_device(torch.cat([matrix, offset[:, :, None]], 2), images.device)
    grid = F.affine_grid(affine, images.shape, align_corners=False)
    pictures = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    new_points = ((points * 2 - 1) - offset[:, None]) @ torch.linalg.inv(matrix).transpose(1, 2) / 2 + 0.5
    return pictures, torch.where(flip[:, None, None] < 0, new_points[:, MIRROR], new_points)


def relight(images: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Change brightness, contrast, saturation and colour cast, drawn per picture; images in [-1, 1]."""
    count = len(images)

    def draw(width: float) -> Tensor:
        return to_device(uniform(count, -width * strength, width * strength, generator).view(count, 1, 1, 1), images.device)

    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * draw(0.3).exp() + mean + draw(0.25)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * draw(0.4).exp()
    cast = uniform(3 * count, -0.06 * strength, 0.06 * strength, generator).view(count, 3, 1, 1)
    return (images + to_device(cast, images.device)).clamp(-1, 1)


def soften(images: Tensor, generator: torch.Generator, share: float = 0.4) -> Tensor:
    """Degrade some of the pictures like small or noisy videos: downscaled and upscaled, with noise."""
    size = images.shape[-1]
    chosen = (torch.rand(len(images), generator=generator) < share).nonzero()[:, 0]
    if not len(chosen):
        return images
    chosen = to_device(chosen, images.device)
    small = int(uniform(1, 0.25, 0.8, generator).item() * size)
    soft = F.interpolate(F.interpolate(images[chosen], (small, small), mode="area"), (size, size), mode="bilinear", align_corners=False)
    noise = to_device(torch.randn(soft.shape, generator=generator) * uniform(1, 0.0, 0.08, generator), images.device)
    images = images.clone()
    images[chosen] = (soft + noise).clamp(-1, 1)
    return images
