"""Faces warped by their landmarks: pixels arrive, nothing folds, the edge stays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from dva_core.edit.shapes import SHAPES
from dva_core.faces.align import whole_square
from dva_core.faces.regions import CHIN, MEAN_FACE, ROOM
from dva_core.faces.retouch import compose, compose_after, retouch_face
from dva_core.faces.warp import (
    CHIN_SHARE,
    LEAST_GAP,
    LEFT_EYE,
    MOUTH,
    RIGHT_EYE,
    SIZE,
    SLITS,
    edge_of,
    move_face,
    smooth,
    still,
    thin_plate_map,
    uncrossed,
)
from dva_core.networks.hull import extend_hull

FACE = MEAN_FACE[17:].astype(np.float64)


def moved(face: np.ndarray, picture: np.ndarray, after: np.ndarray) -> np.ndarray:
    return retouch_face(picture, whole_square(picture), compose(move_face(face, after), None))


def sample(maps: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The maps' values [n, 2] at points in 0..1."""
    return np.stack([map_coordinates(one, (points * SIZE - 0.5)[:, ::-1].T, order=1) for one in maps], 1)


def test_thin_plate_map_passes_through_the_points():
    rng = np.random.default_rng(0)
    source = rng.uniform(30, 98, (10, 2))
    target = source + rng.normal(0, 4, (10, 2))
    maps = np.moveaxis(thin_plate_map(source, target, SIZE, coarse=SIZE) - still(SIZE), -1, 0)
    np.testing.assert_allclose(target + sample(maps, target / SIZE), source, atol=0.5)


def test_nothing_moves_where_no_landmark_does():
    assert np.abs(move_face(FACE, FACE)).max() < 1e-4


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(SHAPES)), st.floats(-0.3, 0.5))
def test_landmarks_arrive_where_they_are_put(name, amount):
    after = FACE + amount * SHAPES[name].move(FACE)
    shift = sample(move_face(FACE, after), after)
    distance = np.linalg.norm(after + shift - FACE, axis=1)
    assert np.median(distance) < 0.002 and distance.max() < 0.02


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(SHAPES)), st.floats(-1, 1), min_size=1), st.floats(0.5, 1.5), st.floats(-0.1, 0.1))
def test_nothing_folds_and_the_edge_stays(amounts, width, off):
    face = (FACE - 0.5) * (width, 1) * 0.9 + 0.5 + (off, 0)
    after = face + sum(amount * SHAPES[name].move(face) for name, amount in amounts.items())
    maps = move_face(face, after)
    assert np.isfinite(maps).all()
    down = np.arange(SIZE)[:, None] + SIZE * maps[1]
    assert (np.diff(down, axis=0) > -0.6).all()  # of a pixel; a fold goes back by many
    edge, outside = edge_of(face), np.ones((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(outside, cv2.convexHull(np.int32(np.concatenate([edge, edge[CHIN] + (0, ROOM)]) * SIZE)), 0)
    assert not maps[:, outside > 0].any()


def test_the_chin_goes_with_the_lower_lip_and_the_neck_stays():
    shift = SHAPES["Open_Mouth"].move(FACE)
    maps, edge = move_face(FACE, FACE + shift), edge_of(FACE)
    chin = edge[8] + (0, CHIN_SHARE * shift[40, 1])
    assert sample(maps, chin[None])[0, 1] == pytest.approx(-CHIN_SHARE * shift[40, 1], rel=0.35)  # less, as it is near where all stays
    assert np.abs(sample(maps, edge[[0, 16]])).max() < 0.003 and np.abs(sample(maps, edge[[8]] + (0, ROOM))).max() < 0.003


def test_the_edge_is_that_of_the_mean_face():
    hull = extend_hull(MEAN_FACE)
    np.testing.assert_allclose(edge_of(FACE), np.concatenate([hull[:17], hull[68:]]), atol=1e-6)
    np.testing.assert_allclose(edge_of(FACE * 0.5 + 0.1), edge_of(FACE) * 0.5 + 0.1, atol=1e-6)


@pytest.mark.parametrize("eyes", [("Closed_Eyes", (RIGHT_EYE, LEFT_EYE)), ("Wink_Left", (RIGHT_EYE,))])
def test_eyes_close(eyes):
    name, closed = eyes
    picture, whites = np.full((300, 300, 3), -0.5, np.float32), []
    for eye in (RIGHT_EYE, LEFT_EYE):
        outline = np.concatenate([smooth(FACE[list(eye.upper)]), smooth(FACE[list(eye.lower)])[::-1]])
        cv2.fillPoly(picture, [np.int32(np.round(outline * 300 - 0.5))], (1.0, 1.0, 1.0))
        x, y = np.int32(FACE[list(eye.upper + eye.lower)].mean(0) * 300)
        whites.append((slice(y - 20, y + 20), slice(x - 25, x + 25)))
    result = moved(FACE, picture, FACE + SHAPES[name].move(FACE))
    for eye, white in zip((RIGHT_EYE, LEFT_EYE), whites):
        left = (result[white][..., 0] > 0.25).sum() / (picture[white][..., 0] > 0.25).sum()
        assert left < 0.25 if eye in closed else left > 0.9


def test_teeth_hang_on_the_upper_lip_and_are_not_stretched():
    face = FACE.copy()
    face[48:51, 1] += 0.03  # a mouth that is open a little
    after = face + SHAPES["Open_Mouth"].move(face)
    maps, x = move_face(face, after), after[[43, 47], 0].mean()
    for below in (0.008, 0.02, 0.03):
        came_from = after[45, 1] + below + sample(maps, np.array([[x, after[45, 1] + below]]))[0, 1]
        assert came_from == pytest.approx(face[45, 1] + below, abs=0.004)
    hollow = after[49, 1] - 0.01
    assert hollow + sample(maps, np.array([[x, hollow]]))[0, 1] == pytest.approx(face[49, 1], abs=0.006)


def test_lids_and_lips_do_not_cross_and_outer_lips_keep_their_distance():
    after = FACE + 3 * SHAPES["Closed_Eyes"].move(FACE) - 3 * SHAPES["Open_Mouth"].move(FACE)
    kept = uncrossed(FACE, after)
    for upper, lower in (pair for slit in SLITS for pair in slit.pairs):
        gap, before = kept[lower, 1] - kept[upper, 1], FACE[lower, 1] - FACE[upper, 1]
        assert gap == pytest.approx(LEAST_GAP * before, abs=1e-9)
    for outer, inner in ((34, 45), (40, 49)):
        assert abs(kept[outer, 1] - kept[inner, 1]) == pytest.approx(abs(after[outer, 1] - after[inner, 1]), abs=0.01)
    np.testing.assert_array_equal(uncrossed(FACE, FACE), FACE)
    np.testing.assert_array_equal(kept[list(MOUTH.upper[::4])], after[list(MOUTH.upper[::4])])  # corners


def test_two_maps_do_what_one_does_after_the_other():
    picture = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(SIZE, SIZE, 3)).astype(np.float32), (0, 0), 6)
    shift = move_face(FACE, FACE + 0.7 * SHAPES["Open_Mouth"].move(FACE))
    second = np.zeros((3, 64, 64), np.float32)
    second[1, 20:50, 15:50] = 0.02
    second[1] = cv2.GaussianBlur(second[1], (0, 0), 4)
    second[2, 10:30, 20:40] = 0.5
    square = whole_square(picture)
    first = compose(shift, None)
    np.testing.assert_array_equal(compose_after(None, shift), first)
    for maps, before, after in ((compose(shift, second), first, second), (compose_after(second, shift), second, first)):
        both = retouch_face(picture, square, maps)
        expected = retouch_face(retouch_face(picture, square, before), square, after)
        assert np.abs(both - expected).mean() < 0.02 * picture.std()
        assert np.abs(both - expected).mean() < 0.2 * np.abs(both - retouch_face(picture, square, second)).mean()
