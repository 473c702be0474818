"""The published face parser: BiSeNet (Yu et al. 2018) with a ResNet-18 context path, 19 CelebAMask-HQ classes.

Keys and shapes equal the published `79999_iter.pth`. Its two auxiliary heads serve training only: kept for their keys, never run.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.networks.resample import normalise_imagenet, to_size

CLASSES = 19
NOT_FACE = (0, 16, 18)  # background, cloth, hat
NOT_FACE_IN_VIDEO = (0, 7, 8, 14, 16, 17, 18)  # and ears, neck, hair


class ConvNormReLU(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: int = 3, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.conv = operations.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions plus the shortcut (He et al. 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.conv1 = operations.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = operations.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(operations.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.downsample(x) + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ResNet18(nn.Module):
    """[B, 3, H, W] -> features at 1/8 (128 channels), 1/16 (256) and 1/32 (512)."""

    def __init__(self, operations: ModuleType | type = nn) -> None:
        super().__init__()

        def stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
            return nn.Sequential(BasicBlock(in_channels, channels, stride, operations), BasicBlock(channels, channels, 1, operations))

        self.conv1 = operations.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2 = stage(64, 64, 1), stage(64, 128, 2)
        self.layer3, self.layer4 = stage(128, 256, 2), stage(256, 512, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        at_8 = self.layer2(self.layer1(x))
        at_16 = self.layer3(at_8)
        return at_8, at_16, self.layer4(at_16)


class AttentionRefinement(nn.Module):
    """Convolution, then a gate per channel from the channel means (Yu et al. 2018, fig. 2b)."""

    def __init__(self, in_channels: int, channels: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.conv = ConvNormReLU(in_channels, channels, operations=operations)
        self.conv_atten = operations.Conv2d(channels, channels, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(x.mean(dim=(2, 3), keepdim=True))))


class ContextPath(nn.Module):
    """ResNet-18 features, and its two deep ones refined and brought up to 1/8: -> ([B, 128, H/8, W/8], the same)."""

    def __init__(self, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.resnet = ResNet18(operations)
        self.arm16 = AttentionRefinement(256, 128, operations)
        self.arm32 = AttentionRefinement(512, 128, operations)
        self.conv_head32 = ConvNormReLU(128, 128, operations=operations)
        self.conv_head16 = ConvNormReLU(128, 128, operations=operations)
        self.conv_avg = ConvNormReLU(512, 128, 1, operations)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        at_8, at_16, at_32 = self.resnet(x)
        whole = self.conv_avg(at_32.mean(dim=(2, 3), keepdim=True))
        deep = self.conv_head32(F.interpolate(self.arm32(at_32) + whole, at_16.shape[2:], mode="nearest"))
        deep = self.conv_head16(F.interpolate(self.arm16(at_16) + deep, at_8.shape[2:], mode="nearest"))
        return at_8, deep


class FeatureFusion(nn.Module):
    """Both paths joined; x + x times a gate per channel (Yu et al. 2018, fig. 2c)."""

    def __init__(self, channels: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.convblk = ConvNormReLU(channels, channels, 1, operations)
        self.conv1 = operations.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = operations.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        x = self.convblk(torch.cat([shallow, deep], dim=1))
        return x + x * torch.sigmoid(self.conv2(F.relu(self.conv1(x.mean(dim=(2, 3), keepdim=True)))))


class Head(nn.Module):
    """Features to class logits."""

    def __init__(self, in_channels: int, channels: int, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.conv = ConvNormReLU(in_channels, channels, operations=operations)
        self.conv_out = operations.Conv2d(channels, CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Parsing logits of an aligned face: [B, 3, S, S] in [-1, 1], any S -> [B, 19, 512, 512]."""

    native_size, working_size = 256, 512
    activations_per_image = 2**25  # what one image needs at the most, in values: mostly the logits and the first maps

    def __init__(self, operations: ModuleType | type = nn) -> None:
        super().__init__()
        self.cp = ContextPath(operations)
        self.ffm = FeatureFusion(256, operations)
        self.conv_out = Head(256, 256, operations)
        self.conv_out16 = Head(128, 64, operations)
        self.conv_out32 = Head(128, 64, operations)

    def forward(self, images: Tensor) -> Tensor:
        x = F.interpolate(to_size(images, self.native_size), (self.working_size, self.working_size), mode="nearest")
        logits = self.conv_out(self.ffm(*self.cp(normalise_imagenet(x))))
        return F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=True)


def face_area(logits: Tensor, size: int, for_video: bool) -> Tensor:
    """Where the face is: parsing logits [B, 19, H, W] -> float32 [B, 1, size, size] in {0, 1}; `for_video` without hair, ears and neck."""
    classes = logits.argmax(dim=1, keepdim=True)
    outside = torch.tensor(NOT_FACE_IN_VIDEO if for_video else NOT_FACE, device=classes.device)
    return F.interpolate((~torch.isin(classes, outside)).float(), (size, size), mode="nearest")
