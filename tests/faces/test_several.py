"""Several people followed together, in scenes made of real ones: each is who they are, and nobody is followed twice."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from made_people import ANNA, BERT, SIZE, draw_people

from dva_core.faces import several
from dva_core.faces.choice import ChosenPerson
from dva_core.faces.landmarker import CropLandmarker
from dva_core.faces.others import MOST, Others
from dva_core.faces.people import find_people
from dva_core.faces.segments import FaceTrack
from dva_core.faces.several import track_people
from dva_core.faces.track import MISSING, Record, track_faces
from dva_core.pipeline.finding import where_meant


def follow_all(finder, count: int, people) -> dict[str, FaceTrack]:
    """Everybody's track, by who is where in the first frame in which both are seen."""
    frames = draw_people(count, people)
    survey = find_people(frames, finder.detector, finder.landmarker, finder.embed, finder.same_person, total=count)
    assert len(survey.people) == len(people)
    tracks = track_people(frames, finder, np.stack([person.embedding for person in survey.people]))
    first = {}
    for name, path in people:
        off = [
            np.nanmean(
                [abs(track.landmarks[n, :, 0].mean() - path(n)[0]) for n in range(8) if track.state[n] != MISSING and path(n)] or [1e9]
            )
            for track in tracks
        ]
        first[name] = tracks[int(np.argmin(off))]
    assert len({id(track) for track in first.values()}) == len(people)
    return first


def wrong(track: FaceTrack, path) -> float:
    """How far the face is from where it should be at most, in sizes; infinite where the person is not to be seen."""
    there = np.flatnonzero(track.state != MISSING)
    x = np.array([path(int(n))[0] if path(int(n)) and path(int(n))[1] else np.inf for n in there])
    return float((np.abs(track.landmarks[there, :, 0].mean(1) - x) / SIZE).max())


@pytest.mark.parametrize("front", [ANNA, BERT])
def test_two_who_cross_stay_who_they_are(finder, front):
    right, left = (lambda n: (120 + 8.0 * n, True)), (lambda n: (360 - 8.0 * n, True))
    people = [(ANNA, right), (BERT, left)] if front == BERT else [(BERT, left), (ANNA, right)]
    tracks = follow_all(finder, 31, people)
    for name, path in people:
        assert wrong(tracks[name], path) < 0.2
        assert (tracks[name].state[:8] != MISSING).all() and (tracks[name].state[-8:] != MISSING).all()


def test_one_who_leaves_and_comes_back_is_the_same(finder):
    anna, bert = (lambda n: (300.0, True)), (lambda n: None if 12 <= n < 40 else (150.0, True))
    tracks = follow_all(finder, 52, [(ANNA, anna), (BERT, bert)])
    assert (tracks[ANNA].state != MISSING).all() and wrong(tracks[BERT], bert) < 0.2
    assert (tracks[BERT].state[:12] != MISSING).all() and (tracks[BERT].state[41:] != MISSING).all()


def test_one_followed_alone_is_where_both_are(finder):
    frames = draw_people(20, [(ANNA, lambda n: (150.0 + n, True)), (BERT, lambda n: (330.0, True))])
    survey = find_people(frames, finder.detector, finder.landmarker, finder.embed, finder.same_person, total=20)
    vectors = np.stack([person.embedding for person in survey.people])
    both = track_people(frames, finder, vectors)
    for row in (0, 1):
        (alone,) = track_people(frames, finder, vectors, [row])
        np.testing.assert_array_equal(alone.state, both[row].state)
        assert np.abs(alone.quads - both[row].quads).max() < 0.02 * SIZE


def test_squares_are_those_of_looking_at_both_images(finder):
    """Plain and mirrored by turns comes to their mean once it is smoothed."""
    frames = draw_people(24, [(ANNA, lambda n: (150.0 + 2 * n, True))])
    usual = track_faces(frames, finder.detector, finder.landmarker, embed_fn=finder.embed, same_person=finder.same_person)
    survey = find_people(frames, finder.detector, finder.landmarker, finder.embed, finder.same_person, total=24)
    (by_turns,) = track_people(frames, finder, np.stack([survey.people[0].embedding]))
    inner = slice(3, -3)
    assert np.abs(by_turns.quads - usual.quads)[inner].max() < 0.01 * SIZE


def test_each_frame_is_searched_once_and_all_landmarks_in_one_look(finder, monkeypatch):
    frames = draw_people(16, [(ANNA, lambda n: (170.0, True)), (BERT, lambda n: (290.0, True))])
    survey = find_people(frames, finder.detector, finder.landmarker, finder.embed, finder.same_person, total=16)
    looks = {"detect": 0, "landmarks": 0}
    monkeypatch.setattr(
        type(finder.detector),
        "_detect_at",
        counted(type(finder.detector)._detect_at, lambda: looks.__setitem__("detect", looks["detect"] + 1)),
    )
    points = finder.landmarker.points_fn
    landmarker = CropLandmarker(counted(points, lambda: looks.__setitem__("landmarks", looks["landmarks"] + 1)), finder.landmarker.size)
    monkeypatch.setattr(type(finder), "landmarker", landmarker, raising=False)
    object.__setattr__(finder, "landmarker", landmarker)
    try:
        track_people(frames, finder, np.stack([person.embedding for person in survey.people]))
    finally:
        object.__setattr__(finder, "landmarker", CropLandmarker(points, landmarker.size))
    assert looks["detect"] <= 16 + 4 and looks["landmarks"] <= 16 + 16


def counted(function, count):
    def call(*values, **named):
        count()
        return function(*values, **named)

    return call


def test_frames_in_which_a_person_is_not_meant_are_left_out():
    state = np.full(8, 2, np.uint8)
    track = FaceTrack(
        np.ones((8, 68, 2), np.float32), state, np.ones((8, 4, 2)), np.ones(8, np.float32), np.arange(8) == 0, other_faces_seen=1
    )
    meant = where_meant(track, ChosenPerson(None, "", [[0, 1], [5, 6]]))
    assert meant.state.tolist() == [2, 2, 0, 0, 0, 2, 2, 0] and meant.segments() == [(0, 2), (5, 7)]
    assert np.isfinite(meant.quads).all((1, 2)).tolist() == (meant.state > 0).tolist() and (track.state == 2).all()
    assert np.cumsum(meant.starts)[[0, 1, 5, 6]].tolist() == [1, 1, 2, 2]
    assert where_meant(track, ChosenPerson(None)) is track


def test_one_face_is_given_to_whom_it_is_more_like():
    def followed(identity):
        """What is known of somebody followed in a frame."""
        recognition = SimpleNamespace(identity=np.asarray(identity, float), embedding=lambda *_: np.array([1.0, 0.0]))
        return SimpleNamespace(recognition=recognition, place=SimpleNamespace(face=None, abandon=Mock()))

    points = np.random.default_rng(0).uniform(20, 60, (68, 2)).astype(np.float32)
    points[36:42], points[42:48], points[[48, 54]] = (30, 30), (50, 30), ((33, 52), (47, 52))
    likely, unlikely, far = (Record(followed(identity)) for identity in ([1, 0], [0.6, 0.8], [0, 1]))
    for record, shift in ((unlikely, 0), (likely, 1), (far, 60)):
        record.points, record.scores, record.starts, record.occluded = [points + shift], [0.9], [True], [False]
    several._settle(np.zeros((200, 200, 3), np.uint8), [unlikely, likely, far], 0)
    assert [np.isfinite(record.points[0]).all() for record in (likely, unlikely, far)] == [True, False, True]
    assert unlikely.occluded == [True] and [record.follower.place.abandon.call_count for record in (likely, unlikely, far)] == [0, 1, 0]


def test_others_are_known_from_the_first_frame_and_never_forgotten():
    own, sister, other = np.eye(3)[0], np.array([0.6, 0.8, 0.0]), np.eye(3)[2]
    others = Others(0.4, [sister])
    assert others.claim(np.stack([sister, own]), own).tolist() == [True, False] and not Others(0.4).claim(sister[None], own)[0]
    for n in range(40):
        others.keep([], other[None], n)
    assert others.claim(sister[None], own)[0] and len(others.vectors) == MOST + 1


def test_what_a_survey_has_seen_is_not_searched_or_embedded_again(finder, monkeypatch):
    made = draw_people(36, [(ANNA, lambda n: (90.0 + n / 2, True)), (BERT, lambda n: (390.0, True))])
    survey = find_people(made, finder.detector, finder.landmarker, finder.embed, finder.same_person, total=36, rate=24)
    assert survey.samples.tolist()[:3] == [0, 4, 8] and len(survey.face_samples.at(4)) == 2 and survey.face_samples.at(5) is None
    vectors = np.stack([person.embedding for person in survey.people])
    without = track_people(made, finder, vectors)
    searched, measured = [], []
    monkeypatch.setattr(
        type(finder.detector), "_detect_at", counted(type(finder.detector)._detect_at, lambda: searched.append(len(searched)))
    )
    monkeypatch.setattr(several, "SceneCuts", lambda: lambda rgb: measured.append(rgb))
    embedded = counted(finder.embed, lambda: pytest.fail("embedded again"))
    tracks = track_people(made, replace(finder, embed=embedded), vectors, face_samples=survey.face_samples)
    assert not measured and len(searched) < 36 / 2
    for track, usual in zip(tracks, without):
        np.testing.assert_array_equal(track.state, usual.state)
        assert np.abs(track.quads - usual.quads).max() < 0.02 * SIZE


def test_a_face_not_searched_for_is_there_only_between_two_that_are_found(finder):
    """Who is gone behind something is gone, and not before, however the frames fall."""
    for gone in (13, 14, 15):
        anna, bert = (lambda n: (150.0, True)), (lambda n, gone=gone: (340.0, True) if n < gone else None)
        tracks = follow_all(finder, 30, [(ANNA, anna), (BERT, bert)])
        assert (tracks[ANNA].state != MISSING).all()
        assert np.flatnonzero(tracks[BERT].state != MISSING).max() == gone - 1


def test_a_lost_face_is_searched_for_in_the_frames_that_were_passed_over(finder):
    rgb = {n: frame.rgb for n, frame in enumerate(draw_people(2, [(ANNA, lambda n: (150.0, True) if n == 0 else None)]))}
    (face,) = finder.detector.detect(rgb[0])
    for shown, kept in (((0, 0), [True, True]), ((0, 1), [True, False]), ((1, 1), [False, False]), ((1, 0), [True, True])):
        record = Record(None)
        record.points, record.scores = [np.zeros((68, 2), np.float32)] * 2, [0.9] * 2
        record.starts, record.occluded = [False] * 2, [False] * 2
        several._search_again(record, [several.Unsearched(n, rgb[one], face) for n, one in enumerate(shown)], finder.detector, False)
        assert [np.isfinite(points).all() for points in record.points] == kept and not any(record.occluded)
