"""Survey of a video: all faces in some of its frames, grouped as numbered people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dva_core.faces.align import crop_axes, crop_face, quad_from_landmarks, side
from dva_core.faces.identities import Group, Sight, join_turned, link, merge
from dva_core.faces.landmarker import plausible
from dva_core.faces.samples import FaceSample, FaceSampler, FaceSamples
from dva_core.faces.scene import SceneCuts
from dva_core.faces.search import detect_turned
from dva_core.faces.select import EMBED_SIZE, unit
from dva_core.faces.types import Face, extent

SECONDS = 0.5  # between two samples
FEWEST, MOST = 8, 2000  # samples of a video of known length; those at cuts come on top
PORTRAIT = 128  # side of a portrait, in pixels
SMALLEST = 12  # pixels of the longer side of a face that can be told from others
SAME_PLACE = 0.35  # distance of two centres, in sides of the larger square, up to which they are one face detected twice
SURE = 0.8  # least score of a face that is found in one sample only
GROUPS = 512  # most groups kept while a video is read; beyond, they are merged and the smallest are dropped
DOUBT, SURER = 0.015, 0.6  # see turned_search.py: landmarks of a face that is turned
TURNS = (1, 3, 2)  # quarters
TRIES = 8  # samples without a face after which turned frames are searched less often
Found = tuple[Face, np.ndarray, float]  # with landmarks float32 [68, 2] and the doubt about them


@dataclass(frozen=True)
class Person:
    """One person of a survey; number 1 is seen most, weighted by the size of the face.

    frames [n] are the sampled frames in which the face was found, boxes [n, 4] float32 x0, y0, x1, y1 in pixels of the frame, scores [n]
    of the detector. spans: [first, last] frame of each stretch, a sample standing for all frames up to the next; share: of all frames.
    size: median of the longer side of the box, in pixels. shots: numbers, from 1, of the shots with the person. embedding [D]: unit length.
    portrait uint8 [P, P, 3] RGB: the aligned face, from frame portrait_frame.
    """

    number: int
    frames: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    spans: list[list[int]]
    share: float
    size: float
    shots: tuple[int, ...]
    embedding: np.ndarray
    portrait: np.ndarray
    portrait_frame: int

    def to_dict(self) -> dict[str, Any]:
        """All but the embedding and the portrait, for JSON."""
        return {
            "number": self.number,
            "share": round(self.share, 4),
            "size": round(self.size, 1),
            "spans": self.spans,
            "shots": list(self.shots),
            "portrait_frame": self.portrait_frame,
            "frames": self.frames.tolist(),
            "boxes": [[round(float(v), 1) for v in box] for box in self.boxes],
        }


@dataclass(frozen=True)
class Survey:
    """The people of a video by number, the sampled frames, and the shots as (first, last) frame.

    busiest: the sampled frame in which most people are seen; 0 without any. frames: how many the video has. face_samples: all faces.
    """

    people: tuple[Person, ...]
    samples: np.ndarray
    shots: tuple[tuple[int, int], ...]
    frames: int
    busiest: int = 0
    width: int = 0
    height: int = 0
    face_samples: FaceSamples | None = None

    def __len__(self) -> int:
        return len(self.people)

    def to_dict(self) -> dict[str, Any]:
        """The survey for JSON, without embeddings and portraits."""
        return {
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
            "busiest": self.busiest,
            "samples": self.samples.tolist(),
            "shots": [list(shot) for shot in self.shots],
            "people": [person.to_dict() for person in self.people],
        }


def find_people(
    frames: Iterable,
    detector,
    landmarker: Callable[[np.ndarray, Face], np.ndarray],
    embed_fn: Callable[[np.ndarray], np.ndarray],
    same_person: float,
    *,
    rate: float = 25.0,
    total: int = 0,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[int, np.ndarray], None] | None = None,
) -> Survey:
    """Survey `frames`, objects with `.rgb` uint8 [H, W, 3], read once in order: the people, and when and where each is seen.

    Samples are two frames a second, and the first one after every cut. detector, landmarker, embed_fn, same_person: as of track_faces
    (fields of a FaceFinder). rate: frames a second; total: expected number of frames, 0 if unknown. progress(frames done) may raise to
    cancel; watch(frame number, rgb) is called with every sample. Memory holds one frame and a few hundred portraits.
    Faces belong to one person if their identity vectors are similar (cosine >= same_person) and they are never in the same frame.
    """
    surveyor = _Surveyor(detector, landmarker, embed_fn, same_person)
    scene, step, due, size, n = SceneCuts(), sample_step(rate, total), 0, (0, 0), -1
    for n, frame in enumerate(frames):
        surveyor.sampler.changes.append(scene.of(frame))
        cut = surveyor.sampler.changes[-1] >= 1
        if cut:
            surveyor.cuts.append(n)
        if cut or n >= due:
            surveyor.sample(n, frame.rgb)
            due, size = n + step, frame.rgb.shape[1::-1]
            if watch is not None:
                watch(n, frame.rgb)
            if not total and len(surveyor.samples) % MOST == 0:
                step *= 2
        if progress is not None:
            progress(n + 1)
    return surveyor.result(n + 1, size)


def sample_step(rate: float, total: int = 0) -> int:
    """Frames from one sample to the next."""
    step = max(1, round(rate * SECONDS))
    return max(min(step, max(1, total // FEWEST)), -(-total // MOST)) if total else step


class _Surveyor:
    """Groups of sights, collected while a video is read."""

    def __init__(self, detector, landmarker: Callable, embed_fn: Callable, same_person: float) -> None:
        self.detect = getattr(detector, "detect_every_size", detector.detect)
        self.landmarker, self.embed_fn, self.same_person = landmarker, embed_fn, same_person
        self.find_landmarks = getattr(landmarker, "look", None)
        self.sampler = FaceSampler()
        self.samples = self.sampler.samples
        self.cuts: list[int] = []
        self.groups: list[Group] = []
        self.last: list[Group] = []  # those seen in the last sample
        self.shot = 0
        self.empty = 0  # samples in a row without a face

    def sample(self, n: int, rgb: np.ndarray) -> None:
        """Sample frame `n`, the first of a shot if `cuts` says so."""
        number = len(self.samples)
        if self.shot != len(self.cuts):
            self.shot, self.last = len(self.cuts), []
        faces = self._faces(rgb)
        sights = [Sight(number, self.shot, face, _frontal(landmarks)) for face, landmarks, _ in faces]
        new = [Group(sight, *about) for sight, about in zip(sights, self._describe(rgb, faces, sights))]
        self.sampler.add(n, [FaceSample(face, landmarks, group.total) for (face, landmarks, _), group in zip(faces, new)])
        link(self.last, new, self.same_person)
        fresh = [group for group in new if group.sights]
        self.groups += fresh
        self.last = [group for group in self.last if group.sights[-1].sample == number] + fresh
        if len(self.groups) > GROUPS:
            self._thin_out()

    def _faces(self, rgb: np.ndarray) -> list[Found]:
        """Find the faces of a frame; in the frame turned by quarters if the landmarks there are clearly more certain."""
        faces = self._with_landmarks(rgb, self.detect(rgb))
        self.empty = 0 if faces else self.empty + 1
        if self.find_landmarks is None or (not faces and self.empty > TRIES and self.empty % TRIES):
            return faces
        least = min((doubt for *_, doubt in faces), default=np.inf)
        if least < DOUBT:  # one upright face is enough
            return faces
        limit = min(DOUBT, SURER * least)
        for turns in TURNS:
            turned = self._with_landmarks(rgb, detect_turned(self.detect, rgb, turns))
            if turned and (doubt := min(doubt for *_, doubt in turned)) < limit:
                faces, limit, self.empty = turned, doubt, 0
        return faces

    def _with_landmarks(self, rgb: np.ndarray, faces: list[Face]) -> list[Found]:
        """Faces with their landmarks, best score first; duplicate detections of one face are removed."""
        faces = [face for face in sorted(faces, key=lambda face: -face.score) if extent(face.box) >= SMALLEST]
        if self.find_landmarks is None:
            points, doubts = [self.landmarker(rgb, face) for face in faces], [0.0] * len(faces)
        else:
            points, doubts = self.find_landmarks(rgb, faces)
        found, quads = [], []
        for face, landmarks, doubt in zip(faces, points, doubts):
            if not plausible(landmarks, face.box):
                continue
            quad = quad_from_landmarks(landmarks)
            if all(np.linalg.norm(quad.mean(0) - other.mean(0)) > SAME_PLACE * max(side(quad), side(other)) for other in quads):
                found.append((face, np.asarray(landmarks, np.float32), doubt))
                quads.append(quad)
        return found

    def _describe(self, rgb: np.ndarray, faces: list[Found], sights: list[Sight]) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Identity vector, portrait and its quality of each face."""
        if not faces:
            return []
        quads = [quad_from_landmarks(landmarks) for _, landmarks, _ in faces]
        vectors = unit(np.asarray(self.embed_fn(np.stack([crop_face(rgb, quad, EMBED_SIZE) for quad in quads])), np.float64))
        return [
            (vector, crop_face(rgb, quad, PORTRAIT), sight.face.score * min(1.0, side(quad) / PORTRAIT) * max(0.1, sight.frontal))
            for vector, quad, sight in zip(vectors, quads, sights)
        ]

    def _thin_out(self) -> None:
        ended = [group for group in self.groups if all(group is not other for other in self.last)]
        merged = sorted(merge(join_turned(ended, self.same_person), self.same_person), key=_rank)[: GROUPS // 2]
        self.groups = merged + self.last

    def result(self, frames: int, size: tuple[int, int]) -> Survey:
        groups = merge(join_turned(self.groups, self.same_person), self.same_person)
        if len(self.samples) > 3:
            groups = [group for group in groups if len(group.sights) > 1 or group.sights[0].face.score >= SURE]
        samples = np.array(self.samples, np.int64)
        ends = np.append(samples, frames)[1:]
        stands_for = ends - samples  # frames
        groups.sort(key=lambda group: _rank(group, stands_for))
        people = tuple(self._person(number, group, samples, ends) for number, group in enumerate(groups, 1))
        counts = np.zeros((len(samples), 2))
        for group in groups:
            for sight in group.sights:
                counts[sight.sample] += 1, extent(sight.face.box)
        busiest = int(samples[max(range(len(samples)), key=lambda k: (*counts[k], -k))]) if self.samples else 0
        shots = tuple(zip([0, *self.cuts], [*(cut - 1 for cut in self.cuts), frames - 1])) if frames else ()
        return Survey(people, samples, shots, frames, busiest, *size, face_samples=self.sampler.done())

    def _person(self, number: int, group: Group, samples: np.ndarray, ends: np.ndarray) -> Person:
        rows = np.array([sight.sample for sight in group.sights])
        boxes = np.array([sight.face.box for sight in group.sights], np.float32)
        spans: list[list[int]] = []
        for sample in rows:
            if spans and spans[-1][1] == samples[sample] - 1:
                spans[-1][1] = int(ends[sample]) - 1
            else:
                spans.append([int(samples[sample]), int(ends[sample]) - 1])
        return Person(
            number,
            samples[rows],
            boxes,
            np.array([sight.face.score for sight in group.sights], np.float32),
            spans,
            sum(last - first + 1 for first, last in spans) / int(ends[-1]),
            float(np.median((boxes[:, 2:] - boxes[:, :2]).max(1))),
            tuple(sorted({sight.shot + 1 for sight in group.sights})),
            group.vector.astype(np.float32),
            group.portrait,
            int(samples[group.portrait_sample]),
        )


def _rank(group: Group, stands_for: np.ndarray | None = None) -> tuple[float, int, float]:
    """Sort key: frames times size, descending; then first appearance, then position from the left."""
    first = group.sights[0]
    seen = sum(extent(sight.face.box) * (1 if stands_for is None else int(stands_for[sight.sample])) for sight in group.sights)
    return -seen, first.sample, first.face.box[0]


def _frontal(landmarks: np.ndarray) -> float:
    """1 for a frontal face, less with the distance of the tip of the nose from the middle of its square, at least 0."""
    centre, x, _ = crop_axes(landmarks)
    return float(max(0.0, 1 - 5 * abs((landmarks[30] - centre) @ x) / (x @ x)))
