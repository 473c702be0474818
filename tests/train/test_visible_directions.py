"""The starter's directions: the teacher's verdict where it has one, sex and age freed of each other."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from edit.painter import PICTURES, Painter

from dva_core.edit.gradients import classifier_outputs, mean_gradients, remove_components
from dva_core.train import visible_directions as module
from dva_core.train.visible_directions import EXCLUDED, visible_directions, with_teacher


class Whiteness(torch.nn.Module):
    """A teacher that knows Male alone: five times the mean blue."""

    NAMES = ("Male",)

    def forward(self, images):
        return 5 * images[:, 2:].mean((2, 3))


def test_a_teacher_judges_what_it_knows_in_the_classifiers_place():
    judge = classifier_outputs(Painter(), np.eye(2, 5))
    own, weights = (
        mean_gradients(Painter(), PICTURES, with_teacher(judge, ["Beard", "Male"], 16, teacher)) for teacher in (None, Whiteness())
    )
    np.testing.assert_allclose(weights[0], own[0], atol=1e-6)
    share = own[0, 0] / 2
    np.testing.assert_allclose(weights[1], [0, 0, 5 * share, 0, 0], atol=1e-4)


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_directions_are_between_weight_and_verdict_and_show_neither_colour_nor_each_other(monkeypatch, share):
    rng = np.random.default_rng(1)
    names, weights, std = ["Beard", "Male", "Young"], rng.standard_normal((3, 12)), rng.uniform(0.5, 2, 12)
    gradients = rng.standard_normal((6, 12))
    colours, earns = gradients[:3] * std, gradients[3:] * std
    calls = {}
    monkeypatch.setattr(module, "Differentiable", contextlib.nullcontext)
    monkeypatch.setattr(module, "classifier_outputs", lambda networks, weights: calls.update(weights=weights))
    monkeypatch.setattr(module, "with_teacher", lambda judge, names, size, teacher: calls.update(teacher=teacher))
    monkeypatch.setattr(module, "mean_gradients", lambda *_: gradients)
    monkeypatch.setattr(module, "AgeAndSex", lambda folder: folder)
    teachers = Path("teachers") if share == module.TEACHERS_SHARE["Male"] else None
    directions = visible_directions(Painter(), names, weights, std, np.zeros((1, 8, 8, 3), np.uint8), teachers)
    np.testing.assert_allclose(calls["weights"], weights / std)
    assert calls["teacher"] == teachers
    np.testing.assert_allclose(directions @ colours.T, 0, atol=1e-9)
    assert EXCLUDED["Male"] == ("Young",) and abs(directions[1] @ earns[2]) < 1e-9 and abs(directions[2] @ earns[1]) < 1e-9
    assert abs(directions[0] @ earns[1]) > 1e-3  # a beard may show what it likes
    for row, colours_of_row, share_of in ((0, colours, 0.2), (1, np.concatenate([colours, earns[2:]]), share)):
        weight, slope = remove_components(np.stack([weights[row], earns[row]]), colours_of_row)
        expected = (1 - share_of) * weight / np.linalg.norm(weight) + share_of * slope / np.linalg.norm(slope)
        np.testing.assert_allclose(directions[row], expected, atol=1e-9)
