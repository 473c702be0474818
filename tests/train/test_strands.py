"""Hair of the looks, strand by strand."""

import numpy as np
import pytest

from dva_core.faces.composite import blur
from dva_core.faces.regions import MEAN_FACE, REGIONS
from dva_core.train.pairs import look_of
from dva_core.train.strands import KINDS, hair

SIZE = 192
FACE = np.float32(MEAN_FACE)


def cover(kind: str, **look) -> np.ndarray:
    """How far hair darkens each pixel, [SIZE, SIZE] in 0..1."""
    return -hair(kind, look_of(kind) | look, FACE, SIZE)[1].mean(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_hair_is_darker_than_any_skin_and_grows_in_its_region(kind):
    addition, factor = hair(kind, look_of(kind), FACE, SIZE)
    np.testing.assert_array_equal(addition, factor)  # a share of the light, so that it is lit as the skin is
    assert factor.max() < 1e-6 and -1 < factor.min() < -0.3
    region = REGIONS["brows" if kind == "Bushy_Eyebrows" else "lower"].on(FACE[17:], SIZE)
    dark = -factor.mean(-1)
    assert dark[region < 0.02].mean() < 0.01 * dark[dark > 0.1].mean()
    left, right = dark[:, : SIZE // 2].sum(), dark[:, SIZE // 2 :].sum()
    assert left == pytest.approx(right, rel=0.15)


@pytest.mark.parametrize("kind", ["Beard", "Goatee", "Mustache", "5_o_Clock_Shadow"])
def test_lips_are_bare(kind):
    inner = (slice(int(0.75 * SIZE), int(0.775 * SIZE)), slice(int(0.46 * SIZE), int(0.54 * SIZE)))
    assert cover(kind)[inner].max() < 0.1


def test_strands_are_seen_and_a_beard_has_no_upper_edge():
    beard, stubble = cover("Beard"), cover("5_o_Clock_Shadow")
    chin = (slice(int(0.83 * SIZE), int(0.87 * SIZE)), slice(int(0.42 * SIZE), int(0.58 * SIZE)))
    assert beard[chin].mean() > 0.6 > 1.3 * stubble[chin].mean()
    assert (beard - blur(beard, 3.0))[chin].std() > 0.03
    rows = np.linspace(0.58, 0.8, 8)  # along the side of the face, downwards
    side = [blur(beard, 4.0)[int(row * SIZE), int(0.25 * SIZE) : int(0.32 * SIZE)].max() for row in rows]
    assert side[0] < 0.12 and side[-1] > 0.5 and np.diff(side).max() < 0.3


def test_the_same_style_is_the_same_hair():
    np.testing.assert_array_equal(cover("Mustache"), cover("Mustache"))
    assert np.abs(cover("Mustache", seed=1) - cover("Mustache", seed=2)).max() > 0.2
