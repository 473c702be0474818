"""Glasses of the looks."""

import numpy as np
import pytest

from dva_core.faces.regions import MEAN_FACE
from dva_core.networks.texture import EAR, HINGE
from dva_core.train.spectacles import KINDS, STYLES, Canvas, glasses, lens_edge

SIZE = 256
FACE = np.float32(MEAN_FACE)
X, Y = (part / 4 for part in (Canvas(FACE, SIZE).middle[0], Canvas(FACE, SIZE).middle[1]))
UNIT = Canvas(FACE, SIZE).unit / 4


def at(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """The value at a place in face units."""
    return image[int(Y + y * UNIT), int(X + x * UNIT)]


@pytest.mark.parametrize("kind", KINDS)
def test_rims_are_dark_temples_end_at_the_ear_and_both_sides_are_alike(kind):
    addition, factor = glasses(kind, FACE, SIZE)
    style = STYLES[kind]
    rim = style.below + style.height + style.rim / 2
    assert (at(factor, style.beside, rim) < -0.9).all() and (at(addition - factor, style.beside, rim) < 0.5).all()
    assert at(factor, (HINGE + EAR) / 2, style.below - style.hinge + 0.02).max() < -0.3
    x = np.abs((np.arange(SIZE) + 0.5 - X) / UNIT)
    assert np.abs(factor[:, x > EAR + 0.1]).max() < 0.01 and np.abs(factor[: int(Y - UNIT)]).max() == 0
    mirrored = factor[:, ::-1]
    assert np.abs(factor - mirrored)[np.abs(factor - mirrored) > 0].mean() < 0.1
    assert lens_edge(style, style.rim, 1)[:, 0].max() < HINGE  # beyond it only temples are stretched


def test_eyes_are_seen_through_clear_lenses_alone():
    clear, dark = (at(glasses(kind, FACE, SIZE)[1], 0.5, 0.05) for kind in ("Eyeglasses", "Sunglasses"))
    assert (clear > -0.25).all() and (dark == -1).all()
    addition, factor = glasses("Sunglasses", FACE, SIZE)
    lens = addition[factor.max(-1) == -1] + 1  # its light, whatever is under it
    assert len(lens) > 500 and lens.max() < 0.5
