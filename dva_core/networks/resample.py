"""Bringing pictures to the size and the range a network was trained on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.errors import DVAError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, of images in [0, 1]


def to_size(images: Tensor, size: int) -> Tensor:
    """Square images [B, 3, S, S], any S -> [B, 3, size, size]; themselves where S = size. Raises DVAError where not square."""
    height, width = images.shape[-2:]
    if height != width:
        raise DVAError(f"A face crop must be square, not {width}x{height}; crop it first.")
    if height == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=height > size)


def imagenet_normalised(images: Tensor) -> Tensor:
    """Images in [-1, 1] with ImageNet's mean and deviation taken out."""
    mean, std = (torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (MEAN, STD))
    return ((images + 1) / 2 - mean) / std
