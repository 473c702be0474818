"""The small networks of the starter model: identity, 68 landmarks, detection.

New architectures of this project, distilled from public teachers (dva_core/train). Inputs are RGB in [-1, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.networks.resample import to_size

STRIDES = (8, 16, 32)  # of the detector's three levels


class ConvBlock(nn.Sequential):
    """Convolution (3x3 by default), batch norm, SiLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3):
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.SiLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; `stride` 2 halves the map."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__()
        self.first = ConvBlock(channels_in, channels_out, stride)
        self.second = nn.Sequential(nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False), nn.BatchNorm2d(channels_out))
        self.shortcut = (
            nn.Identity()
            if stride == 1 and channels_in == channels_out
            else nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.second(self.first(x)) + self.shortcut(x))


def resample(images: Tensor, size: int, margin: float = 0.0) -> Tensor:
    """Resize square images [B, C, S, S] to size x size, with `margin` (a fraction) cut from each side first; anti-aliased."""
    cut = round(images.shape[-1] * margin)
    if cut:
        images = images[..., cut:-cut, cut:-cut]
    return to_size(images, size)


class CompactIdentity(nn.Module):
    """Identity vector of an aligned face: [B, 3, S, S] in [-1, 1], any S -> [B, embedding_dim], unit length."""

    def __init__(self, embedding_dim: int = 128, widths: tuple[int, ...] = (32, 64, 128, 192), input_size: int = 112, margin: float = 0.06):
        super().__init__()
        self.input_size, self.margin = input_size, margin
        a, b, c, d = widths
        self.trunk = nn.Sequential(
            ConvBlock(3, a, 4, kernel=7), ResidualBlock(a, a),  # 28
            ResidualBlock(a, b, 2), ResidualBlock(b, b),  # 14
            ResidualBlock(b, c, 2), ResidualBlock(c, c), ResidualBlock(c, d),  # 7
        )  # fmt: skip
        self.head = nn.Linear(2 * d, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        features = self.trunk(resample(images, self.input_size, self.margin))
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        return F.normalize(self.head(pooled), dim=1)


class CompactLandmarks(nn.Module):
    """68 landmarks of a roughly aligned face: [B, 3, S, S] in [-1, 1], any S -> [B, 68, 2], (x, y) in fractions of the picture.

    Heat maps with a soft arg-max (integral regression, Sun et al. 2018): sub-pixel, and steady from frame to frame.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128), input_size: int = 112, points: int = 68):
        super().__init__()
        self.input_size = input_size
        b, c, d = widths
        self.down1 = nn.Sequential(ConvBlock(3, b, 4, kernel=7), ResidualBlock(b, b))  # 28
        self.down2 = nn.Sequential(ResidualBlock(b, c, 2), ResidualBlock(c, c))  # 14
        self.down3 = nn.Sequential(ResidualBlock(c, d, 2), ResidualBlock(d, d))  # 7
        self.up2 = nn.Conv2d(d, c, 1)
        self.up1 = nn.Conv2d(c, b, 1)
        self.merge = ResidualBlock(b, b)
        self.heat = nn.Conv2d(b, points, 1)

    def forward(self, images: Tensor) -> Tensor:
        x1 = self.down1(resample(images, self.input_size))
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x2 = x2 + F.interpolate(self.up2(x3), size=x2.shape[-2:], mode="bilinear", align_corners=False)
        x1 = x1 + F.interpolate(self.up1(x2), size=x1.shape[-2:], mode="bilinear", align_corners=False)
        heat = self.heat(self.merge(x1)).float()
        size = heat.shape[-1]
        share = heat.flatten(2).softmax(-1).view_as(heat)
        # cell centres extend slightly beyond the border, so that a point on it can be predicted
        axis = (torch.arange(size, device=heat.device, dtype=heat.dtype) + 0.5) / size * 1.1 - 0.05
        return torch.stack([(share.sum(2) * axis).sum(-1), (share.sum(3) * axis).sum(-1)], -1)


class CompactDetector(nn.Module):
    """Faces anywhere in a frame: [B, 3, H, W] in [-1, 1], H and W multiples of 32 -> per level of STRIDES
    (score logits [B, h, w], geometry [B, h, w, 14]).

    Geometry: distances of left, top, right and bottom to the cell's centre as logarithms of strides, then five points
    (x, y) as offsets from the centre in units of 4 strides. Anchor-free, one level for each range of sizes (FCOS, Tian et al. 2019).
    """

    def __init__(self, widths: tuple[int, ...] = (12, 24, 40, 64, 64)):
        super().__init__()
        a, b, c, d, e = widths
        self.stem = nn.Sequential(ConvBlock(3, a, 2), ConvBlock(a, b, 2))  # 4
        self.level1 = nn.Sequential(ResidualBlock(b, c, 2), ResidualBlock(c, c))  # 8
        self.level2 = nn.Sequential(ResidualBlock(c, d, 2), ResidualBlock(d, d))  # 16
        self.level3 = nn.Sequential(ResidualBlock(d, e, 2), ResidualBlock(e, e))  # 32
        self.up2, self.up1 = nn.Conv2d(e, d, 1), nn.Conv2d(d, c, 1)
        self.heads = nn.ModuleList(nn.Sequential(ConvBlock(width, width), nn.Conv2d(width, 15, 1)) for width in (c, d, e))

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        x1 = self.level1(self.stem(images))
        x2 = self.level2(x1)
        x3 = self.level3(x2)
        x2 = x2 + F.interpolate(self.up2(x3), scale_factor=2.0)
        x1 = x1 + F.interpolate(self.up1(x2), scale_factor=2.0)
        maps = [head(x).float().permute(0, 2, 3, 1) for head, x in zip(self.heads, (x1, x2, x3))]
        return [(m[..., 0], m[..., 1:]) for m in maps]
