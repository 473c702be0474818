"""The smoothed square against the reference's numbers; crops that neither shift nor alias."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dva_core.faces import align

from .drawn import blob, centroid, square


@pytest.fixture
def golden(shared):
    with np.load(shared("reference/alignment.npz")) as data:
        return dict(data)


def some_landmarks(seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).uniform(20, 80, (68, 2))
    points[36:42], points[42:48], points[[48, 54]] = [35, 40], [65, 42], [[40, 75], [61, 74]]
    return points


# ---- against the reference


def test_smoothed_squares_match_the_reference(golden):
    np.testing.assert_allclose(align.smooth_squares(golden["landmarks"]), golden["quads"], atol=1e-4)


def test_paste_coefficients_match_the_reference(golden):
    ours = np.stack([align.paste_coefficients(quad + 0.5) for quad in golden["quads"]])  # its points are pixel centres
    np.testing.assert_allclose(ours, golden["paste_coefficients"], atol=1e-4)


def test_reference_crop_and_paste_match_the_reference(golden):
    quad = golden["quads"][3] + 0.5
    crop = align.reference_crop(golden["frame"], quad)
    assert np.array_equal(crop, golden["crop_256_frame3"])
    assert np.array_equal(align.reference_paste(golden["frame"], quad, 255 - crop), golden["pasted_negative_frame3"])


@pytest.mark.parametrize("size", [256, 128, 64])
def test_the_production_crop_shows_the_same_as_the_reference(golden, size):
    quad = golden["quads"][3] + 0.5
    ours = align.crop_face(golden["frame"], quad, size).astype(int)
    assert np.abs(ours - align.reference_crop(golden["frame"], quad, size)).mean() < 2.0


# ---- the square


def test_mirror68_is_its_own_inverse_and_swaps_the_sides():
    assert np.array_equal(align.MIRROR68[align.MIRROR68], np.arange(68))
    pairs = {0: 16, 8: 8, 17: 26, 30: 30, 31: 35, 33: 33, 36: 45, 39: 42, 41: 46, 48: 54, 51: 51, 57: 57, 60: 64, 66: 66, 67: 65}
    assert all(align.MIRROR68[a] == b for a, b in pairs.items())


def test_mirror68_on_a_face(shared):
    with np.load(shared("data/clips/annotations.npz")) as data:
        points = data["swiz3n/landmarks68"].mean(0)
    mirrored = (points * [-1, 1])[align.MIRROR68]
    mirrored += points.mean(0) - mirrored.mean(0)
    assert np.abs(mirrored - points).max() < 5  # pixels, on a face 220 wide


@settings(max_examples=50, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(0.2, 5), st.floats(-300, 300), st.floats(-300, 300))
def test_squares_follow_similarity_transforms(angle, scale, dx, dy):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = some_landmarks()
    moved = align.quad_from_landmarks(points @ turn.T + [dx, dy])
    np.testing.assert_allclose(moved, align.quad_from_landmarks(points) @ turn.T + [dx, dy], atol=1e-8 * scale + 1e-9)


def test_five_points_and_68_points_agree_on_the_square():
    points = some_landmarks()
    five = np.array([points[36:42].mean(0), points[42:48].mean(0), [50, 55], points[48], points[54]])
    np.testing.assert_allclose(align.quad_from_points5(five), align.quad_from_landmarks(points))


def test_smoothing_keeps_a_still_face_and_calms_a_shaking_one():
    points = some_landmarks()
    still = align.smooth_squares(np.repeat(points[None], 3, 0))
    np.testing.assert_allclose(still, np.repeat(align.quad_from_landmarks(points)[None], 3, 0), atol=1e-9)
    shaking = points + np.random.default_rng(1).normal(0, 1, (40, 68, 2))
    raw, smooth = align.quad_from_landmarks(shaking), align.smooth_squares(shaking)
    assert np.abs(np.diff(smooth, 2, axis=0)).mean() < 0.3 * np.abs(np.diff(raw, 2, axis=0)).mean()


# ---- crops


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(18, 70), st.floats(-0.7, 0.7), st.sampled_from([32, 64, 100]))
def test_a_point_of_the_frame_lands_where_the_map_says(dx, dy, half, angle, size):
    frame = blob(200, 220, 103.3 + dx, 99.1 + dy, 5)
    quad = square(105, 100, half, angle)
    affine = align.frame_to_crop(quad, size)
    crop = align.crop_face(frame, quad, size)
    expected = affine[:, :2] @ centroid(frame) + affine[:, 2]
    assert np.abs(centroid(crop) - expected).max() * 2 * half / size < 0.05  # frame pixels


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_points_go_to_the_frame_and_back(u, v):
    quad = square(50, 40, 30, 0.3)
    affine = align.frame_to_crop(quad, 1)
    point = align.crop_to_frame(np.array([u, v]), quad)
    np.testing.assert_allclose(affine[:, :2] @ point + affine[:, 2], [u, v], atol=1e-9)


def test_shrinking_averages_instead_of_picking_pixels():
    frame = np.zeros((400, 400, 3), np.uint8)
    frame[::2] = 255  # lines finer than the crop can show
    crop = align.crop_face(frame, square(200, 200, 160, 0.1), 40)
    assert np.abs(crop.astype(int) - 127).max() < 12


def test_outside_the_frame_its_mirror_image_continues():
    frame = np.full((60, 60, 3), 200, np.uint8)
    assert align.crop_face(frame, square(5, 5, 30, 0.2), 32).min() == 200
