"""The published motion encoder: 68 landmarks from a MobileNetV2 (Sandler et al. 2018) with a global depth-wise convolution.

Keys and shapes equal the published checkpoint's, which stores the trunk twice, as `pretrain_net.features.*` and as `base_net.0.*`
(and an unused ImageNet classifier); here it is kept once, and either copy is accepted on loading.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import Tensor, nn

from dva_core.networks.resample import normalise_imagenet, to_size

# expansion, channels, blocks, stride of the first block (Sandler et al. 2018, table 2)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv_norm_act(
    in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, operations: ModuleType | type = nn
) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    conv = operations.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Widen (1x1), filter each channel (3x3), narrow (1x1, linear); plus the input where the shape stays."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.residual = stride == 1 and in_channels == channels
        widen = [conv_norm_act(in_channels, wide, 1, operations=operations)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *widen,
            conv_norm_act(wide, wide, 3, stride, wide, operations),
            operations.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class ConvNorm(nn.Module):
    """Convolution without padding, batch norm; linear."""

    def __init__(self, in_channels: int, channels: int, kernel: int, groups: int = 1, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.conv = operations.Conv2d(in_channels, channels, kernel, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class MobileNetGDConv(nn.Module):
    """68 landmarks of an aligned face: [B, 3, S, S] in [-1, 1], any S -> [B, 68, 2], (x, y) as fractions of `window`, in 0..1.

    `window` is the part of the picture, (start, end) as fractions of its side, that the network sees and to which its output refers.
    """

    native_size = 256
    window = (16 / 256, 240 / 256)

    def __init__(self, operations: ModuleType | type = nn) -> None:
        super().__init__()
        layers, channels = [conv_norm_act(3, 32, 3, 2, operations=operations)], 32
        for expansion, width, count, stride in STAGES:
            for i in range(count):
                layers.append(InvertedResidual(channels, width, stride if i == 0 else 1, expansion, operations))
                channels = width
        layers.append(conv_norm_act(channels, 1280, 1, operations=operations))
        self.base_net = nn.Sequential(nn.Sequential(*layers))
        self.linear7 = ConvNorm(1280, 1280, 7, 1280, operations)
        self.linear1 = ConvNorm(1280, 136, 1, operations=operations)
        self.register_load_state_dict_pre_hook(keep_one_trunk)

    def forward(self, images: Tensor) -> Tensor:
        face = to_size(images, self.native_size)[:, :, 16:240, 16:240]
        x = self.base_net(normalise_imagenet(face))
        return self.linear1(self.linear7(x)).flatten(1).unflatten(1, (68, 2)).clamp(0, 1)


def keep_one_trunk(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Before loading: rename `pretrain_net.features.*` to `base_net.0.*` if that is absent, else drop it; drop the classifier."""
    for key in [key for key in state_dict if key.startswith(f"{prefix}pretrain_net.")]:
        tensor = state_dict.pop(key)
        name = key.removeprefix(f"{prefix}pretrain_net.")
        if name.startswith("features."):
            state_dict.setdefault(f"{prefix}base_net.0.{name.removeprefix('features.')}", tensor)
