"""The frame's own pixels moved, and the texture of the skin smoothed."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.faces.align import whole_square
from dva_core.faces.retouch import BROAD, retouch_face, skin_texture

SIZE = 200
RNG = np.random.default_rng(0)
SQUARE = np.array([[20, 30], [20, 180], [170, 180], [170, 30]], np.float64)  # top left, bottom left, bottom right, top right


def maps(right: float = 0.0, down: float = 0.0, smoothing: float = 0.0) -> np.ndarray:
    """The same shift and smoothing in the middle of the crop, nothing at its border."""
    one = np.zeros((3, 64, 64), np.float32)
    one[:, 8:-8, 8:-8] = np.float32([right, down, smoothing])[:, None, None]
    return one


def spot(x: float, y: float, sigma: float = 4.0) -> np.ndarray:
    """A bright spot in the dark, [SIZE, SIZE, 3]."""
    at = np.arange(SIZE) + 0.5
    light = np.exp(-((at - x) ** 2 + (at[:, None] - y) ** 2) / (2 * sigma**2))
    return np.repeat(light[..., None], 3, 2).astype(np.float32) - 1


def centre(picture: np.ndarray) -> np.ndarray:
    light, at = picture[..., 0] + 1, np.arange(SIZE) + 0.5
    return np.array([(light * at).sum(), (light * at[:, None]).sum()]) / light.sum()


@pytest.mark.parametrize("turn", [0, 30, 90])
def test_pixels_come_from_where_the_shift_says(turn):
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    quad = (SQUARE - 100) @ rotation + 100
    moved = retouch_face(spot(100, 100), quad, maps(right=0.04, down=-0.02))
    right, down = (quad[3] - quad[0]), (quad[1] - quad[0])
    np.testing.assert_allclose(centre(moved), 100 - 0.04 * right + 0.02 * down, atol=0.1)


def test_nothing_changes_without_a_shift_and_smoothing():
    picture = RNG.uniform(-1, 1, (SIZE, SIZE, 3)).astype(np.float32)
    np.testing.assert_array_equal(retouch_face(picture, SQUARE, maps()), picture)
    changed = np.abs(retouch_face(picture, SQUARE, maps(0.02, 0.02, 1)) - picture).max(2) > 1e-6
    assert not changed[:25].any() and not changed[:, :15].any() and changed[60:150, 50:140].mean() > 0.99


def test_wrinkles_go_edges_and_grain_stay():
    y, x = np.indices((SIZE, SIZE), dtype=np.float32)
    wrinkles = 0.06 * np.cos(2 * np.pi * y / (BROAD * SIZE * 2))
    edge = np.where(x < 100, -0.5, 0.5).astype(np.float32)
    grain = RNG.normal(0, 0.01, (SIZE, SIZE)).astype(np.float32)
    picture = np.repeat((edge + wrinkles + grain)[..., None], 3, 2)
    result = retouch_face(picture, whole_square(picture), maps(smoothing=1.0))[..., 0]
    inner = (slice(40, 160), slice(40, 85))
    rows = result[inner].mean(1)
    assert rows.std() < 0.35 * wrinkles[inner].std()
    after, before = (np.diff(part[inner], axis=1).std() for part in (result, picture[..., 0]))  # along the wrinkles
    assert 0.6 < after / before < 1.1
    assert result[80:120, 102].mean() - result[80:120, 97].mean() > 0.9
    stronger = retouch_face(picture, whole_square(picture), maps(smoothing=-1.0))[..., 0]
    assert stronger[inner].mean(1).std() > 1.5 * wrinkles[inner].std()


def test_an_even_face_has_no_texture():
    even = np.full((64, 64, 3), 0.3, np.float32)
    assert np.abs(skin_texture(even, 64.0)).max() < 1e-6
