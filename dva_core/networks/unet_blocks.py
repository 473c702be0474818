"""Blocks of the UNet: embedding of the timestep, residual and attention blocks (Dhariwal & Nichol 2021; Kim et al. 2023, sec. 3.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.errors import DVAError
from dva_core.networks.normalisation import group_norm, normalise, reusable, silu
from dva_core.networks.peak import kind_of


def timestep_embedding(t: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoids of the timestep: t [B] -> float32 [B, channels], the cosines first, then the sines."""
    half = channels // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies[None]
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, channels - 2 * half))


def one_for_all(t: Tensor) -> Tensor:
    """t [B], or t[:1] if it is one expanded number (stride 0), which is known without synchronising with the device."""
    return t[:1] if t.stride(0) == 0 else t


def zero_weights(layer: nn.Module) -> nn.Module:
    """Set weight and bias of `layer` to 0, so that each block starts as the identity and the whole network as eps = 0."""
    for values in (layer.weight, layer.bias):
        if values is not None:  # the layers of a host may be empty until a file is loaded
            nn.init.zeros_(values)
    return layer


class TimeEmbedding(nn.Module):
    """Sinusoids through two linear layers: t [B] -> [B, embedding_channels]."""

    def __init__(self, channels: int, embedding_channels: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.channels = channels
        self.time_embed = nn.Sequential(
            operations.Linear(channels, embedding_channels), nn.SiLU(), operations.Linear(embedding_channels, embedding_channels)
        )

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        return self.time_embed(timestep_embedding(t, self.channels).to(dtype))


class FaceMap(nn.Module):
    """z_face [B, C] -> a map [B, channels, size, size], so that z_face can act locally and not only on whole channels.

    Not in Kim et al. 2023, where z_face scales and shifts whole channels: enough for a face, not for the rims of glasses.
    """

    def __init__(self, condition_channels: int, channels: int, size: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.layers = nn.Sequential(
            operations.Linear(condition_channels, condition_channels), nn.SiLU(),
            operations.Linear(condition_channels, channels * size**2), nn.SiLU(),
        )  # fmt: skip

    def forward(self, z_face: Tensor) -> Tensor:
        return self.layers(z_face).reshape(-1, self.channels, self.size, self.size)


def resize_condition(x: Tensor, size: torch.Size) -> Tensor:
    """Resize a map [B, C, H, W]: interpolated if it grows, averaged if it shrinks."""
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear" if size[0] > x.shape[2] else "area")


class ResidualBlock(nn.Module):
    """norm, SiLU, conv; norm, scale/shift by t, SiLU, conv; norm, scale/shift by z_face, SiLU, dropout, conv; plus the input.

    `resample` "down" halves (mean of 2x2) and "up" doubles (nearest) the map, on both the residual and the straight path, before
    the first convolution. Kim et al. 2023, sec. 3.2 (conditioning), Dhariwal & Nichol 2021, sec. 3 (residual resampling).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        embedding_channels: int,
        condition_channels: int,
        dropout: float = 0.0,
        resample: str | None = None,
        operations: ModuleType | type = nn,
        spatial_channels: int = 0,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(
            group_norm(in_channels, operations), nn.SiLU(), operations.Conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), operations.Linear(embedding_channels, 2 * out_channels))
        self.cond_emb_layers = nn.Sequential(nn.SiLU(), operations.Linear(condition_channels, 2 * out_channels))
        self.out_layers = nn.Sequential(
            group_norm(out_channels, operations),
            nn.SiLU(),
            operations.Conv2d(out_channels, out_channels, 3, padding=1),
            group_norm(out_channels, operations),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero_weights(operations.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.spatial = zero_weights(operations.Conv2d(spatial_channels, out_channels, 1)) if spatial_channels else None
        self.skip_connection = nn.Identity() if in_channels == out_channels else operations.Conv2d(in_channels, out_channels, 1)

    def _resample(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return F.avg_pool2d(x, 2)
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x

    def condition(self, z_face: Tensor, face_map: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the condition of z_face [B, C]: [scale | shift] [B, 2 out_channels] and, with a face map, [B, out_channels, s, s]."""
        scale_and_shift = self.cond_emb_layers(z_face)
        return scale_and_shift if face_map is None else (scale_and_shift, self.spatial(face_map))

    def forward(self, x: Tensor, embedding: Tensor, condition: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """x [B, C, H, W], embedding [B or 1, E] of the timestep, condition from the method `condition`."""
        norm_in, _, conv_in = self.in_layers
        norm_t, _, conv_t, norm_z, _, dropout, conv_z = self.out_layers
        h = conv_in(self._resample(silu(normalise(norm_in, x))))
        h = conv_t(silu(normalise(norm_t, h, self.emb_layers(embedding))))
        if isinstance(condition, tuple):
            condition, addition = condition
            h = torch.add(h, resize_condition(addition, h.shape[2:]), out=reusable(h))
        h = conv_z(dropout(silu(normalise(norm_z, h, condition))))
        return torch.add(h, self.skip_connection(self._resample(x)), out=reusable(h))


class AttentionBlock(nn.Module):
    """Self-attention over all pixels of a map, plus the input. Channels of `qkv`: head by head, each q then k then v."""

    def __init__(self, channels: int, num_heads: int = 1, operations: ModuleType | type = nn) -> None:
        super().__init__()
        if channels % num_heads:
            raise DVAError(f"{channels} channels do not divide into {num_heads} attention heads; choose num_heads that divides them.")
        self.num_heads = num_heads
        self.norm = group_norm(channels, operations)
        self.qkv = operations.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero_weights(operations.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if x.is_contiguous(memory_format=torch.channels_last) and type(self.qkv) is type(self.proj_out) is nn.Conv1d:
            return x + self._pixel_by_pixel(normalise(self.norm, x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        qkv = self.qkv(normalise(self.norm, x).flatten(2))  # [B, 3C, HW]
        qkv = qkv.reshape(batch, self.num_heads, -1, height * width).transpose(2, 3)
        if kind_of(x) != "cpu":
            qkv = qkv.contiguous()  # with any other stride than 1 in the last axis, CUDA's fused kernels refuse
        q, k, v = qkv.chunk(3, dim=-1)  # [B, heads, HW, C/heads]
        h = F.scaled_dot_product_attention(q, k, v)
        h = self.proj_out(h.transpose(2, 3).reshape(batch, channels, height * width))
        return x + h.reshape(batch, channels, height, width)

    def _pixel_by_pixel(self, x: Tensor) -> Tensor:
        """Attention of normalised x [B, H, W, C] -> [B, H, W, C], without a copy to [B, C, HW] and back, for plain layers."""
        qkv = F.linear(x.flatten(1, 2), self.qkv.weight.squeeze(-1), self.qkv.bias)  # [B, HW, 3C]
        q, k, v = qkv.unflatten(-1, (self.num_heads, -1)).transpose(1, 2).chunk(3, dim=-1)  # [B, heads, HW, C/heads]
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape[0], -1, x.shape[-1])
        return F.linear(h, self.proj_out.weight.squeeze(-1), self.proj_out.bias).view(x.shape)


class DetailHead(nn.Module):
    """Addition to the prediction of a patch, from its own pixels: a linear part scaled by t, and one from the last features.

    A patch of p x p pixels holds more values than the base channels can carry (48 against 32 in the starter), so that without it the
    finest detail is neither predicted nor edited. Initially zero. Not in Kim et al. 2023, whose network has no patches.
    """

    def __init__(
        self, patch_channels: int, in_channels: int, channels: int, embedding_channels: int, operations: ModuleType | type = nn
    ) -> None:
        super().__init__()
        self.sizes = [channels, channels, patch_channels]
        self.emb_layers = nn.Sequential(nn.SiLU(), operations.Linear(embedding_channels, sum(self.sizes)))
        self.basis = operations.Conv2d(patch_channels, patch_channels, 1, bias=False)
        self.conv = operations.Conv2d(patch_channels + in_channels, channels, 3, padding=1)
        self.proj_out = zero_weights(operations.Conv2d(patch_channels + channels, patch_channels, 1))

    def forward(self, patches: Tensor, features: Tensor, embedding: Tensor) -> Tensor:
        """patches [B, 3 p^2, H, W] of x_t, features [B, in_channels, H, W], embedding [B or 1, E] -> [B, 3 p^2, H, W]."""
        scale, shift, gate = self.emb_layers(embedding)[..., None, None].split(self.sizes, dim=1)
        h = F.silu(torch.addcmul(shift, self.conv(torch.cat([patches, features], dim=1)), 1 + scale))
        return self.proj_out(torch.cat([gate * self.basis(patches), h], dim=1))


class Level(nn.Sequential):
    """Layers of one skip level; each residual block also gets the embedding and the next of the conditions."""

    def forward(self, x: Tensor, embedding: Tensor, conditions: Iterator[Any]) -> Tensor:
        for layer in self:
            x = layer(x, embedding, next(conditions)) if isinstance(layer, ResidualBlock) else layer(x)
        return x
