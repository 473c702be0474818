"""The teachers as the image tower of a text edit: an image-text model whose text direction is known, with CLIP's interface.

The features of an image are what the teachers make of it, as numbers of like size beside a constant,

    [log-odds of Male, (40 - age) / 8, log-odds of happy, 4],

and the feature of a text is [0, 0, 0, 4] with 4 added or taken where a word of it says so: "a man" +Male, "an old face" -young, ...
So the text asks for one score to move and for the other two to stay.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dva_core.train.teacher_network import AgeAndSex, TeacherNetwork, crop_window, log_odds

WORDS = {"man": (0, 1), "woman": (0, -1), "young": (1, 1), "old": (1, -1), "smiling": (2, 1), "serious": (2, -1)}
CONSTANT, RAISED, HAPPY = 4.0, 4.0, 1


class TeacherTower(nn.Module):
    """The interface of edit.text_model.ImageTextModel."""

    name = "teachers"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.age_and_sex, self.expression = AgeAndSex(folder), TeacherNetwork(folder, "expression")

    def encode_images(self, images: Tensor) -> Tensor:
        """[n, 3, H, W] in [-1, 1] -> [n, 4]."""
        (kinds,) = self.expression(crop_window(images))
        return torch.cat([self.age_and_sex(images), log_odds(kinds[:, [HAPPY]]), torch.full((len(images), 1), CONSTANT)], 1)

    def encode_texts(self, texts: list[str]) -> Tensor:
        features = torch.zeros(len(texts), 4)
        features[:, -1] = CONSTANT
        for row, text in zip(features, texts):
            for word in text.lower().replace(",", " ").replace(".", " ").split():
                if word in WORDS:
                    column, sign = WORDS[word]
                    row[column] += sign * RAISED
        return features
