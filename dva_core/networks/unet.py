"""The noise predictor eps_theta(x_t, t, z_face): a UNet whose residual blocks are conditioned twice.

Kim et al. 2023, sec. 3.2; the layout is that of guided-diffusion (Dhariwal & Nichol 2021) as Diff-AE (Preechakul et al. 2022)
uses it: residual up- and down-sampling, attention at chosen feature-map sizes and in the middle. Keys and shapes equal the
published checkpoint's. Parameters live in leaf layers only, all taken from an `operations` namespace that looks like `torch.nn`,
so that a host may hand in layers which cast or move their weights when used.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.errors import DVAError
from dva_core.networks.normalisation import group_norm, prefers_channels_last
from dva_core.networks.peak import kind_of, peak_bytes
from dva_core.networks.retouch import FaceRetouch
from dva_core.networks.texture import CHANNELS, FaceRemainder, FaceTexture, TextureBlend, length_of
from dva_core.networks.unet_blocks import (
    AttentionBlock,
    DetailHead,
    FaceMap,
    Level,
    ResidualBlock,
    TimeEmbedding,
    one_for_all,
    resize_condition,
    zero_weights,
)


def is_added(key: str) -> bool:
    """Whether a parameter belongs to a part that the published network does not have: spatial condition, detail head, texture, retouch."""
    return key.startswith(("face_map.", "detail.", "texture", "retouch.")) or ".spatial." in key


class UNet(nn.Module):
    """eps_theta(x_t, t, z_face), Kim et al. 2023, sec. 3.2.

    `patch_size` p folds p x p pixels into channels before the first convolution and unfolds them after the last.
    `attention_resolutions` are sizes, in pixels, of the feature maps (after folding) that get self-attention. With `spatial_channels`
    every residual block also adds a projection of a `FaceMap` of `spatial_size` pixels, with `detail_channels` a `DetailHead` adds to
    the output, and with `texture_rank` a `FaceTexture` of so many patterns of `texture_size` texels is blended into the output and added to
    the face map, and the rest of the network sees the `FaceRemainder` (`identity_channels`: of z_id); with `retouch_size` a `FaceRetouch`
    of so many texels says what edits do to the pixels of frames. 0 is the published network.
    Raises DVAError for an image size that cannot be halved down to the deepest level, or a texture without a face map.
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
        detail_channels: int = 0,
        texture_rank: int = 0,
        texture_size: int = 96,
        retouch_size: int = 0,
        identity_channels: int = 128,
    ) -> None:
        super().__init__()
        multiple = patch_size * 2 ** (len(channel_multipliers) - 1)
        if image_size % multiple:
            raise DVAError(f"image_size {image_size} does not suit this UNet; choose a multiple of {multiple}.")
        if texture_rank and not spatial_channels:
            raise DVAError("A noise predictor with texture_rank needs spatial_channels; set them too.")
        if retouch_size and not texture_rank:
            raise DVAError("A noise predictor with retouch_size needs texture_rank; set it too.")
        self.image_size, self.patch_size, self.condition_channels = image_size, patch_size, condition_channels
        folded = in_channels * patch_size**2

        def block(c_in: int, c_out: int, resample: str | None = None) -> ResidualBlock:
            return ResidualBlock(c_in, c_out, embedding_channels, condition_channels, dropout, resample, operations, spatial_channels)

        def level(c_in: int, c_out: int, size: int) -> list[nn.Module]:
            attention = [AttentionBlock(c_out, num_heads, operations)] if size in attention_resolutions else []
            return [block(c_in, c_out), *attention]

        self._peaks: dict[tuple[int, torch.dtype, str], int] = {}
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
            "spatial_channels": spatial_channels, "spatial_size": spatial_size, "detail_channels": detail_channels,
            "texture_rank": texture_rank, "texture_size": texture_size, "retouch_size": retouch_size,
            "identity_channels": identity_channels}  # fmt: skip

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
        self.detail = DetailHead(folded, channels, detail_channels, embedding_channels, operations) if detail_channels else None
        self.texture = self.texture_map = self.texture_blend = self.texture_rest = self.retouch = None
        if texture_rank:
            self.texture = FaceTexture(condition_channels, texture_rank, texture_size, image_size, patch_size, operations)
            self.texture_map = zero_weights(operations.Conv2d(CHANNELS * patch_size**2, spatial_channels, 1, bias=False))
            self.texture_blend = TextureBlend(embedding_channels, operations)
            self.texture_rest = FaceRemainder(condition_channels, identity_channels, operations)
            if retouch_size:
                self.retouch = FaceRetouch(texture_rank, retouch_size, operations)

    def peak_bytes(self, frames: int, dtype: torch.dtype, kind: str) -> int:
        """Peak bytes that evaluating so many frames in `dtype` takes beside the weights on a device of this kind ("cuda", "mps", "cpu").

        Counted from the graph, for the next power of two of frames, once; with the frames themselves, in float32 and in `dtype`, and with
        their conditions.
        """
        counted = 1 << max(0, frames - 1).bit_length()  # a count takes as long as some evaluations
        key = counted, dtype, kind
        if key not in self._peaks:
            size, channels = self.settings["image_size"], self.settings["in_channels"]
            with torch.inference_mode(False), torch.device("meta"):
                twin = UNet(**self.settings).eval().to(dtype)
                x, z = torch.empty(counted, channels, size, size, dtype=dtype), torch.empty(counted, self.condition_channels, dtype=dtype)
                t = torch.zeros(1, dtype=torch.int64).expand(counted)
            if kind == "cpu" or prefers_channels_last(kind):
                twin.to(memory_format=torch.channels_last)
            images = x.numel() * sum({d.itemsize for d in (torch.float32, dtype)})
            self._peaks[key] = peak_bytes(kind, twin, x, t, z) + images
        return self._peaks[key] * frames // counted

    def face_conditions(self, z_face: Tensor) -> tuple[Any, ...]:
        """The conditions of all residual blocks for z_face [B, condition_channels], in order (see `ResidualBlock.condition`).

        The texture, if there is one, comes last. They are the same at every timestep, so a solver computes them once.
        """
        texture = None
        if self.texture is not None:
            texture, z_face = self.texture_of(z_face), self.texture_rest(z_face)
        face_map = None if self.face_map is None else self.face_map(z_face)
        if texture is not None:
            face_map = face_map + self.texture_map(resize_condition(texture, face_map.shape[2:]))
        blocks = tuple(block.condition(z_face, face_map) for block in self.modules() if isinstance(block, ResidualBlock))
        return blocks if texture is None else (*blocks, texture)

    def texture_of(self, z_face: Tensor) -> Tensor:
        """The texture's A and B for z_face [B, condition_channels], in patches (see `FaceTexture`)."""
        return self.texture(z_face, self.texture_rest.length(z_face))

    def unfold_texture(self, texture: Tensor) -> Tensor:
        """A and B of each pixel, [B, 6, S, S], from those in patches."""
        return F.pixel_shuffle(texture, self.patch_size)

    def texture_edit(self, step: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each pattern of the texture an edit by `step` adds to z_face `before` [B, condition_channels]: [B, rank] in 0..1.

        And the amounts of the retouch, see `FaceTexture.read_edit`.
        """
        lengths = [length_of(identity) for identity in self.texture_rest.identities(step, before)]
        return self.texture.read_edit(step, lengths[0], before, lengths[1])

    def texture_change(self, picture: Tensor, own: Tensor, moved: Tensor) -> Tensor:
        """What pictures [B, 3, S, S] change by as their texture goes from `own` to `moved`, each as of `texture_of`: A + B picture."""
        texture = self.unfold_texture(moved - own).to(picture.dtype)
        return texture[:, :3] + texture[:, 3:] * picture

    def forward(self, x_t: Tensor, t: Tensor, z_face: Tensor | tuple[Any, ...]) -> Tensor:
        """x_t [B, 3, H, W], t [B] in 0..999, z_face [B, condition_channels] -> eps [B, 3, H, W] in x_t's dtype.

        Instead of z_face it also takes its `face_conditions`. A `t` that is one expanded number is embedded once.
        """
        h = F.pixel_unshuffle(x_t, self.patch_size) if self.patch_size > 1 else x_t
        if prefers_channels_last(kind_of(h)):
            h = h.contiguous(memory_format=torch.channels_last)  # the convolutions then keep this layout, whatever that of their weights
        embedding = self.time_embed(one_for_all(t), x_t.dtype)
        patches = h
        conditions = iter(z_face if isinstance(z_face, tuple) else self.face_conditions(z_face.to(x_t.dtype)))
        skips = []
        for layers in self.input_blocks:
            h = layers(h, embedding, conditions)
            skips.append(h)
        h = self.middle_block(h, embedding, conditions)
        for layers in self.output_blocks:
            h = layers(torch.cat([h, skips.pop()], dim=1), embedding, conditions)
        norm, activation, conv = self.out
        features = activation(norm(h))
        h = conv(features)
        if self.detail is not None:
            h = h + self.detail(patches, features, embedding)
        if self.texture is not None:
            h = self.texture_blend(h, patches, next(conditions), embedding)
        return F.pixel_shuffle(h, self.patch_size) if self.patch_size > 1 else h
