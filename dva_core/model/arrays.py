"""Conversions between numpy pictures and vectors and the networks' tensors."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..hosts.devices import to_device
from ..networks.resample import average_pool


def to_images(crops: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Convert pictures uint8 [B, S, S, 3] to images float32 [B, 3, S, S] in [-1, 1] on `device`; they are transferred as bytes."""
    return to_device(torch.from_numpy(np.ascontiguousarray(crops)), device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def as_picture(crop: np.ndarray) -> np.ndarray:
    """Convert a crop float [3, S, S] in [-1, 1] to a picture uint8 [S, S, 3]."""
    return np.rint((np.asarray(crop, np.float32).transpose(1, 2, 0).clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def shrink(images: Tensor, size: int) -> Tensor:
    """Downsample [B, 3, S, S] -> [B, 3, size, size] by averages over areas."""
    if images.shape[-1] == size:
        return images
    if images.device.type == "mps" and images.shape[-1] % size:
        return average_pool(images, size)
    return F.interpolate(images, (size, size), mode="area")


def fuse(model, z_id: np.ndarray, z_motion: np.ndarray) -> Tensor:
    """Fuse an identity [D], or one per frame [B, D], with the motion of B frames [B, D_motion] -> z_face [B, F]."""
    return model.fuse(torch.from_numpy(np.asarray(z_id, np.float32)), torch.from_numpy(np.ascontiguousarray(z_motion, np.float32)))
