"""The detector's made-up scenes and the two directions of its encoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dva_core.faces.detector import FaceDetector, decode, suppress
from dva_core.faces.search import overlap
from dva_core.faces.types import Face
from dva_core.networks.compact import STRIDES, CompactDetector
from dva_core.train.detector import compose, detector_loss, targets

BOX = np.array([40.0, 50, 100, 130])
POINTS = np.array([[55.0, 80], [85, 80], [70, 95], [58, 112], [82, 112]])


def as_maps(levels):
    return [(torch.where(score > 0, 6.0, -6.0)[None], geometry[None]) for score, geometry in levels]


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.2])
def test_decoding_the_targets_gives_the_face_back(scale):
    faces = suppress(decode(as_maps(targets([(BOX * scale, POINTS * scale)], 320)), 0.5))
    assert len(faces) == 1
    assert np.allclose(faces[0].box, BOX * scale, atol=1e-3)
    assert np.allclose(faces[0].points5, POINTS * scale, atol=1e-3)


def test_each_size_belongs_to_one_level():
    for scale, level in ((0.4, 0), (1.0, 1), (2.0, 2)):
        hits = [int(score.sum()) for score, _ in targets([(BOX * scale, POINTS * scale)], 320)]
        assert hits[level] > 0 and sum(hits) == hits[level]


def test_loss_prefers_the_right_answer():
    expected = [tuple(part[None] for part in level) for level in targets([(BOX, POINTS)], 192)]
    right = as_maps(targets([(BOX, POINTS)], 192))
    wrong = as_maps(targets([(BOX + 30, POINTS + 30)], 192))
    assert detector_loss(right, expected) < 0.1 * detector_loss(wrong, expected)


def test_suppress_keeps_the_best_of_overlapping_boxes():
    a, b, c = Face((0, 0, 10, 10), 0.6), Face((1, 1, 11, 11), 0.9), Face((50, 50, 60, 60), 0.7)
    assert suppress([a, b, c]) == [b, c]
    assert suppress([]) == []


def test_detector_maps_pixels_back_to_the_frame():
    """A stand-in network finds the face where the picture is bright; the frame is scaled and padded on the way."""

    def network(image):
        rows, columns = (image[0, 0] > 0.5).nonzero().T
        x0, x1, y0, y1 = (float(v) for v in (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1))
        box, size = np.array([x0, y0, x1, y1]), max(image.shape[-2:])
        return as_maps(targets([(box, np.full((5, 2), (x0 + x1) / 2))], size))

    frame = np.zeros((500, 900, 3), np.uint8)
    frame[100:300, 400:560] = 255
    (face,) = FaceDetector(network, sides=(320,)).detect(frame)
    assert np.allclose(face.box, (400, 100, 560, 300), atol=4)


@pytest.mark.parametrize(("wide", "sides"), [(60, [320]), (20, [320, 640])])
def test_small_faces_get_a_second_look(wide, sides):
    """Twice as large, where the points of a small face are exact; where that shows nothing the first look counts."""
    looks = []

    def network(image):
        looks.append(side := max(image.shape[-2:]))
        box = np.array([100.0, 40, 100 + wide, 40 + wide])
        return as_maps(targets([(box, np.full((5, 2), box.mean()))] if side == 320 else [], side))

    (face,) = FaceDetector(network).detect(np.zeros((720, 1280, 3), np.uint8))
    assert looks == sides and np.allclose(face.box[2] - face.box[0], 4 * wide, atol=4)


@pytest.mark.parametrize(("extent", "side"), [(320, 256), (640, 128), (64, 640), (2000, 128)])
def test_a_face_of_known_size_is_looked_for_in_no_larger_a_picture_than_that_takes(extent, side):
    looks = []

    def network(image):
        looks.append(max(image.shape[-2:]))
        return as_maps(targets([], looks[-1]))

    assert FaceDetector(network).detect_sized(np.zeros((720, 1280, 3), np.uint8), extent) == [] and looks == [side]


def test_scenes_hold_their_faces(shared):
    from dva_core.train.faces import read_faces

    faces = read_faces(shared("data/faces128")).take(np.arange(40))
    rng, count = np.random.default_rng(0), 0
    for _ in range(20):
        frame, faces_in_frame = compose(faces.pictures, faces.landmarks, faces.points5, 192, rng)
        assert frame.shape == (192, 192, 3) and frame.dtype == np.uint8
        for box, points in faces_in_frame:
            count += 1
            assert points[0, 0] < points[1, 0] and points[3, 0] < points[4, 0]  # left is left, mirrored or not
            assert (points > box[:2]).all() and (points < box[2:]).all()
        assert all(overlap(a, b) == 0 for i, (a, _) in enumerate(faces_in_frame) for b, _ in faces_in_frame[:i])
    assert count > 10


def test_network_gives_three_levels():
    maps = CompactDetector().eval()(torch.zeros(1, 3, 64, 96))
    assert [tuple(score.shape) for score, _ in maps] == [(1, 64 // s, 96 // s) for s in STRIDES]
    assert all(geometry.shape[-1] == 14 for _, geometry in maps)


def test_a_frame_that_is_all_length_has_no_face():
    detector = FaceDetector(lambda image: [])
    for shape in ((3, 3000, 3), (3000, 3, 3)):
        assert detector.detect(np.zeros(shape, np.uint8)) == [] == detector.detect_sized(np.zeros(shape, np.uint8), 2000)
