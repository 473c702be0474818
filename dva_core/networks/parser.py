"""The small face parser of the starter model: visible face, and what is in front of it.

A new architecture of this project, a U-Net (Ronneberger et al. 2015) on 2x2 patches, trained by `train mask`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.networks.compact import ConvBlock, ResidualBlock
from dva_core.networks.resample import to_size

PARTS = ("face", "front")  # channels of the output


class CompactParser(nn.Module):
    """Parsing logits of an aligned face: [B, 3, S, S] in [-1, 1], any S -> [B, 2, input_size, input_size], channels as in PARTS.

    face: visible skin of this face, with brows, eyes, lips, beard and glasses. front: what covers it, such as hair, a hat, a hand.
    """

    activations_per_image = 2**20

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 64), input_size: int = 128):
        super().__init__()
        self.input_size = input_size
        a, b, c, d = widths
        self.stem = ConvBlock(12, a)  # input_size / 2
        self.down1 = ResidualBlock(a, a)
        self.down2 = ResidualBlock(a, b, 2)  # / 4
        self.down3 = ResidualBlock(b, c, 2)  # / 8
        self.down4 = nn.Sequential(ResidualBlock(c, d, 2), ResidualBlock(d, d))  # / 16
        self.side3, self.side2, self.side1 = nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1)
        self.up3, self.up2, self.up1 = ResidualBlock(c, c), ResidualBlock(b, b), ResidualBlock(a, a)
        self.head = nn.Conv2d(a, 4 * len(PARTS), 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        x1 = self.down1(self.stem(F.pixel_unshuffle(to_size(images, self.input_size), 2)))
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x = self.up3(x3 + enlarge(self.side3(self.down4(x3))))
        x = self.up2(x2 + enlarge(self.side2(x)))
        x = self.up1(x1 + enlarge(self.side1(x)))
        return F.pixel_shuffle(self.head(x), 2).float()


def enlarge(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def parts_of(logits: Tensor, size: int) -> Tensor:
    """Shares of PARTS in each pixel: logits [B, 2, H, H] -> float32 [B, 2, size, size] in 0..1."""
    return to_size(torch.sigmoid(logits.float()), size)
