"""The published identity encoder: ArcFace (Deng et al. 2019) on IR-SE50, a ResNet-50 with squeeze-and-excitation.

Keys and shapes equal the published `model_ir_se50.pth`.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.networks.resample import average_pool, to_size

STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels, blocks; the first block of each stage halves the map


class SqueezeExcitation(nn.Module):
    """x times a gate per channel, computed from the channel means (Hu et al. 2018)."""

    def __init__(self, channels: int, reduction: int = 16, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.fc1 = operations.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = operations.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))


class Bottleneck(nn.Module):
    """norm, conv, PReLU, conv (with the stride), norm, squeeze-and-excitation; plus the shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        if in_channels == channels:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(operations.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            operations.Conv2d(in_channels, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            operations.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            SqueezeExcitation(channels, operations=operations),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)


class IRSE50(nn.Module):
    """Identity vector of an aligned face: [B, 3, S, S] in [-1, 1], any S -> [B, 512], unit length."""

    native_size = 256
    rows, columns = slice(35, 223), slice(32, 220)  # the face within an FFHQ-style square of 256

    def __init__(self, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(operations.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        blocks, channels = [], 64
        for width, count in STAGES:
            for i in range(count):
                blocks.append(Bottleneck(channels, width, 2 if i == 0 else 1, operations))
                channels = width
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(0.5), nn.Flatten(), operations.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512)
        )

    def forward(self, images: Tensor) -> Tensor:
        face = to_size(images, self.native_size)[:, :, self.rows, self.columns]
        x = average_pool(face, 112)
        return F.normalize(self.output_layer(self.body(self.input_layer(x))), dim=1)
