"""The teachers as the image tower of a text edit: an image-text model whose text direction is known, with CLIP's interface.

The features of an image are what the teachers make of it, as numbers of like size beside a constant,

    [log-odds of Male, (40 - age) / 8, log-odds of happy, 4],

and the feature of a text is [0, 0, 0, 4] with 4 added or taken where a word of it says so: "a man" +Male, "an old face" -young, ...
So the text asks for one score to move and for the other two to stay.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from teacher_network import TeacherNetwork
from torch import Tensor, nn

from dva_core.train.teachers import EXPRESSION_WINDOW

WORDS = {"man": (0, 1), "woman": (0, -1), "young": (1, 1), "old": (1, -1), "smiling": (2, 1), "serious": (2, -1)}
CONSTANT, RAISED, SIZE, HAPPY = 4.0, 4.0, 112, 1


class TeacherTower(nn.Module):
    """The interface of edit.clip_model.ImageTextModel."""

    name = "teachers"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.age_gender, self.expression = (TeacherNetwork(folder / f"{name}.onnx") for name in ("age_gender", "expression"))

    def encode_images(self, images: Tensor) -> Tensor:
        """[n, 3, H, W] in [-1, 1] -> [n, 4]."""
        crops = 127.5 * (looked_at(images) + 1)
        age, male = self.age_gender(crops)
        (kinds,) = self.expression(crops)
        return torch.stack([log_odds(male), (40 - age) / 8, log_odds(kinds[:, HAPPY]), torch.full_like(age, CONSTANT)], 1)

    def encode_texts(self, texts: list[str]) -> Tensor:
        features = torch.zeros(len(texts), 4)
        features[:, -1] = CONSTANT
        for row, text in zip(features, texts):
            for word in text.lower().replace(",", " ").replace(".", " ").split():
                if word in WORDS:
                    column, sign = WORDS[word]
                    row[column] += sign * RAISED
        return features


def looked_at(images: Tensor) -> Tensor:
    """The part of face squares [n, 3, H, W] where these teachers look, [n, 3, 112, 112]."""
    left, top, side = EXPRESSION_WINDOW
    place = torch.tensor([[[side, 0, 2 * left + side - 1], [0, side, 2 * top + side - 1]]], dtype=images.dtype)
    grid = F.affine_grid(place.expand(len(images), -1, -1), (len(images), 3, SIZE, SIZE), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def log_odds(p: Tensor) -> Tensor:
    return torch.logit(p, eps=1e-4)
