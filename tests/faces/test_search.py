"""Windows and frames that are turned before they are searched."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.faces.search import detect_around, detect_turned
from dva_core.faces.types import Face

from .painted import ANNA, HEIGHT, WIDTH, PaintedDetector, painted


@pytest.mark.parametrize("turned", [0.0, 40.0, 90.0, -135.0, 180.0])
def test_a_window_turned_with_the_face_finds_it_in_its_place(turned):
    class Corner:
        """Reports the brightest pixel as a face's centre."""

        def detect(self, rgb):
            y, x = np.unravel_index(rgb[..., 0].argmax(), rgb.shape[:2])
            at = np.array([x + 0.5, y + 0.5])
            return [Face((*(at - 10), *(at + 10)), 0.9, at + np.array([[0, 0], [10, 0], [0, 10], [-10, 0], [0, -10]], float))]

    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[70, 150] = 255
    (face,) = detect_around(Corner(), rgb, (120, 50, 170, 100), turned)
    np.testing.assert_allclose(face.centre, (150.5, 70.5), atol=1.0)
    right = face.points5[1] - face.points5[0]
    assert np.degrees(np.arctan2(right[1], right[0])) % 360 == pytest.approx(turned % 360)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 0.5, 2.5])
def test_faces_of_a_turned_frame_come_back_to_their_place(turns):
    rgb = painted((ANNA, 100, 60, 40))
    faces = detect_turned(PaintedDetector().detect, rgb, turns)
    expected = PaintedDetector().detect(rgb)[0]
    assert faces and (len(faces) == 1 or turns % 1)
    if turns % 1:
        np.testing.assert_allclose(max(faces, key=lambda face: face.area).centre, expected.centre, atol=1.5)
    else:
        assert faces[0].box == expected.box
