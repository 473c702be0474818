"""The right face among several."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.errors import DVAError
from dva_core.faces import select
from dva_core.faces.types import Face

SMALL, BIG, FAR = (Face(box, 0.9) for box in [(10, 10, 30, 30), (40, 20, 90, 80), (150, 10, 190, 50)])
FACES = [SMALL, BIG, FAR]


def test_largest():
    assert select.largest(FACES) is BIG


@pytest.mark.parametrize("x, y, expected", [(0.1, 0.2, SMALL), (0.99, 0.0, FAR), (0.3, 0.9, BIG), (0.0, 0.0, SMALL)])
def test_position_is_in_fractions_of_the_frame(x, y, expected):
    assert select.at_position(FACES, x, y, (100, 200, 3)) is expected


def test_position_prefers_the_face_that_holds_the_point():
    wide, near = Face((0, 0, 100, 100), 0.9), Face((96, 40, 116, 60), 0.9)
    assert select.at_position([near, wide], 0.46, 0.5, (100, 200, 3)) is wide  # (92, 50) is nearer to the small one's centre


@pytest.mark.parametrize("rule", ["smallest", ("position", 40, 0.5), ("position", 0.5), ("reference", np.ones(4), None), None])
def test_a_bad_rule_is_a_sentence(rule):
    with pytest.raises(DVAError):
        select.check_choice(rule)


def test_good_rules_pass():
    for rule in ("largest", ("position", 0.5, 1), ("reference", np.ones(4), lambda crops: crops)):
        assert select.check_choice(rule) is rule


class Detector:
    def __init__(self, faces):
        self.faces = faces

    def detect(self, rgb):
        return self.faces


def landmarker(rgb, face):
    x0, y0, x1, y1 = face.box
    points = np.tile([(x0 + x1) / 2, (y0 + y1) / 2], (68, 1))
    w, h = (x1 - x0) / 4, (y1 - y0) / 4
    points[36:42] += [-w, -h]
    points[42:48] += [w, -h]
    points[48] += [-w, h]
    points[54] += [w, h]
    return points


def mean_colour(crops):
    assert crops.dtype == np.uint8 and crops.shape[1:] == (256, 256, 3)
    return crops[:, 96:160, 96:160].astype(float).mean((1, 2))


def test_reference_picture_gives_the_vector_of_its_largest_face():
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[20:80, 40:90] = [0, 200, 0]
    picture[10:30, 10:30] = [200, 0, 0]
    vector = select.reference_embedding(picture, Detector(FACES[:2]), landmarker, mean_colour)
    np.testing.assert_allclose(vector, [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(select.similarities(picture, FACES[:2], [0, 3, 0], landmarker, mean_colour), [0, 1], atol=1e-6)


def test_a_reference_picture_without_a_face_is_a_sentence():
    with pytest.raises(DVAError, match="reference picture shows no face"):
        select.reference_embedding(np.zeros((50, 50, 3), np.uint8), Detector([]), landmarker, mean_colour)
