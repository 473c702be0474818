"""Pictures and masks of the library as ComfyUI's IMAGE and MASK, and back."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.model_management as management
import numpy as np
import torch

from dva_core.decomposition.decomposition import Decomposition


def rows_to_show(people: Sequence[Decomposition], most: int) -> list[list[int]]:
    """Rows of each person whose crops become images: `most` in all, evenly spaced and at least one per person; 0: all rows."""
    from dva_core.pipeline.sheet import moments

    return [moments(one.faces, most // len(people) or (1 if most else one.faces)) for one in people]


def to_image(pictures: np.ndarray) -> torch.Tensor:
    """Convert uint8 [B, H, W, 3], or float [B, 3, H, W] in [-1, 1], to ComfyUI's IMAGE: float32 [B, H, W, 3] in [0, 1]."""
    images = torch.from_numpy(np.ascontiguousarray(pictures)).to(management.intermediate_device())
    if images.dtype == torch.uint8:
        return images.float().div_(255)
    return images.float().movedim(1, -1).add_(1).div_(2).clamp_(0, 1).contiguous()


def to_mask(masks: np.ndarray) -> torch.Tensor:
    """Convert masks [B, H, W] in 0..1 to ComfyUI's MASK: float32 [B, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(masks)).to(management.intermediate_device()).float()


def as_uint8(image: torch.Tensor) -> np.ndarray:
    """Convert a picture of an IMAGE, [H, W, C] in [0, 1], to uint8 [H, W, 3]; alpha is dropped, grey is repeated."""
    return as_whole(image, 8).astype(np.uint8)


def as_whole(image: torch.Tensor, bits: int) -> np.ndarray:
    """Like `as_uint8`, to integers of `bits` bits: uint16 [H, W, 3]."""
    colours = image[..., :3].float().expand(*image.shape[:2], 3).clamp(0, 1)
    return np.ascontiguousarray(colours.mul(2**bits - 1).round().to(torch.int32).cpu().numpy().astype(np.uint16))
