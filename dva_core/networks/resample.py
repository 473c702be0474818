"""Bringing pictures of any square size to the size a network was trained on."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dva_core.errors import DVAError


def to_size(images: Tensor, size: int) -> Tensor:
    """Square images [B, 3, S, S], any S -> [B, 3, size, size]; themselves where S = size. Raises DVAError where not square."""
    height, width = images.shape[-2:]
    if height != width:
        raise DVAError(f"A face crop must be square, not {width}x{height}; crop it first.")
    if height == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=height > size)
