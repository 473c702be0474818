"""Resizing and normalising pictures to the size and range that a network was trained on."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.errors import DVAError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, of images in [0, 1]


def to_size(images: Tensor, size: int) -> Tensor:
    """Resize square images [B, 3, S, S], any S -> [B, 3, size, size]; returned unchanged if S = size. Raises DVAError if not square."""
    height, width = images.shape[-2:]
    if height != width:
        raise DVAError(f"A face crop must be square, not {width}x{height}; crop it first.")
    if height == size:
        return images
    if height > size and images.device.type == "mps":
        matrix = interpolation_matrix(height, size).to(images)  # Apple's GPUs have no anti-aliased interpolation
        return matrix @ images @ matrix.T
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=height > size)


@lru_cache(maxsize=8)
def interpolation_matrix(size_in: int, size_out: int, mode: str = "bilinear") -> Tensor:
    """Matrix [size_out, size_in] of anti-aliased resampling of one axis, bilinear or bicubic, for devices without it or its gradient."""
    with torch.inference_mode(False), torch.no_grad():
        rows = torch.eye(size_in, dtype=torch.float64, device="cpu")[None, None]
        return F.interpolate(rows, (size_out, size_in), mode=mode, antialias=True, align_corners=False)[0, 0].float()


@lru_cache(maxsize=8)
def area_matrix(size_in: int, size_out: int) -> Tensor:
    """Matrix [size_out, size_in] of area means along one axis, as adaptive average pooling computes them."""
    with torch.inference_mode(False), torch.no_grad():
        rows = torch.eye(size_in, dtype=torch.float64, device="cpu")[None, None]
        return F.adaptive_avg_pool2d(rows, (size_out, size_in))[0, 0].float()


def average_pool(images: Tensor, size: int) -> Tensor:
    """Adaptive average pooling [B, C, S, S] -> [B, C, size, size] by two products: Apple's GPUs pool by integer ratios only."""
    matrix = area_matrix(images.shape[-1], size).to(images)
    return matrix @ images @ matrix.T


def normalise_imagenet(images: Tensor) -> Tensor:
    """Normalise images in [-1, 1] by ImageNet's mean and standard deviation."""
    mean, std = (torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (MEAN, STD))
    return ((images + 1) / 2 - mean) / std
