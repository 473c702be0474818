"""Directions that leave the face's colour alone."""

from __future__ import annotations

from unittest.mock import MagicMock

import numpy as np
import torch

from dva_core.diffusion.schedule import Schedule
from dva_core.train import assemble
from dva_core.train.tone import tone_gradients, without_tone


def test_what_is_left_no_gradient_sees():
    rng = np.random.default_rng(0)
    steps, gradients = rng.standard_normal((5, 12)), rng.standard_normal((3, 12))
    freed = without_tone(steps, gradients)
    np.testing.assert_allclose(freed @ gradients.T, 0, atol=1e-9)
    np.testing.assert_allclose(without_tone(freed, gradients), freed, atol=1e-12)  # nothing but that is taken away
    assert np.linalg.matrix_rank(steps - freed) == 3


class Painter:
    """A model whose face takes its colour from the first three numbers of z_id."""

    image_size, schedule = 8, Schedule()

    def encode_identity(self, images):
        return torch.zeros(len(images), 5)

    encode_motion = encode_identity

    def encode_landmarks(self, images):
        return torch.rand(len(images), 68, 2, generator=torch.Generator().manual_seed(0))

    def fuse(self, z_id, z_motion):
        return z_id[:, :3] + 2 * z_motion[:, :1]

    def predict_noise(self, x_t, t, z_face):
        a = self.schedule.at(t, x_t)
        return -(a.sqrt() / (1 - a).sqrt()) * z_face[:, :, None, None].expand_as(x_t)


def test_the_gradient_is_that_of_the_faces_mean_colour():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_allclose(tone_gradients(Painter(), pictures), np.eye(3, 5), atol=1e-4)


def test_each_direction_is_freed_within_what_its_classifier_saw(monkeypatch):
    draw = np.random.default_rng(5)
    gradients, std, model = draw.normal(size=(3, 8)), draw.uniform(0.5, 2, 8), MagicMock()
    monkeypatch.setattr(assemble, "build_empty", lambda config: model)
    monkeypatch.setattr(assemble, "tone_gradients", lambda *given: gradients)
    components = [np.eye(8)[:5], np.eye(8)[1:7]]
    tensors = {"attributes.identity.weight": torch.from_numpy(np.stack([draw.normal(size=len(c)) @ c for c in components]))}
    assemble.free_of_tone(tensors, {}, np.zeros((1, 4, 4, 3), np.uint8), std, components)
    for weight, seen in zip(tensors["attributes.identity.weight"].double().numpy(), components):
        np.testing.assert_allclose(weight @ seen.T @ seen, weight, atol=1e-6)
        np.testing.assert_allclose(gradients * std @ weight, 0, atol=1e-6)
        assert np.abs(weight).max() > 0.01
