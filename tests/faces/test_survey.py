"""Who is in a video: people made of real ones are found, told apart, recognised and numbered by the starter's own networks."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import need_shared
from made_people import ANNA, BERT, Frame, draw_people

from dva_core.faces import people
from dva_core.faces.finder import FaceFinder
from dva_core.faces.people import MOST, Survey, find_people, sample_step
from dva_core.faces.types import Face
from dva_core.video import open_video

CARL = "swiz3n"


def survey(finder: FaceFinder, frames: list[Frame], **options) -> Survey:
    return find_people(frames, finder.detector, finder.landmarker, finder.embed, finder.same_person, total=len(frames), **options)


def centres(person) -> np.ndarray:
    return (person.boxes[:, 0] + person.boxes[:, 2]) / 2


def still(x: float):
    return lambda n: (x, True)


def test_three_people_side_by_side(finder):
    found = survey(finder, draw_people(60, [(ANNA, still(80.0)), (CARL, still(240.0)), (BERT, still(400.0))]))
    assert [person.number for person in found.people] == [1, 2, 3]
    assert sorted(round(centres(person).mean() / 80) for person in found.people) == [1, 3, 5]
    assert all(np.ptp(centres(person)) < 20 and person.spans == [[0, 59]] and person.share == 1 for person in found.people)
    assert all(person.portrait.shape == (128, 128, 3) and np.isclose(np.linalg.norm(person.embedding), 1) for person in found.people)
    assert found.shots == ((0, 59),) and (found.width, found.height) == (480, 240)


def test_numbers_do_not_change_from_one_look_to_the_next(finder):
    frames = draw_people(40, [(ANNA, still(120.0)), (BERT, still(330.0))])
    one, other = survey(finder, frames), survey(finder, frames)
    assert [person.to_dict() for person in one.people] == [person.to_dict() for person in other.people]


def test_two_who_cross_stay_themselves(finder):
    found = survey(finder, draw_people(75, [(ANNA, lambda n: (120 + 3.0 * n, True)), (BERT, lambda n: (360 - 3.0 * n, True))]))
    assert len(found.people) == 2
    for person in found.people:
        steps = np.diff(centres(person)) / np.diff(person.frames)
        assert (np.abs(np.abs(steps) - 3) < 1).all() and len(set(np.sign(steps))) == 1


def test_who_leaves_and_returns_is_the_same_person(finder):
    found = survey(finder, draw_people(120, [(ANNA, lambda n: None if 36 <= n < 72 else (120.0, True)), (BERT, still(330.0))]))
    first, second = found.people
    assert abs(centres(first).mean() - 330) < 12 and first.spans == [[0, 119]]
    assert abs(centres(second).mean() - 120) < 12 and second.spans == [[0, 35], [72, 119]] and second.share == 0.7


def test_another_in_the_same_place_is_another_person(finder):
    """The two whom the identity network takes for each other most, one after the other where the first was."""
    found = survey(
        finder,
        draw_people(120, [(ANNA, lambda n: (200.0, True) if n < 70 else None), (BERT, lambda n: (200.0, True) if n >= 72 else None)]),
    )
    assert [person.spans for person in found.people] == [[[0, 71]], [[72, 119]]]


def test_over_cuts_people_are_recognised(finder):
    """Anna, Carl, Anna from the other side, nobody."""
    parts = [
        draw_people(n, people) for n, people in ((50, [(ANNA, still(150.0))]), (25, [(CARL, still(300.0))]), (30, [(ANNA, still(340.0))]))
    ]
    for part, shift in zip(parts, (0, 70, 140)):  # each in a light of its own
        for frame in part:
            frame.rgb = np.clip(frame.rgb.astype(int) + (shift - 70) // 3, 0, 255).astype(np.uint8)
    nobody = [Frame(0, np.full((240, 480, 3), 20, np.uint8))] * 10
    found = survey(finder, [*parts[0], *parts[1], *parts[2], *nobody])
    assert found.shots == ((0, 49), (50, 74), (75, 104), (105, 114))
    assert [(person.spans, person.shots) for person in found.people] == [([[0, 49], [75, 104]], (1, 3)), ([[50, 74]], (2,))]
    assert not {50, 75, 105} - set(found.samples.tolist())


def test_real_video_upright_and_lying(finder):
    with open_video(need_shared(f"data/clips/{CARL}.mpg")) as reader:
        frames = [Frame(frame.index, frame.rgb) for frame in reader][:30]
    lying = [Frame(frame.index, np.ascontiguousarray(np.rot90(frame.rgb))) for frame in frames]
    (up,), (turned,) = survey(finder, frames).people, survey(finder, lying).people
    assert up.share == turned.share == 1 and float(up.embedding @ turned.embedding) > finder.same_person


def test_the_frame_with_most_people(finder):
    found = survey(finder, draw_people(75, [(ANNA, still(120.0)), (BERT, lambda n: (330.0, True) if 30 <= n < 50 else None)]))
    assert 30 <= found.busiest < 50 and len(found.people) == 2


def test_nobody_and_no_frames(finder):
    empty = survey(finder, [Frame(n, np.full((90, 160, 3), 80, np.uint8)) for n in range(20)])
    assert empty.people == () and empty.frames == 20 and empty.shots == ((0, 19),)
    none = survey(finder, [])
    assert none.people == () and none.shots == () and none.frames == 0


def test_progress_cancels_and_watch_sees_the_samples(finder):
    frames, seen = draw_people(30, [(ANNA, still(200.0))]), []

    def stop(done: int) -> None:
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey(finder, frames, progress=stop, watch=lambda n, rgb: seen.append((n, rgb is frames[n].rgb)))
    assert seen == [(0, True), (3, True), (6, True), (9, True), (12, True)][: len(seen)] and len(seen) >= 4


@pytest.mark.parametrize(("rate", "total"), [(25, 0), (25, 10), (25, 75), (30, 1000), (24, 10**6), (0.1, 50), (1000, 0)])
def test_sample_step(rate, total):
    step = sample_step(rate, total)
    assert step >= 1 and (not total or total / step <= MOST)
    if 20 * rate < total < 500 * rate:
        assert step == round(rate / 2)


class Passers:
    """A detector for frames whose first pixels name the people in them: one stays, strangers pass by for one frame each."""

    def detect(self, rgb: np.ndarray) -> list[Face]:
        return [self.face(40.0 + 60 * place, place) for place, who in enumerate(rgb[0, :3, 0]) if who]

    def face(self, x: float, place: int) -> Face:
        points = np.array([[x + 12, 60], [x + 28, 60], [x + 20, 70], [x + 13, 80], [x + 27, 80]], float)
        return Face((x, 45.0, x + 40, 95.0), 0.9 - 0.01 * place, points)

    def landmarks(self, rgb: np.ndarray, face: Face) -> np.ndarray:
        points = np.tile(np.asarray(face.centre), (68, 1))
        points[36:42], points[42:48], points[48], points[54], points[30] = face.points5[[0, 1, 3, 4, 2]]
        return points


def test_in_a_crowd_that_passes_who_stays_is_kept(monkeypatch):
    """Far more strangers than groups are kept: the one who is always there stays whole, and memory bounded."""
    monkeypatch.setattr(people, "GROUPS", 24)
    vectors, seen, most = np.random.default_rng(3).standard_normal((250, 64)), [], []
    passers = Passers()

    def embed(crops: np.ndarray) -> np.ndarray:
        return vectors[seen[-1]]

    def frames():
        for n in range(90):
            seen.append([1, 2 + n, 120 + n][: 2 + n % 2])
            rgb = np.zeros((120, 240, 3), np.uint8)
            rgb[0, : len(seen[-1]), 0] = seen[-1]
            yield Frame(n, rgb)

    def note(surveyor, *_):
        most.append(len(surveyor.groups))

    thin_out = people._Surveyor._thin_out
    monkeypatch.setattr(people._Surveyor, "_thin_out", lambda self: (note(self), thin_out(self)))
    found = find_people(frames(), passers, passers.landmarks, embed, 0.85, rate=2)
    assert most and max(most) <= 24 + 3
    assert found.people[0].frames.tolist() == list(range(90)) and found.people[0].embedding @ vectors[1] > 0.99 * np.linalg.norm(vectors[1])
    assert len(found.people) <= 24 + 3 and all(len(person.frames) == 1 for person in found.people[1:])
