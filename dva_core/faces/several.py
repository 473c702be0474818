"""Several known people followed through a video in one pass; each frame is searched once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dva_core.faces.align import quad_from_landmarks, side
from dva_core.faces.finder import FaceFinder
from dva_core.faces.follower import CONFIRMED, LONGEST_LOOK, LOOK_AROUND, UPRIGHT, Follower
from dva_core.faces.samples import FaceSamples
from dva_core.faces.scene import SceneCuts
from dva_core.faces.search import continues, detect_around, distance
from dva_core.faces.segments import MISSING, FaceTrack
from dva_core.faces.select import unit
from dva_core.faces.shared import RememberedVectors, SharedDetector, SharedLandmarker
from dva_core.faces.track import Record
from dva_core.faces.types import Face, extent

CALM = 0.33  # change of the picture up to which a followed face is not searched for in every frame
QUIET = 2  # largest number of consecutive frames without a search
NEAR = 1.5  # distance of two faces, in sizes, from which they are not near
SAME_FACE = 0.3  # distance of two faces, in sides of the square, up to which they are one


class Unsearched(NamedTuple):
    """A frame in which a face was not searched for, and the face there according to its landmarks."""

    number: int
    rgb: np.ndarray
    face: Face


def track_people(
    frames: Iterable,
    finder: FaceFinder,
    vectors: np.ndarray,
    people: Sequence[int] | None = None,
    *,
    face_samples: FaceSamples | None = None,
    max_gap: int = 12,
    progress: Callable[[int], None] | None = None,
) -> list[FaceTrack]:
    """Follow people through `frames`, objects with `.rgb` uint8 [H, W, 3], read once in order; one track per person, which may be empty.

    vectors [n, D]: identity vectors of all people known to be in the video; nobody is taken for another one of them.
    people: which of them to follow, as row numbers; None: all. face_samples: of a survey of the same frames (Survey.face_samples), which
    need not be searched again. Other arguments, and the way each person is followed, as of `track_faces` with a reference. If two people
    are found in one place, the face is that of the more similar one. A face that is followed steadily, with no other face near, is searched
    for in every third frame, and its landmarks alone are found in between; if it is lost, the frames skipped are searched after all.
    """
    vectors = unit(np.asarray(vectors, np.float64))
    people = range(len(vectors)) if people is None else people
    shared, embed, landmarker = SharedDetector(finder.detector), RememberedVectors(finder.embed), SharedLandmarker(finder.landmarker)
    records = []
    for row in people:
        choice, others = ("reference", vectors[row], embed), np.delete(vectors, row, 0)
        records.append(Record(Follower(shared, landmarker, choice, max_gap, embed, finder.same_person, others)))
    scene, cuts, last_search = SceneCuts(), [], 0
    quiet: dict[int, list[Unsearched]] = {}  # by id of the record: the frames, up to the one before, without a search for its face
    for n, frame in enumerate(frames):
        change = scene.of(frame) if face_samples is None else face_samples.change(n)
        if change >= 1:
            cuts.append(n)
        samples = None if face_samples is None else face_samples.at(n)
        look_around = samples is not None or n - last_search >= (LOOK_AROUND if face_samples is None else LONGEST_LOOK) or n == 0
        last_search = n if look_around else last_search
        followed = [record.follower for record in records if record.follower.place.following and change < 1]
        embed.begin(frame.rgb, samples)
        landmarker.begin(frame.rgb, [follower.place.landmarks for follower in followed], samples)
        moved = {} if look_around else _moved(records, quiet, landmarker, change)
        shared.begin(
            frame.rgb, [follower.place.face.box for follower in followed], samples, {face.box: new for face, new in moved.values()}
        )
        before, quiet = quiet, {one: [*quiet.get(one, []), Unsearched(n, frame.rgb, new)] for one, (_, new) in moved.items()}
        # people in sight go first, so that their faces are not tried for those who are lost
        for record in sorted(records, key=lambda record: not record.follower.place.following):
            shared.lost = not record.follower.place.following or change >= 1
            observation = record.follower.step(frame.rgb, change, look_around)
            record.add(observation)
            if observation.face is not None:
                shared.held.append(observation.face.box)
            elif change < 1:
                _search_again(record, before.get(id(record), []), finder.detector, observation.occluded)
        _settle(frame.rgb, records, n)
        _trust_those_apart([record.follower for record in records if np.isfinite(record.points[n]).all()])
        if progress is not None:
            progress(n + 1)
    tracks = [record.track(max_gap, cuts) for record in records]
    there = np.stack([track.state != MISSING for track in tracks])
    for i, track in enumerate(tracks):  # faces that a lost follower did not get count among its others too
        others = np.flatnonzero(np.delete(there, i, 0).any(0))
        tracks[i] = replace(track, others=tuple(sorted({*track.others, *others.tolist()})))
    return tracks


def _moved(
    records: Sequence[Record], quiet: Mapping[int, Sequence], landmarker: SharedLandmarker, change: float
) -> dict[int, tuple[Face, Face]]:
    """Faces that need no search in this frame, by id of the record: the face in the previous frame, and moved to its place in this one."""
    last = [record.follower.place.face for record in records if record.follower.place.face is not None]
    moved = {}
    for record in records:
        follower = record.follower
        if change > CALM or not follower.place.following or follower.run < CONFIRMED or len(quiet.get(id(record), ())) >= QUIET:
            continue
        own = follower.place.face
        near = any(face is not own and distance(own, face) < NEAR * max(extent(own.box), extent(face.box)) for face in last)
        if not near and abs(follower.place.roll()) <= UPRIGHT and (face := landmarker.moved(own, follower.place.landmarks)) is not None:
            moved[id(record)] = own, face
    return moved


def _search_again(record: Record, frames: Sequence[Unsearched], detector, occluded: bool) -> None:
    """After a face was lost, search for it in the previous frames that were not searched, and forget it where it is not found."""
    for past in reversed(frames):
        if any(continues(past.face, face, 0) for face in detect_around(detector, past.rgb, past.face.box)):
            return
        record.forget(past.number)
        record.occluded[past.number] = occluded


def _settle(rgb: np.ndarray, records: Sequence[Record], n: int) -> None:
    """If two followers have the same face in frame `n`, take it from the one whose identity is less similar."""
    there = [record for record in records if np.isfinite(record.points[n]).all()]
    quads = [quad_from_landmarks(record.points[n]) for record in there]
    for i in range(len(there)):
        for j in range(i):
            a, b = there[i], there[j]
            if not (np.isfinite(a.points[n]).all() and np.isfinite(b.points[n]).all()):
                continue
            if np.linalg.norm(quads[i].mean(0) - quads[j].mean(0)) > SAME_FACE * min(side(quads[i]), side(quads[j])):
                continue
            vector = a.follower.recognition.embedding(rgb, a.follower.place.face, a.points[n])
            loser = a if vector @ a.follower.recognition.identity < vector @ b.follower.recognition.identity else b
            loser.forget(n)
            loser.follower.place.abandon()


def _trust_those_apart(followers: Sequence[Follower]) -> None:
    """Skip the identity check of faces whose only neighbours are followed too, and too far away to be confused with them next."""
    for follower in followers:
        own, others = follower.place.face, [other.place.face for other in followers if other is not follower]
        apart = all(distance(own, face) > max(extent(own.box), extent(face.box)) for face in others)
        if apart and follower.neighbours.count <= len(others):
            follower.neighbours.trust()
