"""Attributes that only move the pixels of a face."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.faces.regions import MEAN_FACE
from dva_core.model.autoencoder import JAW
from dva_core.train.attributes import MIRROR51
from dva_core.train.moves import MOVES, move_points
from dva_core.train.pair_steps import LEGIBLE, least_direction, steps_of_moves
from dva_core.train.pairs import move

INNER = MEAN_FACE[JAW:]


@pytest.mark.parametrize("name", MOVES)
def test_a_move_is_symmetric_and_leaves_the_rest_where_it_is(name):
    shift = move_points(name, INNER) - INNER
    np.testing.assert_allclose(shift, shift[MIRROR51] * (-1, 1), atol=1e-3)
    moved = np.zeros(len(INNER), bool)
    for part in MOVES[name].parts:
        moved[part] = True
    assert not shift[~moved].any() and 0.005 < np.abs(shift).max() < 0.05
    np.testing.assert_array_equal(move(name, MEAN_FACE, None)[JAW:], move_points(name, INNER))
    np.testing.assert_array_equal(move(name, MEAN_FACE, None)[:JAW], MEAN_FACE[:JAW])


def test_eyes_grow_about_their_middle_and_brows_rise():
    eyes, brows = move_points("Big_Eyes", INNER), move_points("Raised_Eyebrows", INNER)
    for part in (slice(19, 25), slice(25, 31)):
        np.testing.assert_allclose(eyes[part].mean(0), INNER[part].mean(0))
        assert (np.ptp(eyes[part], axis=0) > 1.1 * np.ptp(INNER[part], axis=0)).all()
    np.testing.assert_allclose((brows - INNER)[:10, 1], -0.025)


def test_each_move_has_a_direction_of_its_own_in_which_faces_hardly_differ():
    rng = np.random.default_rng(0)
    motions = (INNER.ravel() + rng.normal(size=(400, 102)) * np.linspace(0.001, 0.02, 102)).astype(np.float32)
    steps, mean = steps_of_moves(motions), motions.mean(0).reshape(-1, 2)
    own = steps - np.stack([(move_points(name, mean) - mean).ravel() for name in MOVES])
    assert steps.shape == (len(MOVES), 102) and np.abs(own).max() < 0.1
    for number, direction in enumerate(own, 1):
        np.testing.assert_allclose(direction, least_direction(motions, number), atol=1e-5)
    unit = own / np.linalg.norm(own, axis=1, keepdims=True)
    np.testing.assert_allclose(unit @ unit.T, np.eye(len(MOVES)), atol=1e-3)
    assert LEGIBLE > 1 and abs(unit @ least_direction(motions)).max() < 1e-4
