"""Directions that leave the face's colour alone."""

from __future__ import annotations

import numpy as np
import torch

from dva_core.diffusion.schedule import Schedule
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
