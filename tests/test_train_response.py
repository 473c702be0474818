"""Directions as the model shows them: without the face's colour, with what the picture is told by."""

from __future__ import annotations

import numpy as np
import torch

from dva_core.diffusion.schedule import Schedule
from dva_core.train.response import APART, shown_directions, tone_gradients, verdict_gradients, without


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
    np.testing.assert_allclose(tone_gradients(Painter(), pictures), np.eye(3, 5), atol=1e-4)


def test_the_verdict_is_that_of_the_pasted_face():
    """z_id's first number is red: a step of 1 makes the face that much redder, and the picture by the face's share of it."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    weights = np.array([[1.0, 0, 0, 0, 0], [0, 3.0, 0, 0, 0], [0, 0, 0, 1.0, 0]])
    found = verdict_gradients(Painter(), weights, pictures)
    share = found[0, 0] / 2
    assert 0.05 < share < 0.95
    np.testing.assert_allclose(found, share * np.array([[2.0, 0, 0, 0, 0], [0, 3, 0, 0, 0], [0, 0, 0, 0, 0]]), atol=1e-4)


def test_directions_are_between_weight_and_verdict_and_show_neither_colour_nor_each_other(monkeypatch):
    rng = np.random.default_rng(1)
    names, weights, std = ["Beard", "Male", "Young"], rng.standard_normal((3, 12)), rng.uniform(0.5, 2, 12)
    tone, verdicts = rng.standard_normal((3, 12)), rng.standard_normal((3, 12))
    asked = {}

    def verdict(model, weights, pictures):
        asked["weights"] = weights
        return verdicts

    monkeypatch.setattr("dva_core.train.response.tone_gradients", lambda *_: tone)
    monkeypatch.setattr("dva_core.train.response.verdict_gradients", verdict)
    found = shown_directions(None, names, weights, std, np.zeros((1, 8, 8, 3), np.uint8))
    np.testing.assert_allclose(asked["weights"], weights / std)
    np.testing.assert_allclose(found @ (tone * std).T, 0, atol=1e-9)
    assert APART["Male"] == ("Young",) and abs(found[1] @ (verdicts[2] * std)) < 1e-9 and abs(found[2] @ (verdicts[1] * std)) < 1e-9
    assert abs(found[0] @ (verdicts[1] * std)) > 1e-3  # a beard may show what it likes
    parts = np.stack([weights[0], verdicts[0] * std])
    weight, slope = parts - parts @ np.linalg.pinv(tone * std) @ (tone * std)
    expected = 0.8 * weight / np.linalg.norm(weight) + 0.2 * slope / np.linalg.norm(slope)
    np.testing.assert_allclose(found[0], expected, atol=1e-9)
