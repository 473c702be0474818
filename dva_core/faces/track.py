"""One face followed through a clip: detection, association, short gaps filled, long ones left alone; one pass, bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import cv2
import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.align import smooth_squares
from dva_core.faces.landmarker import plausible
from dva_core.faces.select import SAME_PERSON, Select, at_position, check_select, embed_faces, is_at, largest, unit
from dva_core.faces.types import Face, extent

log = logging.getLogger(__name__)

MISSING, INTERPOLATED, FOUND = 0, 1, 2
LOOK_AROUND = 12  # every so many frames the whole frame is searched, to know of other faces
CONFIRMED = 5  # found frames in a row after which a face is trusted to be the one
EARLY = 120  # frames of the first scene in which the choice of a face may still turn out wrong
FAR_LARGER = 2.0  # times the area of the followed face: what then takes its place where the largest is meant
SHORTEST = 3  # found frames below which a segment is taken for a false alarm


@dataclass(frozen=True)
class FaceTrack:
    """One face through N frames; points in frame pixels from the top-left corner of the frame.

    landmarks [N, 68, 2] float32 and quads [N, 4, 2] float64, smoothed, nan where missing; state [N] uint8: 0 missing, 1 interpolated,
    2 found; scores [N] float32 of the detector, 0 where not found; starts [N] bool: the first frame of a segment.
    """

    landmarks: np.ndarray
    state: np.ndarray
    quads: np.ndarray
    scores: np.ndarray
    starts: np.ndarray
    scene_cuts: tuple[int, ...] = ()
    other_faces_seen: int = 0

    def segments(self) -> list[tuple[int, int]]:
        """Unbroken stretches [start, stop) with the face; a cut, a jump or a long gap ends one. Nothing is smoothed across them."""
        return _segments(self.state, self.starts)

    def report(self) -> dict[str, int]:
        """Counts: frames, found, interpolated, missing, segments, scene_cuts, other_faces_seen (most others in one frame)."""
        count = np.bincount(self.state, minlength=3)
        return {
            "frames": len(self.state),
            "found": int(count[FOUND]),
            "interpolated": int(count[INTERPOLATED]),
            "missing": int(count[MISSING]),
            "segments": len(self.segments()),
            "scene_cuts": len(self.scene_cuts),
            "other_faces_seen": self.other_faces_seen,
        }


def track_faces(
    frames: Iterable,
    detector,
    landmarker: Callable[[np.ndarray, Face], np.ndarray],
    *,
    select: Select = "largest",
    max_gap: int = 12,
    embed_fn: Callable[[np.ndarray], np.ndarray] | None = None,
    same_person: float = SAME_PERSON,
    progress: Callable[[int], None] | None = None,
) -> FaceTrack:
    """Follow one face through `frames`, objects with `.rgb` uint8 [H, W, 3], read once in order.

    detector.detect(rgb) -> list[Face]; landmarker(rgb, face) -> [68, 2] frame pixels. Where they have `detect_sized` or `follow`
    (see FaceDetector, CropLandmarker), a face is followed with these.
    select: "largest"; ("position", x, y), fractions 0..1 of width and height; ("reference", embedding [D], embed_fn).
    embed_fn: aligned crops uint8 [B, 256, 256, 3] -> identity vectors [B, D]. With it a face that comes back after a cut or a long
    absence, or that changes from one frame to the next, must be the same person (cosine >= same_person); without it the rule of `select`
    decides anew. Early in the clip the rule is held against every face that appears: where one is far larger than the one followed, or is
    at the position that the one followed is not at, it is followed instead, and what was found before is dropped.
    Up to max_gap frames without the face are interpolated if it comes back near and no scene cut lies between.
    progress(frames done) may raise to cancel. DVAError for a bad `select`, or where nobody matches the reference.
    """
    check_select(select)
    follower = _Follower(detector, landmarker, select, max_gap, embed_fn, same_person)
    scene = SceneCuts()
    points, scores, starts, cuts = [], [], [], []
    for n, frame in enumerate(frames):
        change = scene(frame.rgb)
        if change >= 1:
            cuts.append(n)
        face, landmarks, begins = follower.step(frame.rgb, change, look_around=n % LOOK_AROUND == 0)
        if follower.mistaken:
            points, scores, starts = [np.full((68, 2), np.nan, np.float32)] * n, [0.0] * n, [False] * n
        points.append(np.full((68, 2), np.nan, np.float32) if landmarks is None else np.asarray(landmarks, np.float32))
        scores.append(0.0 if face is None else face.score)
        starts.append(begins)
        if progress is not None:
            progress(n + 1)
    track = _assemble(points, scores, starts, max_gap, tuple(cuts), follower.most_others)
    report = track.report()
    log.info("face track: %s", report)
    if select[0] == "reference" and not report["found"]:
        raise DVAError(
            f"No face in the clip matches the reference picture (best similarity {follower.best_similarity:.2f}, "
            f"{same_person:.2f} needed): use a clearer picture of the person, or select the face by position."
        )
    if report["missing"] > report["found"] and report["other_faces_seen"]:
        log.warning("the followed face is missing in %d of %d frames while others are there", report["missing"], report["frames"])
    return track


class SceneCuts:
    """How strongly a frame differs from the one before: 1 or more is a scene cut.

    The mean difference of 32x32 thumbnails against CUT grey levels or, where everything moves, four times its running mean.
    """

    CUT = 14.0

    def __init__(self):
        self.before: np.ndarray | None = None
        self.usual = 0.0

    def __call__(self, rgb: np.ndarray) -> float:
        now = self.seen(rgb)
        change = self.change(now)
        self.keep(now)
        return change

    @staticmethod
    def seen(rgb: np.ndarray) -> np.ndarray:
        """The thumbnail of a picture."""
        return cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)

    def change(self, now: np.ndarray) -> float:
        """How strongly a thumbnail differs from the one kept last; 0 where there is none."""
        return 0.0 if self.before is None else self._difference(now) / max(self.CUT, 4 * self.usual)

    def keep(self, now: np.ndarray) -> None:
        """The thumbnail that the next one is held against."""
        if self.before is not None:
            self.usual += 0.2 * (min(self._difference(now), self.CUT) - self.usual)
        self.before = now

    def _difference(self, now: np.ndarray) -> float:
        return float(np.abs(now - self.before).mean())


class _Follower:
    """The face being followed: where it was last, who it is, and how long ago it was seen."""

    def __init__(self, detector, landmarker, select, max_gap, embed_fn, same_person):
        self.detector, self.landmarker, self.select, self.max_gap, self.same_person = detector, landmarker, select, max_gap, same_person
        self.follow = getattr(landmarker, "follow", lambda rgb, face, before: landmarker(rgb, face))
        self.identity: np.ndarray | None = None
        self.embed_fn = embed_fn
        if select[0] == "reference":
            self.identity, self.embed_fn = unit(np.asarray(select[1], np.float64)), select[2]
        self.last: Face | None = None
        self.landmarks: np.ndarray | None = None  # of `last`
        self.gap = self.run = 0  # frames since the face was seen; frames seen in this segment
        self.look = SceneCuts()  # of the face's box
        self.followed = 0  # frames since the first choice
        self.first_choice = True  # there was one scene and one choice so far
        self.mistaken = False  # the face of all frames before this one was the wrong one
        self.alone = True  # no other face seen in this scene
        self.most_others = 0
        self.best_similarity = -1.0

    def step(self, rgb: np.ndarray, change: float, look_around: bool) -> tuple[Face | None, np.ndarray | None, bool]:
        """The face in the next frame, its 68 points, and whether a segment begins there."""
        self.mistaken = False
        if change >= 1:
            self.last, self.alone = None, True
        self.first_choice &= change < 1 or not self.followed
        face, landmarks, begins = self._find(rgb, change, look_around)
        if face is not None:
            seen = self.look.seen(inside(rgb, face.box))
            if not begins and self.look.change(seen) >= 1:
                begins = self.identity is None
                face = face if begins or self._is_known(rgb, face, landmarks) else None
        self.first_choice &= not (begins and self.followed)
        self.followed += bool(self.followed or face)
        if face is None:
            self.gap += 1
            return None, None, False
        self.look.keep(seen)
        self.run = 1 if begins else self.run + 1
        self.last, self.landmarks, self.gap = face, landmarks, 0
        if self.identity is None and self.embed_fn is not None and self.run >= CONFIRMED:
            self.identity = embed_faces(rgb, [face], lambda *_: landmarks, self.embed_fn)[0]
        return face, landmarks, begins

    def _find(self, rgb: np.ndarray, change: float, look_around: bool) -> tuple[Face | None, np.ndarray | None, bool]:
        if self.last is not None and self.gap == 0 and not look_around:
            face = self._near(rgb, detect_around(self.detector, rgb, self.last.box))
            landmarks = self._landmarks(rgb, face, self.landmarks)
            if landmarks is not None:
                return face, landmarks, self._jumped(face, change)
        faces = self.detector.detect(rgb)
        face = self._near(rgb, faces) if self.last is not None and self.gap <= self.max_gap else None
        if self._chose_wrongly(rgb, faces, face):
            face, self.mistaken = None, True
            self.last, self.followed = None, 0
            if self.select[0] != "reference":
                self.identity = None
        begins = face is None
        if begins and self._may_choose(faces):
            face = self._choose(rgb, faces)
        self._note_others(faces, face)
        landmarks = self._landmarks(rgb, face)
        if landmarks is None:
            return None, None, False
        return face, landmarks, begins or self._jumped(face, change)

    def _landmarks(self, rgb: np.ndarray, face: Face | None, before: np.ndarray | None = None) -> np.ndarray | None:
        if face is None:
            return None
        landmarks = self.landmarker(rgb, face) if before is None else self.follow(rgb, face, before)
        return landmarks if plausible(landmarks, face.box) else None

    def _near(self, rgb: np.ndarray, faces: list[Face]) -> Face | None:
        """The face that continues the track: near the last place and about as large; the identity decides between two."""
        candidates = [face for face in faces if continues(self.last, face, self.gap)]
        if len(candidates) > 1 and self.identity is not None and self.embed_fn is not None:
            return candidates[int(np.argmax(self._similarities(rgb, candidates)))]
        return max(candidates, key=lambda face: (overlap(face.box, self.last.box), -distance(face, self.last)), default=None)

    def _may_choose(self, faces: list[Face]) -> bool:
        """A new choice is due: no place to look at, the face long gone, or a jump that cannot be mistaken for somebody else."""
        certain = self.identity is not None or (self.alone and len(faces) == 1)
        return bool(faces) and (self.last is None or self.gap > self.max_gap or certain)

    def _chose_wrongly(self, rgb: np.ndarray, faces: list[Face], face: Face | None) -> bool:
        """Early on: one of the faces is what the rule means, plainly more so than the one that is followed."""
        if face is None or not self.first_choice or self.followed > EARLY:
            return False
        certain = [other for other in faces if other.score > face.score - 0.1]  # no false alarm
        if self.select[0] == "position":
            at = self.select[1:]
            return not is_at(face, *at, rgb.shape) and any(is_at(other, *at, rgb.shape) for other in certain)
        return self.select == "largest" and largest(certain).area > FAR_LARGER * face.area

    def _is_known(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray) -> bool:
        if self.embed_fn is None:
            return True
        cosine = embed_faces(rgb, [face], lambda *_: landmarks, self.embed_fn)[0] @ self.identity
        return bool(cosine >= self.same_person)

    def _choose(self, rgb: np.ndarray, faces: list[Face]) -> Face | None:
        if self.identity is not None and self.embed_fn is not None:
            cosines = self._similarities(rgb, faces)
            best = int(np.argmax(cosines))
            self.best_similarity = max(self.best_similarity, float(cosines[best]))
            return faces[best] if cosines[best] >= self.same_person else None
        if self.select[0] == "position":
            return at_position(faces, self.select[1], self.select[2], rgb.shape)
        return largest(faces)

    def _similarities(self, rgb: np.ndarray, faces: list[Face]) -> np.ndarray:
        return embed_faces(rgb, faces, self.landmarker, self.embed_fn) @ self.identity

    def _jumped(self, face: Face, change: float) -> bool:
        """A jump cut: the picture changes notably and the face leaps by a quarter of its size within one frame."""
        return self.gap == 0 and change > 0.33 and distance(face, self.last) > 0.25 * extent(self.last.box)

    def _note_others(self, faces: list[Face], face: Face | None) -> None:
        others = len(faces) if face is None else sum(overlap(other.box, face.box) < 0.3 for other in faces)
        self.alone &= others == 0 or face is None
        self.most_others = max(self.most_others, others)


def inside(rgb: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The part of a frame in a box, at least a pixel."""
    height, width = rgb.shape[:2]
    x0, y0 = (int(np.clip(v, 0, size - 1)) for v, size in zip(box[:2], (width, height)))
    x1, y1 = (int(np.clip(np.ceil(v), low + 1, size)) for v, low, size in zip(box[2:], (x0, y0), (width, height)))
    return rgb[y0:y1, x0:x1]


def distance(a: Face, b: Face) -> float:
    """Pixels between the centres of two faces."""
    return float(np.hypot(a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]))


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def continues(last: Face, face: Face, gap: int) -> bool:
    """Whether `face` can be `last`, gap frames later: within 0.6 to 1.2 of its size, and 0.6 to 1.67 as large."""
    reach = min(0.6 + 0.1 * gap, 1.2) * extent(last.box)
    return distance(face, last) < reach and 0.6 < extent(face.box) / max(extent(last.box), 1e-6) < 1 / 0.6


def detect_around(detector, rgb: np.ndarray, box: tuple[float, float, float, float]) -> list[Face]:
    """Faces in a window three times as large as the box, in pixels of the whole frame.

    A detector may have `detect_sized(rgb, extent)`, which is quicker where the size of the face is known.
    """
    sized = getattr(detector, "detect_sized", None)
    find = detector.detect if sized is None else partial(sized, extent=extent(box))
    height, width = rgb.shape[:2]
    cx, cy, reach = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.5 * extent(box)
    x0, y0 = max(0, int(cx - reach)), max(0, int(cy - reach))
    x1, y1 = min(width, int(np.ceil(cx + reach))), min(height, int(np.ceil(cy + reach)))
    if (x1 - x0) * (y1 - y0) > 0.6 * width * height or x1 - x0 < 16 or y1 - y0 < 16:
        return find(rgb)
    offset = np.array([x0, y0])
    found = find(np.ascontiguousarray(rgb[y0:y1, x0:x1]))
    return [
        Face(
            (face.box[0] + x0, face.box[1] + y0, face.box[2] + x0, face.box[3] + y0),
            face.score,
            None if face.points5 is None else np.asarray(face.points5) + offset,
        )
        for face in found
    ]


def _segments(state: np.ndarray, starts: np.ndarray) -> list[tuple[int, int]]:
    there = state != MISSING
    first = there & (starts | ~np.concatenate([[False], there[:-1]]))
    last = there & np.concatenate([~there[1:] | first[1:], [True]])
    return [(int(a), int(b) + 1) for a, b in zip(np.flatnonzero(first), np.flatnonzero(last), strict=True)]


def _assemble(points: list, scores: list, starts: list, max_gap: int, cuts: tuple[int, ...], others: int) -> FaceTrack:
    """Fill the short gaps, drop false alarms, smooth the squares segment by segment."""
    landmarks = np.stack(points) if points else np.empty((0, 68, 2), np.float32)
    begins = np.array(starts, bool)
    state = np.where(np.isfinite(landmarks).all((1, 2)), FOUND, MISSING).astype(np.uint8)
    found = np.flatnonzero(state == FOUND)
    for a, b in pairwise(found):
        if 1 < b - a <= max_gap + 1 and not begins[b]:
            share = (np.arange(a + 1, b) - a)[:, None, None] / (b - a)
            landmarks[a + 1 : b] = (1 - share) * landmarks[a] + share * landmarks[b]
            state[a + 1 : b] = INTERPOLATED
    runs = {run: int((state[slice(*run)] == FOUND).sum()) for run in _segments(state, begins)}
    for (a, b), length in runs.items():
        if length < min(SHORTEST, max(runs.values())):
            state[a:b], landmarks[a:b] = MISSING, np.nan
    quads = np.full((len(landmarks), 4, 2), np.nan)
    for a, b in _segments(state, begins):
        quads[a:b] = smooth_squares(landmarks[a:b])
    scores_kept = np.where(state == FOUND, np.array(scores, np.float32), np.float32(0))
    return FaceTrack(landmarks, state, quads, scores_kept, begins & (state != MISSING), cuts, others)
