"""Pairs of noise and stripes, networks that see them, and training runs on them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dva_core.train.diffusion import DiffusionSettings, DiffusionTraining
from dva_core.train.pairs import KINDS, Pairs

from .runs import CONFIG, training

SIZE = 32


def stripes(each: int = 3, size: int = SIZE) -> Pairs:
    """Pairs of noise whose kinds are bright stripes, each in a place of its own."""
    rng = np.random.default_rng(0)
    count = each * len(KINDS)
    kind = np.repeat(np.arange(len(KINDS)), each)
    before = rng.integers(60, 120, (count, size, size, 3), dtype=np.uint8)
    mask = np.zeros((count, size, size), np.uint8)
    for row, k in enumerate(kind):
        mask[row, 2 * k + 1 : 2 * k + 3] = 255
    after = np.where(mask[..., None] > 0, 230, before).astype(np.uint8)
    held_out = np.tile(np.arange(each) == 0, len(KINDS))
    landmarks = np.full((count, 68, 2), size / 2, np.float32)
    return Pairs(before, after, mask, landmarks, kind, np.arange(count), held_out)


class Rows(nn.Module):
    """A picture's rows as its identity vector: sees every stripe."""

    def __init__(self, dim: int = SIZE):
        super().__init__()
        self.linear = nn.Linear(3 * SIZE, dim, bias=False)
        torch.nn.init.orthogonal_(self.linear.weight)

    def forward(self, images):
        return nn.functional.normalize(self.linear(images.mean(3).flatten(1)), dim=1)


class Points(nn.Module):
    def forward(self, images):
        return images.mean((1, 2, 3))[:, None, None].expand(-1, 68, 2) * 0.1 + 0.5


def paired(encoders, out, steps=2, config=CONFIG, **changes):
    made = training(encoders, out, steps)  # for its variants
    settings = DiffusionSettings(**{"steps": steps, "people": 3, "warm_up": 1, "pairs": 4} | changes)
    return DiffusionTraining(config, encoders, made.frames, np.zeros(len(made.frames.group), bool), out, settings, pairs=stripes())
