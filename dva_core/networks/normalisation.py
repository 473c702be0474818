"""Group norm with scale and shift that keeps the layout of its input: torch's own is slow on small maps on CPUs and copies on CUDA."""

from __future__ import annotations

import math
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.networks.peak import kind_of

SMALL_MAP = 32 * 32  # pixels
LARGE_BATCH = 2**22  # values; from about this size memory traffic on a GPU takes longer than launching more kernels
SUMMED = (torch.float32, torch.bfloat16)


def prefers_channels_last(kind: str) -> bool:
    """Whether half-precision convolutions are fastest in channels-last layout: on NVIDIA GPUs.

    On AMD GPUs, where ComfyUI disables MIOpen, the maps would be copied to the other layout and back.
    """
    return kind == "cuda" and torch.version.hip is None


def group_norm(channels: int, operations: ModuleType | type) -> nn.Module:
    """Group norm with 32 groups, or the largest divisor of 32 that divides `channels`."""
    return operations.GroupNorm(math.gcd(32, channels), channels)


def normalise(norm: nn.Module, x: Tensor, condition: Tensor | None = None) -> Tensor:
    """norm(x) of x [B, C, H, W]; with a condition [B or 1, 2C] = [scale | shift], norm(x) (1 + scale) + shift.

    On a CPU, for small channels-last maps, torch's group norm takes two to five times as long as the means computed here,
    in bfloat16 five to twelve times; and the condition costs nothing, as it is folded into the norm's weight and bias. CUDA's group norm
    returns the contiguous layout, which the next convolution has to undo: see `normalise_in_place`.
    """
    if stays_in_place(norm, x):
        return normalise_in_place(norm, x, condition)
    small = x.shape[2] * x.shape[3] < SMALL_MAP and x.is_contiguous(memory_format=torch.channels_last)
    plain = type(norm) is nn.GroupNorm and kind_of(x) == "cpu" and x.dtype in SUMMED  # a host's layers also load and cast weights
    if not (small and plain and may_overwrite()):
        return norm(x) if condition is None else scale_shift(norm(x), condition)
    centred = x - group_mean(x, norm.num_groups)
    gain, bias = torch.rsqrt(group_mean(centred.square(), norm.num_groups) + norm.eps) * per_channel(norm.weight), per_channel(norm.bias)
    if condition is not None:
        scale, shift = per_channel(condition).chunk(2, dim=1)
        gain, bias = gain * (1 + scale), torch.addcmul(shift, bias, 1 + scale)
    return torch.addcmul(bias, centred, gain, out=centred)


def stays_in_place(norm: nn.Module, x: Tensor) -> bool:
    """Whether x is a large batch of channels-last maps on CUDA, and the norm's weights are on the same device."""
    if kind_of(x) != "cuda" or x.numel() < LARGE_BATCH or not x.is_contiguous(memory_format=torch.channels_last) or not may_overwrite():
        return False
    weight, streams = norm.weight, getattr(norm, "comfy_cast_weights", False)
    return weight is not None and not streams and weight.device == x.device and weight.dtype == x.dtype


def normalise_in_place(norm: nn.Module, x: Tensor, condition: Tensor | None = None) -> Tensor:
    """As `normalise`, in x's layout: x is read three times and written once; ATen's implementation with two layout copies needs six
    and five. Sums, gain and bias are float32, whatever x is.
    """
    batch, channels = x.shape[:2]
    groups = x.permute(0, 2, 3, 1).reshape(batch, -1, norm.num_groups, channels // norm.num_groups)  # a view
    count = groups.shape[1] * groups.shape[3]
    mean = groups.mean((1, 3), dtype=torch.float32)
    square = torch.linalg.vector_norm(groups, 2, (1, 3), dtype=torch.float32).square() / count
    spread = torch.rsqrt((square - mean.square()).clamp(min=0) + norm.eps)
    weight, bias = (values.float().view(norm.num_groups, -1) for values in (norm.weight, norm.bias))
    gain = spread[..., None] * weight
    bias = torch.addcmul(bias, mean[..., None], gain, value=-1)
    gain, bias = (values.reshape(batch, channels, 1, 1) for values in (gain, bias))
    if condition is not None:
        scale, shift = per_channel(condition.float()).chunk(2, dim=1)
        gain, bias = gain * (1 + scale), torch.addcmul(shift, bias, 1 + scale)
    return torch.addcmul(bias, x, gain, out=torch.empty_like(x))


def group_mean(x: Tensor, groups: int) -> Tensor:
    """[B, C, H, W] -> [B, C, 1, 1]: the mean over all pixels and the channel's group."""
    means = F.avg_pool2d(x, x.shape[2:]).unflatten(1, (groups, -1))  # a third of the time of x.mean((2, 3))
    return means.mean(2, keepdim=True).expand_as(means).flatten(1, 2)


def per_channel(values: Tensor) -> Tensor:
    """Reshape [C] or [B, C] -> [1 or B, C, 1, 1], to be broadcast over a map."""
    return values.reshape(-1, values.shape[-1], 1, 1)


def scale_shift(h: Tensor, condition: Tensor) -> Tensor:
    """h (1 + scale) + shift with [scale | shift] = condition [B, 2C], the same at every pixel of h [B, C, H, W]."""
    scale, shift = per_channel(condition).chunk(2, dim=1)
    return torch.addcmul(shift, h, 1 + scale, out=reusable(h))


def may_overwrite() -> bool:
    """Whether a map that is not needed any more may be overwritten: allocating memory costs a CPU a twentieth of an evaluation.

    Not if autograd may need it; a compiler optimises this itself.
    """
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling())


def reusable(h: Tensor) -> Tensor | None:
    """The tensor h as an output buffer, or None where autograd needs it."""
    return h if may_overwrite() else None


def silu(h: Tensor) -> Tensor:
    """SiLU of a map that is not needed any more, in place if possible."""
    return F.silu(h, inplace=may_overwrite())
