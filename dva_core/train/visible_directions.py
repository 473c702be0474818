"""Directions visible in a model's output (edit/gradients.py), for all attributes of a bundle; sex and age as judged by a teacher.

The judge is the classifier on the estimated, pasted face, encoded again; for sex and age, whose labels come from a teacher,
the teacher itself if available. Sex and age are also made independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dva_core.edit.differentiable import Differentiable
from dva_core.edit.gradients import SHARE, View, classifier_outputs, mean_colour, mean_gradients, mix_direction, paste_estimate
from dva_core.train.teacher_network import AgeAndSex

TEACHERS_SHARE = {"Male": 0.3}  # share of the gradient for attributes judged by the teacher
EXCLUDED = {"Male": ("Young",), "Young": ("Male",)}  # attributes that must not change along with this one


def with_teacher(
    judge: Callable[[View], Tensor], names: Sequence[str], size: int, teacher: AgeAndSex | None = None
) -> Callable[[View], Tensor]:
    """Make a judge, views -> outputs [N, K] for `names`: `judge`, or for the attributes it knows the teacher, which sees `size` pixels."""
    if teacher is None:
        return judge

    def both(views: View) -> Tensor:
        by_teacher = dict(zip(teacher.NAMES, teacher(paste_estimate(views, size)).unbind(1)))
        return torch.stack([by_teacher.get(name, value) for name, value in zip(names, judge(views).unbind(1))], 1)

    return both


def visible_directions(
    model, names: Sequence[str], weights: np.ndarray, std: np.ndarray, pictures: np.ndarray, teachers: Path | None = None
) -> np.ndarray:
    """Compute directions [K, D] in the standardised space from the classifiers' weights [K, D] of the attributes `names`.

    std [D] of the identities; pictures uint8 [N, C, C, 3] of faces; teachers: the folder with age_gender.onnx, for Male and Young.
    """
    teacher = None if teachers is None else AgeAndSex(teachers)
    with torch.enable_grad(), Differentiable(model) as networks:
        judge = with_teacher(classifier_outputs(networks, weights / std), names, model.crop_size, teacher)
        gradients = mean_gradients(networks, pictures, lambda views: torch.cat([mean_colour(views), judge(views)], 1)) * std
    colours, earns = gradients[:3], gradients[3:]
    directions = []
    for name, weight, verdict in zip(names, weights, earns):
        others = [earns[[names.index(other)]] for other in EXCLUDED.get(name, ()) if other in names]
        share = SHARE if teacher is None else TEACHERS_SHARE.get(name, SHARE)
        directions.append(mix_direction(weight, verdict, np.concatenate([colours, *others]), share))
    return np.stack(directions)
