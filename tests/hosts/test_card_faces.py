"""Faces are found beside a card as on a processor, with one wait for each frame of a face that is followed."""

from __future__ import annotations

import numpy as np
import pytest
from card import card
from standin import landmarks_of

from dva_core.faces.finder import FaceFinder
from dva_core.faces.types import Face
from dva_core.hosts.results import fetch
from dva_core.model.loader import load_model

FACE = Face((40.0, 30.0, 100.0, 100.0), 0.9, np.float64([[55, 55], [85, 55], [70, 70], [58, 85], [82, 85]]))


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def follow(finder: FaceFinder, frame: np.ndarray, expect: bool) -> np.ndarray:
    """The landmarks of a face in the next frame, after a look at its surroundings, as the follower does it."""
    before = landmarks_of(frame, FACE)
    if expect:
        finder.landmarker.expect(frame, before)
    finder.detector.detect_sized(frame, 60)
    return finder.landmarker.follow(frame, FACE, before)


def test_landmarks_are_found_while_the_face_is_searched_for(bundle, frame):
    plain = FaceFinder.of(load_model(bundle, device="cpu"))
    assert plain.landmarker.begin is None  # a processor finds landmarks of faces that are there
    with card() as here:
        finder, points, waits = FaceFinder.of(load_model(bundle, dtype="fp32")), {}, {}
        for expect in (False, True, False, True):  # networks are brought the first time
            here.waits.clear()
            points[expect], waits[expect] = follow(finder, frame, expect), here.waits.total()
    assert waits[False] - waits[True] == 1
    np.testing.assert_allclose(points[True], points[False], rtol=0, atol=0)
    np.testing.assert_allclose(points[True], follow(plain, frame, True), atol=1e-3)


def test_all_sizes_are_searched_at_once(bundle, frame, monkeypatch):
    begun = []

    def note(take):
        begun.append("begun")
        return lambda: begun.append("taken") or take()

    plain = FaceFinder.of(load_model(bundle, device="cpu")).detector
    with card() as here:
        detector = FaceFinder.of(load_model(bundle, dtype="fp32")).detector
        for one in (plain, detector):
            one.sides = (64, 96)  # both smaller than the frame
        detector.detect_every_size(frame)
        here.waits.clear()
        monkeypatch.setattr("dva_core.faces.detector.fetch", lambda *some, run=fetch, **how: note(run(*some, **how)))
        faces = detector.detect_every_size(frame)
    assert here.waits.total() == 2 and begun == ["begun", "begun", "taken", "taken"]
    np.testing.assert_allclose([face.box for face in faces], [face.box for face in plain.detect_every_size(frame)], atol=1e-2)
