"""A small image-text model whose text directions are known, in the place of CLIP: for proving the search, not for use.

A convolutional network learns the labels of data/faces128 from clean and from noised pictures (the intermediate images of the search
are noised). Its image features are the labels' logits beside a constant; the feature of a text is the constant, with the logit of
every label that the text names raised: "a man" Male, "a woman" -Male, "a young face" Young, and so on.

python bench/text_standin.py --data ../shared/data/faces128 -o standin.safetensors
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dva_core.diffusion.schedule import Schedule
from dva_core.train.faces import read_faces

NAMES = ("Male", "Young", "Smiling", "Beard", "Eyeglasses", "Gray_Hair", "Blond_Hair", "Long_Hair", "Wearing_Hat")
WORDS = {"woman": ("Male", -1), "man": ("Male", 1), "young": ("Young", 1), "old": ("Young", -1), "beard": ("Beard", 1)}
SIZE, CONSTANT, RAISED, NOISED = 64, 4.0, 4.0, (0, 0, 100, 200, 400, 600)


class StandIn(nn.Module):
    """The interface of edit.text_model.ImageTextModel."""

    name = "stand-in"

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        blocks = [
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(8, b), nn.SiLU(), nn.Conv2d(b, b, 3, 1, 1), nn.SiLU())
            for a, b in pairwise(widths)
        ]
        self.trunk, self.head = nn.Sequential(*blocks), nn.Linear(128, len(NAMES))

    def logits(self, images: Tensor) -> Tensor:
        small = F.interpolate(images, (SIZE, SIZE), mode="area") if images.shape[-1] != SIZE else images
        return self.head(self.trunk(small).mean((2, 3)))

    def encode_images(self, images: Tensor) -> Tensor:
        logits = self.logits(images)
        return torch.cat([logits, torch.full_like(logits[:, :1], CONSTANT)], 1)

    def encode_texts(self, texts: list[str]) -> Tensor:
        features = torch.zeros(len(texts), len(NAMES) + 1)
        features[:, -1] = CONSTANT
        for row, text in zip(features, texts):
            for word in text.lower().replace(",", " ").replace(".", " ").split():
                if word in WORDS:
                    name, sign = WORDS[word]
                    row[NAMES.index(name)] += sign * RAISED
        return features


def load_standin(path: Path) -> StandIn:
    model = StandIn()
    model.load_state_dict(load_file(path))
    return model.eval().requires_grad_(False)


def train(data: Path, epochs: int = 12, seed: int = 0) -> tuple[StandIn, dict[str, float]]:
    """The trained network, and its accuracy a label on held-out people (clean pictures)."""
    torch.manual_seed(seed)
    faces, schedule, generator = read_faces(data), Schedule(), torch.Generator().manual_seed(seed)
    pictures = torch.from_numpy(faces.pictures).movedim(-1, 1).float() / 127.5 - 1
    pictures = F.interpolate(pictures, (SIZE, SIZE), mode="area")
    labels = torch.from_numpy(np.stack([faces.labels[:, faces.names.index(name)] for name in NAMES], 1)).float()
    weight = ((labels == 0).sum(0) / (labels == 1).sum(0)).clamp(max=8)
    trained_on = torch.from_numpy(np.flatnonzero(~faces.held_out))
    model = StandIn()
    steps = epochs * (len(trained_on) // 64)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(steps):
        rows = trained_on[torch.randint(len(trained_on), (64,), generator=generator)]
        x, y = pictures[rows], labels[rows]
        x = torch.where(torch.rand(64, 1, 1, 1, generator=generator) < 0.5, x.flip(-1), x)
        x = x * (0.8 + 0.4 * torch.rand(64, 1, 1, 1, generator=generator)) + 0.2 * torch.rand(64, 1, 1, 1, generator=generator) - 0.1
        t = torch.tensor(NOISED)[torch.randint(len(NOISED), (64,), generator=generator)]
        x = schedule.add_noise(x.clamp(-1, 1), t, torch.randn(x.shape, generator=generator))
        labelled = y.isfinite()
        loss = F.binary_cross_entropy_with_logits(model.logits(x), y.nan_to_num(), pos_weight=weight, reduction="none")[labelled].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    model.eval().requires_grad_(False)
    with torch.no_grad():
        rows = torch.from_numpy(np.flatnonzero(faces.held_out))
        right = ((model.logits(pictures[rows]) > 0).float() == labels[rows]).float()
        labelled = labels[rows].isfinite()
    return model, {name: float(right[:, i][labelled[:, i]].mean()) for i, name in enumerate(NAMES)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    trained, accuracy = train(args.data, args.epochs)
    save_file(trained.state_dict(), args.output)
    print(", ".join(f"{name} {value:.2f}" for name, value in accuracy.items()))
