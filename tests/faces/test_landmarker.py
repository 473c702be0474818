"""The landmarker around a network of points: two looks at a new face, one at a face that is followed."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.faces import align
from dva_core.faces.landmarker import CropLandmarker, quad_from_face
from dva_core.faces.types import Face


def test_crop_landmarker_maps_back_and_averages_the_mirror():
    size, truth = 64, np.stack([np.linspace(0.2, 0.8, 68), np.linspace(0.3, 0.7, 68)], 1)
    truth = (truth + (truth * [-1, 1] + [1, 0])[align.MIRROR68]) / 2  # symmetric, as a mirrored face would be
    seen = []

    def points_fn(crops):
        seen.append(crops)
        return np.repeat(truth[None], len(crops), 0) + [[[0.03, 0.0]]]  # a network that errs to the right

    frame = np.random.default_rng(0).integers(0, 255, (180, 320, 3), np.uint8)
    face = Face((100, 40, 180, 120), 0.9, np.array([[120, 70], [160, 72], [140, 90], [125, 105], [155, 106]], float))
    points = CropLandmarker(points_fn, size)(frame, face)
    off = align.crop_to_frame(truth + [0.03, 0.0], align.quad_from_points5(face.points5))  # the first look sees no mirror image
    second = align.quad_from_landmarks(off)
    np.testing.assert_allclose(points, align.crop_to_frame(truth, second), atol=1e-3)
    assert [len(crops) for crops in seen] == [1, 2] and np.array_equal(seen[1][1], seen[1][0][:, ::-1])


def test_a_face_without_points_gets_an_upright_square():
    quad = quad_from_face(Face((100, 40, 180, 140), 0.9))
    assert quad[0][1] == quad[3][1] and align.side(quad) == pytest.approx(134) and quad.mean(0)[0] == 140


class Seen:
    """A stand-in network that finds the bright patch of a picture, and counts what it was shown."""

    def __init__(self):
        self.looks = []

    def __call__(self, crops):
        self.looks.append(len(crops))
        y, x = zip(*(np.argwhere(crop[..., 0] > 128).mean(0) for crop in crops))
        return face_points() - 0.5 + (np.stack([x, y], 1)[:, None] + 0.5) / crops.shape[1]


def face_points() -> np.ndarray:
    """68 points in 0..1 of a square whose own square they give back."""
    points = np.full((68, 2), 0.5)
    points[36:42], points[42:48] = [0.375, 0.45], [0.625, 0.45]
    points[48], points[54] = [0.4, 0.7], [0.6, 0.7]
    middle = align.quad_from_landmarks(points).mean(0)
    return points - middle + 0.5


def frame_with_face(x: float, y: float) -> tuple[np.ndarray, Face]:
    """A frame with a bright patch at (x, y), and the face that a detector would report, 60 pixels wide."""
    rgb = np.zeros((180, 320, 3), np.uint8)
    rgb[round(y) - 6 : round(y) + 6, round(x) - 6 : round(x) + 6] = 255
    return rgb, Face((x - 30, y - 30, x + 30, y + 30), 0.9)


def test_a_face_that_hardly_moves_is_looked_at_once():
    rgb, face = frame_with_face(100, 90)
    network = Seen()
    landmarker = CropLandmarker(network, 64)
    before = landmarker(rgb, face)
    assert network.looks == [1, 2]
    rgb, face = frame_with_face(102, 91)
    points = landmarker.follow(rgb, face, before)
    assert network.looks == [1, 2, 2]
    np.testing.assert_allclose(points, landmarker(rgb, face), atol=0.5)


def test_a_face_that_moves_is_looked_at_again_where_the_detector_sees_it():
    rgb, face = frame_with_face(100, 90)
    network = Seen()
    landmarker = CropLandmarker(network, 64)
    before = landmarker(rgb, face)
    rgb, face = frame_with_face(130, 80)
    network.looks.clear()
    points = landmarker.follow(rgb, face, before)
    assert network.looks == [2, 1, 2]
    np.testing.assert_array_equal(points, landmarker(rgb, face))


def test_a_face_cut_by_the_border_is_not_completed_by_its_mirror_image():
    seen = []

    def points_fn(crops):
        seen.extend(crops)
        return np.repeat(face_points()[None], len(crops), 0)

    rgb = np.zeros((100, 100, 3), np.uint8)
    rgb[:, :10] = np.arange(250, 0, -25, dtype=np.uint8)[:, None]  # falls from the left border on
    CropLandmarker(points_fn, 64)(rgb, Face((-30, 20, 30, 80), 0.9))
    rows = seen[0][20:44, :, 0].astype(int)
    assert rows.max() > 200 and (np.diff(rows, axis=1) <= 0).all()  # the border's own colour goes on outside


def test_doubt_is_how_far_the_mirror_image_disagrees():
    away = np.array([0.02, 0.0])
    symmetric = (face_points() + (face_points() * [-1, 1] + [1, 0])[align.MIRROR68]) / 2
    landmarker = CropLandmarker(lambda crops: np.repeat(symmetric[None], len(crops), 0) + away, 64)
    assert landmarker.doubt(*_looked_at()) == pytest.approx(0.04)
    landmarker = CropLandmarker(lambda crops: np.repeat(symmetric[None], len(crops), 0), 64)
    assert landmarker.doubt(*_looked_at()) == pytest.approx(0)


def _looked_at():
    return frame_with_face(100, 90)[0], align.crop_to_frame(face_points(), np.array([[70, 60], [70, 120], [130, 120], [130, 60.0]]))


def test_what_was_begun_is_taken_for_the_frame_and_points_it_is_of():
    network, begun = Seen(), []

    def begin(crops):
        begun.append(len(crops))
        return lambda: network(crops)

    landmarker = CropLandmarker(network, 64, begin)
    (frame, face), (other, _) = frame_with_face(160, 90), frame_with_face(163, 91)
    before = landmarker(frame, face)
    expected = CropLandmarker(network, 64).follow(other, face, before)
    network.looks.clear()
    landmarker.expect(other, before)
    assert begun == [2] and network.looks == []  # not waited for
    np.testing.assert_array_equal(landmarker.follow(other, face, before), expected)
    assert network.looks == [2]
    np.testing.assert_array_equal(landmarker.follow(other, face, before), expected)  # taken once
    landmarker.expect(frame, before)
    np.testing.assert_array_equal(landmarker.follow(other, face, before), expected)  # of another frame
    assert network.looks == [2, 2, 2]
