"""Two people in one video, made of real ones, found by the starter's own networks: nobody but the person chosen is followed."""

from __future__ import annotations

import numpy as np
import pytest
from made_people import ANNA, BERT, SIZE, WIDTH, Path, draw_people

from dva_core.faces.finder import FaceFinder
from dva_core.faces.segments import FaceTrack
from dva_core.faces.track import MISSING, track_faces


def follow(finder: FaceFinder, frames: int, people: list[tuple[str, Path]]) -> FaceTrack:
    """Anna is chosen by where she is at first."""
    x, _ = dict(people)[ANNA](0)
    return track_faces(
        draw_people(frames, people),
        finder.detector,
        finder.landmarker,
        choice=("position", x / WIDTH, 0.5),
        embed_fn=finder.embed,
        same_person=finder.same_person,
    )


def off(track: FaceTrack, path: Path) -> np.ndarray:
    """How far the face is from where Anna is, in parts of its size, where there is one; infinite where she is not to be seen."""
    there = np.flatnonzero(track.state != MISSING)
    places = [path(int(n)) for n in there]
    x = np.array([place[0] if place and place[1] else np.inf for place in places])
    return np.abs(track.landmarks[there, :, 0].mean(1) - x) / SIZE


@pytest.mark.parametrize("front", [ANNA, BERT])
def test_two_people_who_cross(finder, front):
    right, left = (lambda n: (120 + 8.0 * n, True)), (lambda n: (360 - 8.0 * n, True))
    people = [(ANNA, right), (BERT, left)]
    track = follow(finder, 31, people if front == BERT else people[::-1])
    assert off(track, right).max() < 0.2
    assert (track.state[:9] != MISSING).all() and (track.state[-8:] != MISSING).all()


def test_one_turns_away_while_the_other_stays(finder):
    anna = lambda n: (190.0, not 12 <= n < 20)  # noqa: E731
    track = follow(finder, 28, [(ANNA, anna), (BERT, lambda n: (290.0, True))])
    assert off(track, anna).max() < 0.2 and (track.state != MISSING).sum() >= 19


def test_one_goes_behind_the_other_who_then_leaves(finder):
    """The one in front stays long enough for the person followed to be looked for everywhere."""
    anna = lambda n: (200.0, True)  # noqa: E731
    bert = lambda n: (max(200.0, 400 - 16.0 * n) if n < 30 else 200 + 16.0 * (n - 30), True)  # noqa: E731
    track = follow(finder, 46, [(ANNA, anna), (BERT, bert)])
    hidden = [n for n in range(46) if abs(bert(n)[0] - 200) < 0.3 * SIZE]
    assert (track.state[hidden] == MISSING).all()
    assert off(track, anna).max() < 0.2 and (track.state[:7] != MISSING).all() and (track.state[-5:] != MISSING).all()


def test_one_leaves_and_the_other_comes_to_the_same_place(finder):
    anna = lambda n: (200.0, True) if n < 12 else None  # noqa: E731
    track = follow(finder, 36, [(ANNA, anna), (BERT, lambda n: (max(200.0, 200 + 14.0 * (26 - n)), True) if n >= 12 else None)])
    assert (track.state[:12] != MISSING).all() and (track.state[12:] == MISSING).all()
