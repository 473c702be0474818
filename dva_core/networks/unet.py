"""The noise predictor eps_theta(x_t, t, z_face): a UNet whose residual blocks are conditioned twice.

Kim et al. 2023, sec. 3.2; the layout is that of guided-diffusion (Dhariwal & Nichol 2021) as Diff-AE (Preechakul et al. 2022)
uses it: residual up- and down-sampling, attention at chosen feature-map sizes and in the middle. Keys and shapes equal the
published checkpoint's. Parameters live in leaf layers only, all taken from an `operations` namespace that looks like `torch.nn`,
so that a host may hand in layers which cast or move their weights when used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.errors import DVAError
from dva_core.networks.normalisation import (
    group_norm,
    normalise,
    prefers_channels_last,
    reusable,
    silu,
)
from dva_core.networks.peak import peak_bytes


def timestep_embedding(t: Tensor, channels: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoids of the timestep: t [B] -> float32 [B, channels], the cosines first, then the sines."""
    half = channels // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies[None]
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, channels - 2 * half))


def one_for_all(t: Tensor) -> Tensor:
    """t [B], or t[:1] where it is one expanded number (stride 0), which is known without reading the device."""
    return t[:1] if t.stride(0) == 0 else t


def zero_weights(layer: nn.Module) -> nn.Module:
    """`layer` with weight and bias 0: each block starts as the identity, the whole network as eps = 0."""
    for values in (layer.weight, layer.bias):
        if values is not None:  # a host's layer may have none before it is given those of a file
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
    """z_face [B, C] -> a map [B, channels, size, size], by which the face can act in a place and not only on whole channels.

    Not of Kim et al. 2023, whose z_face scales and shifts each channel alike everywhere: enough for a face, not for the rims of glasses.
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


def is_spatial(key: str) -> bool:
    """Whether a parameter's name is of the spatial condition."""
    return key.startswith("face_map.") or ".spatial." in key


def resize_condition(x: Tensor, size: torch.Size) -> Tensor:
    """A map [B, C, H, W] in another size: interpolated where it grows, averaged where it shrinks."""
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
        """What z_face [B, C] does here at any timestep: [scale | shift] [B, 2 out_channels] and, of a face map, [B, out_channels, s, s]."""
        scale_and_shift = self.cond_emb_layers(z_face)
        return scale_and_shift if face_map is None else (scale_and_shift, self.spatial(face_map))

    def forward(self, x: Tensor, embedding: Tensor, condition: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """x [B, C, H, W], embedding [B or 1, E] of the timestep, `condition` of that method."""
        norm_in, _, conv_in = self.in_layers
        norm_t, _, conv_t, norm_z, _, dropout, conv_z = self.out_layers
        h = conv_in(self._resample(silu(normalise(norm_in, x))))
        h = conv_t(silu(normalise(norm_t, h, self.emb_layers(embedding))))
        if isinstance(condition, tuple):
            condition, added = condition
            h = torch.add(h, resize_condition(added, h.shape[2:]), out=reusable(h))
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
        qkv = self.qkv(normalise(self.norm, x).flatten(2))  # [B, 3C, HW]
        qkv = qkv.reshape(batch, self.num_heads, -1, height * width).transpose(2, 3)
        if x.device.type != "cpu":
            qkv = qkv.contiguous()  # with any other stride than 1 in the last axis, CUDA's fused kernels refuse
        q, k, v = qkv.chunk(3, dim=-1)  # [B, heads, HW, C/heads]
        h = F.scaled_dot_product_attention(q, k, v)
        h = self.proj_out(h.transpose(2, 3).reshape(batch, channels, height * width))
        return x + h.reshape(batch, channels, height, width)


class Level(nn.Sequential):
    """Layers of one skip level, each given what it asks for; a residual block the next of the conditions."""

    def forward(self, x: Tensor, embedding: Tensor, conditions: Iterator[Any]) -> Tensor:
        for layer in self:
            x = layer(x, embedding, next(conditions)) if isinstance(layer, ResidualBlock) else layer(x)
        return x


class UNet(nn.Module):
    """eps_theta(x_t, t, z_face), Kim et al. 2023, sec. 3.2.

    `patch_size` p folds p x p pixels into channels before the first convolution and unfolds them after the last.
    `attention_resolutions` are sizes, in pixels, of the feature maps (after folding) that get self-attention. With `spatial_channels`
    every residual block also adds what it makes of a `FaceMap` of `spatial_size` pixels; 0 is the published network.
    Raises DVAError where the image size does not divide down to the deepest level.
    """

    def __init__(
        self,
        image_size: int = 256,
        patch_size: int = 1,
        in_channels: int = 3,
        base_channels: int = 128,
        channel_multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
        num_res_blocks: int = 2,
        attention_resolutions: Sequence[int] = (16,),
        embedding_channels: int = 512,
        condition_channels: int = 512,
        num_heads: int = 1,
        dropout: float = 0.1,
        operations: ModuleType | type = nn,
        spatial_channels: int = 0,
        spatial_size: int = 16,
    ) -> None:
        super().__init__()
        multiple = patch_size * 2 ** (len(channel_multipliers) - 1)
        if image_size % multiple:
            raise DVAError(f"image_size {image_size} does not suit this UNet; choose a multiple of {multiple}.")
        self.image_size, self.patch_size, self.condition_channels = image_size, patch_size, condition_channels
        folded = in_channels * patch_size**2

        def block(c_in: int, c_out: int, resample: str | None = None) -> ResidualBlock:
            return ResidualBlock(c_in, c_out, embedding_channels, condition_channels, dropout, resample, operations, spatial_channels)

        def level(c_in: int, c_out: int, size: int) -> list[nn.Module]:
            attention = [AttentionBlock(c_out, num_heads, operations)] if size in attention_resolutions else []
            return [block(c_in, c_out), *attention]

        self._peak: int | None = None
        self.time_embed = TimeEmbedding(base_channels, embedding_channels, operations)
        self.face_map = FaceMap(condition_channels, spatial_channels, spatial_size, operations) if spatial_channels else None
        size, channels = image_size // patch_size, int(base_channels * channel_multipliers[0])
        self.input_blocks = nn.ModuleList([Level(operations.Conv2d(folded, channels, 3, padding=1))])
        skips, pixels = [channels], [size**2]
        for depth, multiplier in enumerate(channel_multipliers):
            for _ in range(num_res_blocks):
                self.input_blocks.append(Level(*level(channels, int(base_channels * multiplier), size)))
                channels = int(base_channels * multiplier)
                skips.append(channels)
                pixels.append(size**2)
            if depth < len(channel_multipliers) - 1:
                self.input_blocks.append(Level(block(channels, channels, "down")))
                size //= 2
                skips.append(channels)
                pixels.append(size**2)
        # about what one image needs at the most, in values: every skip, and the last level's work of about six maps
        self.activations_per_image = sum(c * n for c, n in zip(skips, pixels)) + 6 * skips[0] * pixels[0]
        self.settings = {"image_size": image_size, "patch_size": patch_size, "in_channels": in_channels, "base_channels": base_channels,
            "channel_multipliers": channel_multipliers, "num_res_blocks": num_res_blocks, "attention_resolutions": attention_resolutions,
            "embedding_channels": embedding_channels, "condition_channels": condition_channels, "num_heads": num_heads,
            "spatial_channels": spatial_channels, "spatial_size": spatial_size}  # fmt: skip

        self.middle_block = Level(block(channels, channels), AttentionBlock(channels, num_heads, operations), block(channels, channels))

        self.output_blocks = nn.ModuleList()
        for depth, multiplier in reversed(list(enumerate(channel_multipliers))):
            for i in range(num_res_blocks + 1):
                layers = level(channels + skips.pop(), int(base_channels * multiplier), size)
                channels = int(base_channels * multiplier)
                if depth > 0 and i == num_res_blocks:
                    layers.append(block(channels, channels, "up"))
                    size *= 2
                self.output_blocks.append(Level(*layers))

        self.out = nn.Sequential(
            group_norm(channels, operations), nn.SiLU(), zero_weights(operations.Conv2d(channels, folded, 3, padding=1))
        )

    def peak_values(self) -> int:
        """What evaluating one image takes at the most beside the weights, in values, as a GPU does it: counted from the graph, once."""
        if self._peak is None:
            size, channels = self.settings["image_size"], self.settings["in_channels"]
            with torch.device("meta"):
                twin, x = UNet(**self.settings), torch.empty(1, channels, size, size)
                t, z = torch.zeros(1, dtype=torch.int64), torch.empty(1, self.condition_channels)
            self._peak = peak_bytes(twin.eval().to(memory_format=torch.channels_last), x, t, z) // x.element_size()
        return self._peak

    def face_conditions(self, z_face: Tensor) -> tuple[Any, ...]:
        """What z_face [B, condition_channels] does in every residual block, in order (see `ResidualBlock.condition`).

        It does not change from step to step, so that a solver has it computed once.
        """
        face_map = None if self.face_map is None else self.face_map(z_face)
        return tuple(block.condition(z_face, face_map) for block in self.modules() if isinstance(block, ResidualBlock))

    def forward(self, x_t: Tensor, t: Tensor, z_face: Tensor | tuple[Any, ...]) -> Tensor:
        """x_t [B, 3, H, W], t [B] in 0..999, z_face [B, condition_channels] -> eps [B, 3, H, W] in x_t's dtype.

        In the place of z_face its `face_conditions` will do. A `t` that is one number expanded is embedded once.
        """
        h = F.pixel_unshuffle(x_t, self.patch_size) if self.patch_size > 1 else x_t
        if prefers_channels_last(h.device):
            h = h.contiguous(memory_format=torch.channels_last)  # then convolutions go on so, however their weights lie
        embedding = self.time_embed(one_for_all(t), x_t.dtype)
        conditions = iter(z_face if isinstance(z_face, tuple) else self.face_conditions(z_face.to(x_t.dtype)))
        skips = []
        for layers in self.input_blocks:
            h = layers(h, embedding, conditions)
            skips.append(h)
        h = self.middle_block(h, embedding, conditions)
        for layers in self.output_blocks:
            h = layers(torch.cat([h, skips.pop()], dim=1), embedding, conditions)
        h = self.out(h)
        return F.pixel_shuffle(h, self.patch_size) if self.patch_size > 1 else h
