"""Where kinds of pairs move the mean face, and what they smooth."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.faces.align import MIRROR68
from dva_core.faces.regions import MEAN_FACE
from dva_core.train.retouches import SIZE, fit_retouches, within


def at(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = (points * SIZE).astype(int).T
    return rows, columns


def test_landmarks_move_to_where_the_kind_puts_them():
    mouth = slice(48, 68)
    moved = MEAN_FACE.copy()
    moved[mouth] += (0.0, 0.02)
    smile, older, still = fit_retouches(MEAN_FACE, ("Smiling", "Older", "Beard"), lambda kind, face: moved if kind == "Smiling" else face)
    assert not still.any() and not older[:2].any() and not smile[2].any()
    there = at(moved[mouth])
    np.testing.assert_allclose(smile[1][there], -0.02, atol=0.004)  # what is seen there was higher up
    assert np.abs(smile[0][there]).max() < 0.003
    assert np.abs(smile[:, ~(within(MEAN_FACE) > 0)]).max() == 0  # beyond the face nothing is pasted


def test_both_sides_of_a_face_move_alike():
    def move(kind, landmarks):
        return landmarks + np.where(np.arange(68)[:, None] == 48, (-0.02, -0.01), 0)  # one corner of the mouth

    shift = fit_retouches(MEAN_FACE, ("Smiling",), move)[0, :2]
    rows, columns = at(MEAN_FACE[[48, 54]])
    assert shift[0][rows, columns].sum() == pytest.approx(0, abs=2e-3) and np.abs(shift[0][rows, columns]).min() > 0.004
    assert np.ptp(shift[1][rows, columns]) < 2e-3
    assert np.array_equal(MIRROR68[[48, 54]], [54, 48])


def test_skin_is_smoothed_and_features_are_not():
    younger, older = fit_retouches(MEAN_FACE, ("Younger", "Older"), lambda kind, face: face)[:, 2]
    cheek, eye, lip = (at(points.mean(0, keepdims=True)) for points in (MEAN_FACE[[2, 31, 48]], MEAN_FACE[36:42], MEAN_FACE[55:60]))
    assert younger[cheek] > 0.55 and younger[eye] < 0.1 and younger[lip] < 0.25
    assert older[cheek] < -0.3 and (older * younger <= 0).all()
