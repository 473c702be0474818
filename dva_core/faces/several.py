"""Several known people followed through a video in one pass, in which each frame is searched once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from dva_core.faces.align import quad_from_landmarks, side
from dva_core.faces.finder import FaceFinder
from dva_core.faces.follower import LOOK_AROUND, Follower
from dva_core.faces.landmarker import plausible
from dva_core.faces.scene import SceneCuts
from dva_core.faces.search import detect_in, distance, overlap, window_around
from dva_core.faces.segments import MISSING, FaceTrack, bounds
from dva_core.faces.select import unit
from dva_core.faces.track import Record
from dva_core.faces.types import Box, Face, extent

ALIKE = 1.5  # times the size: faces that are searched for at one resolution
DEARER = 1.3  # times the area of the windows: what a window for all of them may have
SAME_FACE = 0.3  # sides of the square between two faces that are one


def track_people(
    frames: Iterable,
    finder: FaceFinder,
    vectors: np.ndarray,
    people: Sequence[int] | None = None,
    *,
    max_gap: int = 12,
    progress: Callable[[int], None] | None = None,
) -> list[FaceTrack]:
    """Follow people through `frames`, objects with `.rgb` uint8 [H, W, 3], read once in order; a track each, perhaps without any frame.

    vectors [n, D]: identity vectors of all people known to be in the video; nobody is taken for another one of them.
    people: which of them to follow, as row numbers; None: all. Other arguments, and how each is followed, as of `track_faces` with a
    reference. Where two are found in one place, it is the one who is more like it.
    """
    vectors = unit(np.asarray(vectors, np.float64))
    people = range(len(vectors)) if people is None else people
    shared, embed = _SharedDetector(finder.detector), _Remembered(finder.embed)
    landmarker = _SharedLandmarker(finder.landmarker) if hasattr(finder.landmarker, "look_again") else finder.landmarker
    records = []
    for row in people:
        choice, others = ("reference", vectors[row], embed), np.delete(vectors, row, 0)
        records.append(Record(Follower(shared, landmarker, choice, max_gap, embed, finder.same_person, others)))
    scene, cuts = SceneCuts(), []
    for n, frame in enumerate(frames):
        change = scene(frame.rgb)
        if change >= 1:
            cuts.append(n)
        followed = [record.follower for record in records if record.follower.place.following and change < 1]
        embed.forget()
        shared.begin(frame.rgb, [follower.place.face.box for follower in followed])
        if isinstance(landmarker, _SharedLandmarker):
            landmarker.begin(frame.rgb, [follower.place.landmarks for follower in followed], mirrored=n % 2 == 1)
        # who is in sight goes first: the faces that they have need not be looked at for those who are not
        for record in sorted(records, key=lambda record: not record.follower.place.following):
            shared.lost = not record.follower.place.following or change >= 1
            observation = record.follower.step(frame.rgb, change, look_around=n % LOOK_AROUND == 0)
            record.add(observation)
            if observation.face is not None:
                shared.held.append(observation.face.box)
        _settle(frame.rgb, records, n)
        _trust_those_apart([record.follower for record in records if np.isfinite(record.points[n]).all()])
        if progress is not None:
            progress(n + 1)
    tracks = [record.track(max_gap, cuts) for record in records]
    there = np.stack([track.state != MISSING for track in tracks])
    for i, track in enumerate(tracks):  # those who were excluded from what a lost one looked at are others all the same
        others = np.flatnonzero(np.delete(there, i, 0).any(0))
        tracks[i] = replace(track, others=tuple(sorted({*track.others, *others.tolist()})))
    return tracks


def _settle(rgb: np.ndarray, records: Sequence[Record], n: int) -> None:
    """Where two followers have one face in frame `n`, take it from the one who is less like it."""
    there = [record for record in records if np.isfinite(record.points[n]).all()]
    quads = [quad_from_landmarks(record.points[n]) for record in there]
    for i in range(len(there)):
        for j in range(i):
            a, b = there[i], there[j]
            if not (np.isfinite(a.points[n]).all() and np.isfinite(b.points[n]).all()):
                continue
            if np.linalg.norm(quads[i].mean(0) - quads[j].mean(0)) > SAME_FACE * min(side(quads[i]), side(quads[j])):
                continue
            vector = a.follower.person.embedding(rgb, a.follower.place.face, a.points[n])
            loser = a if vector @ a.follower.person.identity < vector @ b.follower.person.identity else b
            loser.forget(n)
            loser.follower.place.abandon()


def _trust_those_apart(followers: Sequence[Follower]) -> None:
    """Spare those a doubt who are close to nobody but others that are followed too, and too far from them to be taken for them next."""
    for follower in followers:
        own, others = follower.place.face, [other.place.face for other in followers if other is not follower]
        apart = all(distance(own, face) > max(extent(own.box), extent(face.box)) for face in others)
        if apart and follower.neighbours.count <= len(others):
            follower.neighbours.trust()


class _SharedDetector:
    """A detector for several followers. `held`: boxes of the faces of this frame that were found; who is `lost` does not see those."""

    def __init__(self, detector) -> None:
        self.detector = detector
        self.begin(np.empty((0, 0, 3), np.uint8), [])

    def begin(self, rgb: np.ndarray, boxes: Sequence[Box]) -> None:
        """Take the next frame; `boxes` are the last places of all who are followed."""
        self.rgb, self.boxes = rgb, list(boxes)
        self.held: list[Box] = []
        self.lost = False
        self._all: list[Face] | None = None
        self._near: dict[Box, list[Face]] = {}

    def detect(self, rgb: np.ndarray) -> list[Face]:
        if rgb is not self.rgb:  # a part of the frame, or one that was turned
            return self.detector.detect(rgb)
        if self._all is None:
            self._all = self.detector.detect(rgb)
        return self._free(self._all)

    def detect_sized(self, rgb: np.ndarray, extent: float) -> list[Face]:
        sized = getattr(self.detector, "detect_sized", None)
        return self.detector.detect(rgb) if sized is None else sized(rgb, extent)

    def around(self, rgb: np.ndarray, box: Box) -> list[Face]:
        """Faces in the window around a last place."""
        if box not in self._near:
            group = [other for other in {*self.boxes, box} if extent(other) < ALIKE * extent(box) and extent(box) < ALIKE * extent(other)]
            for one, faces in self._look(rgb, group).items():
                self._near.setdefault(one, faces)
        return self._free(self._near[box])

    def _look(self, rgb: np.ndarray, boxes: list[Box]) -> dict[Box, list[Face]]:
        """Search the windows around boxes of about one size: in one piece, unless that is much more than the windows."""
        windows = {box: window_around(box, rgb.shape) for box in boxes}
        x0, y0, x1, y1 = np.array(list(windows.values())).T
        whole = int(x0.min()), int(y0.min()), int(x1.max()), int(y1.max())
        smallest = min(map(extent, boxes))
        if len(boxes) > 1 and (whole[2] - whole[0]) * (whole[3] - whole[1]) > DEARER * float(((x1 - x0) * (y1 - y0)).sum()):
            return {box: self._in(rgb, window, extent(box)) for box, window in windows.items()}
        faces = self._in(rgb, whole, smallest)
        return {box: [face for face in faces if _within(face, window)] for box, window in windows.items()}

    def _in(self, rgb: np.ndarray, window: tuple[int, int, int, int], size: float) -> list[Face]:
        return detect_in(lambda part: self.detect_sized(part, size), rgb, window)

    def _free(self, faces: list[Face]) -> list[Face]:
        if not self.lost:
            return list(faces)
        return [face for face in faces if not any(overlap(face.box, box) > 0.3 for box in self.held)]


def _within(face: Face, window: tuple[int, int, int, int]) -> bool:
    (x, y), (x0, y0, x1, y1) = face.centre, window
    return x0 <= x <= x1 and y0 <= y <= y1


class _SharedLandmarker:
    """A CropLandmarker for several followers: those whose faces were in the frame before are looked at together."""

    def __init__(self, landmarker) -> None:
        self.landmarker, self.doubt = landmarker, landmarker.doubt
        self._before: list[np.ndarray] = []
        self._found: dict[int, np.ndarray] = {}

    def begin(self, rgb: np.ndarray, before: Sequence[np.ndarray], mirrored: bool) -> None:
        """Take the next frame and the landmarks of the previous one."""
        self._before = list(before)  # their ids stay theirs
        found = self.landmarker.look_again(rgb, before, mirrored) if before else []
        self._found = {id(points): new for points, new in zip(before, found)}

    def __call__(self, rgb: np.ndarray, face: Face) -> np.ndarray:
        """Find the points of any face; one of those who are followed has been looked at."""
        known = (new for new, before in zip(self._found.values(), self._before) if self.landmarker.moved_little(new, before))
        at_hand = next((points for points in known if plausible(points, face.box) and overlap(bounds(points).box, face.box) > 0.3), None)
        return self.landmarker(rgb, face) if at_hand is None else at_hand.astype(np.float32)

    def follow(self, rgb: np.ndarray, face: Face, before: np.ndarray) -> np.ndarray:
        points = self._found.get(id(before))
        if points is None:
            return self.landmarker.follow(rgb, face, before)
        return points.astype(np.float32) if self.landmarker.moved_little(points, before) else self.landmarker(rgb, face)


class _Remembered:
    """Identity vectors of crops, computed once a frame however many followers look at a face."""

    def __init__(self, embed: Callable[[np.ndarray], np.ndarray]) -> None:
        self.embed = embed
        self.vectors: dict[bytes, np.ndarray] = {}

    def forget(self) -> None:
        self.vectors.clear()

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        keys = [crop.tobytes() for crop in crops]
        new = {key: i for i, key in enumerate(keys) if key not in self.vectors}
        if new:
            self.vectors |= dict(zip(new, self.embed(np.stack([crops[i] for i in new.values()]))))
        return np.stack([self.vectors[key] for key in keys])
