"""Directions as the model shows them: without the face's colour, with what the picture is told by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dva_core.diffusion.schedule import Schedule
from dva_core.train import response
from dva_core.train.response import APART, mean_gradients, shown_directions, tone, verdicts, without


def test_what_is_left_no_gradient_sees():
    rng = np.random.default_rng(0)
    steps, gradients = rng.standard_normal((5, 12)), rng.standard_normal((3, 12))
    freed = without(steps, gradients)
    np.testing.assert_allclose(freed @ gradients.T, 0, atol=1e-9)
    np.testing.assert_allclose(without(freed, gradients), freed, atol=1e-12)  # nothing but that is taken away
    assert np.linalg.matrix_rank(steps - freed) == 3


class Painter:
    """A model whose face takes its colour from the first three numbers of z_id."""

    image_size, crop_size, schedule = 8, 16, Schedule()

    def encode_identity(self, images):
        return torch.zeros(len(images), 5)

    encode_motion = encode_identity

    def encode_landmarks(self, images):
        return 0.25 + 0.5 * torch.rand(len(images), 68, 2, generator=torch.Generator().manual_seed(0))

    def run(self, name, images):
        """The identity found in a picture: twice its mean red, its mean green, half its mean blue and nothing."""
        assert name == "identity_encoder" and images.shape[-1] == self.crop_size
        red, green, blue = images.mean((2, 3)).unbind(1)
        return torch.stack([2 * red, green, blue / 2, 0 * red, 0 * red], 1)

    def fuse(self, z_id, z_motion):
        return z_id[:, :3] + 2 * z_motion[:, :1]

    def predict_noise(self, x_t, t, z_face):
        a = self.schedule.at(t, x_t)
        return -(a.sqrt() / (1 - a).sqrt()) * z_face[:, :, None, None].expand_as(x_t)


def test_the_gradient_is_that_of_the_faces_mean_colour():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_allclose(mean_gradients(Painter(), pictures, tone), np.eye(3, 5), atol=1e-4)


def test_the_verdict_is_that_of_the_pasted_face():
    """z_id's first number is red: a step of 1 makes the face that much redder, and the picture by the face's share of it."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    weights = np.array([[1.0, 0, 0, 0, 0], [0, 3.0, 0, 0, 0], [0, 0, 0, 1.0, 0]])
    found = mean_gradients(Painter(), pictures, verdicts(Painter(), ["Beard", "Male", "Hat"], weights))
    share = found[0, 0] / 2
    assert 0.05 < share < 0.95
    np.testing.assert_allclose(found, share * np.array([[2.0, 0, 0, 0, 0], [0, 3, 0, 0, 0], [0, 0, 0, 0, 0]]), atol=1e-4)


class Whiteness(torch.nn.Module):
    """A teacher that knows Male alone: five times the mean blue."""

    NAMES = ("Male",)

    def forward(self, images):
        return 5 * images[:, 2:].mean((2, 3))


def test_a_teacher_judges_what_it_knows_in_the_classifiers_place():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    weights = np.eye(2, 5)
    own, taught = (
        mean_gradients(Painter(), pictures, verdicts(Painter(), ["Beard", "Male"], weights, teacher)) for teacher in (None, Whiteness())
    )
    np.testing.assert_allclose(taught[0], own[0], atol=1e-6)
    share = own[0, 0] / 2
    np.testing.assert_allclose(taught[1], [0, 0, 5 * share, 0, 0], atol=1e-4)


def test_every_noise_of_every_picture_counts_alike():
    pictures = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    noises, weights = [], iter(range(100))

    def sees(seen):
        noises.append(seen.x_0)
        return seen.z_id[:, :1] * torch.arange(1.0, 6)[:, None] * next(weights)

    found = mean_gradients(Painter(), pictures, sees)
    count = len(response.SEEDS) * len(response.TIMESTEPS)
    assert len(noises) == count and all(len(x) == 5 for x in noises)
    np.testing.assert_allclose(found, [[3 * (count - 1) / 2, 0, 0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_directions_are_between_weight_and_verdict_and_show_neither_colour_nor_each_other(monkeypatch, share):
    rng = np.random.default_rng(1)
    names, weights, std = ["Beard", "Male", "Young"], rng.standard_normal((3, 12)), rng.uniform(0.5, 2, 12)
    gradients = rng.standard_normal((6, 12))
    colours, earns = gradients[:3] * std, gradients[3:] * std
    asked = {}
    monkeypatch.setattr(response, "verdicts", lambda model, names, weights, teacher: asked.update(weights=weights, teacher=teacher))
    monkeypatch.setattr(response, "mean_gradients", lambda *_: gradients)
    monkeypatch.setattr(response, "AgeAndSex", lambda folder: folder)
    teachers = Path("teachers") if share == response.TEACHERS_SHARE["Male"] else None
    found = shown_directions(None, names, weights, std, np.zeros((1, 8, 8, 3), np.uint8), teachers)
    np.testing.assert_allclose(asked["weights"], weights / std)
    assert asked["teacher"] == teachers
    np.testing.assert_allclose(found @ colours.T, 0, atol=1e-9)
    assert APART["Male"] == ("Young",) and abs(found[1] @ earns[2]) < 1e-9 and abs(found[2] @ earns[1]) < 1e-9
    assert abs(found[0] @ earns[1]) > 1e-3  # a beard may show what it likes
    for row, seen, share_of in ((0, colours, 0.2), (1, np.concatenate([colours, earns[2:]]), share)):
        weight, slope = without(np.stack([weights[row], earns[row]]), seen)
        expected = (1 - share_of) * weight / np.linalg.norm(weight) + share_of * slope / np.linalg.norm(slope)
        np.testing.assert_allclose(found[row], expected, atol=1e-9)
