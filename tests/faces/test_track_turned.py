"""A head that lies, hangs or leans gets a square that is turned with it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dva_core.faces import align
from dva_core.faces.track import FOUND, track_faces
from dva_core.faces.types import Face
from dva_core.video import open_video

from .painted import ANNA, Frame, PaintedDetector, face_points, flat, points5


class Turnable(PaintedDetector):
    """Sees a face in every rectangle, and takes it for upright whichever way it is turned."""

    def detect(self, rgb):
        return [Face(face.box, face.score, points5(face.box)) for face in super().detect(rgb)]


class TurnableLandmarker:
    """Points from the five of the detector; sure of them where the rectangle's bright edge, its brow, is above them."""

    def __call__(self, rgb, face):
        left, right = face.points5[0], face.points5[1]
        x = right - left
        frame = np.stack([x, align.turn(x)])
        return (left + (face_points() - [0.3, 0.4]) @ frame / 0.4).astype(np.float32)

    def doubt(self, rgb, landmarks):
        quad = align.quad_from_landmarks(landmarks)
        column, row = (quad[0] + quad[3]) / 2 * 0.55 + quad.mean(0) * 0.45
        return 0.005 if rgb[int(row), int(column), 1] == 77 else 0.04


def with_brow(turns: int, faces: int = 1) -> np.ndarray:
    """Faces with a dark edge at their upper side, the frame turned clockwise by so many quarters."""
    rgb = flat((ANNA, 90, 90, 60))
    rgb[40:60, 60:120] = [90, 77, 90]
    return np.ascontiguousarray(np.rot90(rgb, -turns))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_head_that_lies_or_hangs_gets_a_square_that_is_turned_with_it(turns):
    frames = [Frame(n, with_brow(turns)) for n in range(30)]
    track = track_faces(frames, Turnable(), TurnableLandmarker(), embed_fn=lambda crops: np.ones((len(crops), 2)))
    assert (track.state == FOUND).all() and track.segments() == [(0, 30)]
    down = track.quads[:, 1] - track.quads[:, 0]
    expected = {0: (0, 1), 1: (-1, 0), 2: (0, -1), 3: (1, 0)}[turns]
    np.testing.assert_allclose(down / np.linalg.norm(down, axis=1)[:, None], np.broadcast_to(expected, (30, 2)), atol=1e-6)


@pytest.mark.parametrize("degrees", [45, 135])
def test_a_head_that_leans_by_an_eighth_is_found_and_followed(shared, finder, degrees):
    turn = cv2.getRotationMatrix2D((180, 144), -degrees, 1) + [[0, 0, 50], [0, 0, 86]]
    with open_video(shared("data/clips/swiz3n.mpg"), length=0.2) as reader:
        frames = [Frame(n, cv2.warpAffine(frame.rgb, turn, (460, 460))) for n, frame in enumerate(reader)]
    track = track_faces(frames, finder.detector, finder.landmarker, embed_fn=finder.embed, same_person=finder.same_person)
    assert len(frames) == 5 and (track.state == FOUND).all()
    down = track.quads[:, 1] - track.quads[:, 0]
    assert np.abs(np.degrees(np.arctan2(-down[:, 0], down[:, 1])) - degrees).max() < 5
