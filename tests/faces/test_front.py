"""What stays in front: inside of its mask not a pixel changes, outside the edit comes back softly, whatever the mask's resolution."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dva_core.errors import DVAError
from dva_core.faces import composite
from dva_core.faces.align import crop_face, side
from dva_core.faces.front import FEATHER, FrontMask, is_of_square

from .drawn import SIZE, noise_frame, square

HEIGHT, WIDTH = 90, 110
quads = st.builds(square, st.floats(-20, 130), st.floats(-20, 110), st.floats(12, 60), st.floats(-3, 3))
details = st.sampled_from(["transfer", "model"])


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """A mask [height, width] with hard outlines."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    return (cv2.GaussianBlur(noise, (0, 0), max(height, width) / 20) > 0).astype(np.float32)


def pasted(frame: np.ndarray, quad: np.ndarray, seed: int, detail: str, front: FrontMask | None) -> tuple[np.ndarray, np.ndarray]:
    edited, rebuilt = np.random.default_rng(seed).uniform(-1, 1, (2, 3, SIZE, SIZE)).astype(np.float32)
    return composite.paste(frame, quad, edited, rebuilt, np.ones((SIZE, SIZE), np.float32), detail, front)


@given(quads, st.integers(0, 99), details)
def test_nothing_changes_in_a_mask_of_the_frame(quad, seed, detail):
    frame, mask = noise_frame(seed, HEIGHT, WIDTH), blobs(seed, HEIGHT, WIDTH)
    result, inside = pasted(frame, quad, seed, detail, FrontMask(mask))
    assert np.array_equal(result[mask == 1], frame[mask == 1]) and not (inside & (mask == 1)).any()


@given(quads, st.integers(0, 99), details)
def test_nothing_changes_in_a_mask_of_the_square(quad, seed, detail):
    frame = noise_frame(seed, HEIGHT, WIDTH)
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[SIZE // 4 : SIZE // 2] = 1
    result, _ = pasted(frame, quad, seed, detail, FrontMask(mask, of_square=True))
    affine = composite.frame_to_crop(quad, 1)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    down = affine[1, 0] * x + affine[1, 1] * y + affine[1, 2]
    rim = 1 / SIZE + 1 / side(quad)  # between two pixels of the mask it is neither
    there = (down > 0.25 + rim) & (down < 0.5 - rim)
    assert np.array_equal(result[there], frame[there])


@given(quads, st.integers(0, 99), details)
def test_away_from_the_mask_the_edit_is_what_it_was(quad, seed, detail):
    frame, mask = noise_frame(seed, HEIGHT, WIDTH), blobs(seed, HEIGHT, WIDTH)
    frame[..., 0] = 255 - frame[..., 0] // 2  # coloured, so that the share of grey pixels decides nothing
    away = cv2.distanceTransform((mask < 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    far = away > max(2.0, FEATHER * side(quad))
    (result, _), (plain, _) = (pasted(frame, quad, seed, detail, front) for front in (FrontMask(mask), None))
    assert np.array_equal(result[far], plain[far])
    nothing, _ = pasted(frame, quad, seed, detail, FrontMask(np.zeros((2, 2), np.float32)))
    assert np.array_equal(nothing, plain)


def test_the_edge_is_soft_on_the_outside_only():
    mask = np.zeros((100, 300), np.float32)
    mask[:, :100] = 1
    weights = FrontMask(mask).weights(square(150, 50, 200, 0), (0, 0, 300, 100), (100, 300))[50]
    reach = FEATHER * 400
    assert (weights[:100] == 1).all() and (weights[100 + round(reach) :] == 0).all()
    edge = weights[99 : 100 + round(reach)]
    assert len(edge) > 6 and (np.diff(edge) < 0).all() and np.abs(np.diff(edge)).max() < 0.3
    whole = FrontMask(mask).weights(square(150, 50, 200, 0), (104, 10, 110, 20), (100, 300))  # a window that the mask lies beside
    np.testing.assert_array_equal(whole[0], weights[104:110])


def test_a_soft_mask_is_no_harder_than_it_is():
    ramp = np.broadcast_to(np.linspace(0, 1, 101, dtype=np.float32), (40, 101)).copy()
    weights = FrontMask(ramp).weights(square(50, 20, 20, 0), (0, 0, 101, 40), (40, 101))[20]
    assert (weights[50:] == 1).all() and (weights[:10] == 0).all() and (np.diff(weights) >= 0).all()
    assert 0.3 < weights[30] < 0.7


@pytest.mark.parametrize("scale", [0.25, 0.5, 2, 3])
def test_a_mask_of_any_resolution_is_of_the_same_place(scale):
    shape = (HEIGHT * 2, WIDTH * 2)
    mask = np.zeros(shape, np.float32)
    cv2.circle(mask, (90, 70), 40, 1, -1)
    other = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    quad, window = square(100, 80, 60, 0.3), (20, 10, 200, 170)
    one, two = (FrontMask(values).weights(quad, window, shape) for values in (mask, other))
    assert np.abs(one - two).mean() < 0.01
    assert (one == 1).sum() == pytest.approx((two == 1).sum(), rel=0.03)


def test_a_mask_of_the_frame_seen_in_the_square():
    mask = blobs(4, HEIGHT, WIDTH)
    quad = square(55, 45, 30, 0.5)
    seen = FrontMask(mask).in_square(quad, 64, (HEIGHT, WIDTH))
    assert seen.of_square and np.array_equal(seen.values, crop_face(mask, quad, 64))
    finer = FrontMask(cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)).in_square(quad, 64, (HEIGHT, WIDTH))
    assert np.abs(finer.values - seen.values).mean() < 0.03
    assert seen.in_square(quad, 8, (HEIGHT, WIDTH)) is seen


@given(st.integers(16, 4000), st.integers(16, 4000), st.floats(0.1, 4))
def test_the_frames_shape_is_of_the_frame_and_a_square_of_the_face(width, height, scale):
    frame = (width, height)
    assert not is_of_square(frame, frame, 128)
    assert is_of_square((128, 128), frame, 128) == (frame != (128, 128))
    scaled = (max(1, round(width * scale)), max(1, round(height * scale)))
    if min(scaled) > 60 and abs(width / height - 1) > 0.05:
        assert not is_of_square(scaled, frame, 128)
        assert is_of_square((333, 333), frame, 128)
    if not 0.29 < width / height < 0.31:
        with pytest.raises(DVAError, match=rf"60x200.*\({width}x{height}\).*\(128x128\)"):
            is_of_square((60, 200), frame, 128)
