"""One face followed through a clip: detection, association, short gaps filled, long ones left alone; one pass, bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.landmarker import plausible
from dva_core.faces.scene import SceneCuts, face_thumbnail
from dva_core.faces.search import continues, detect_around, detect_turned, distance, overlap, roll
from dva_core.faces.segments import FOUND, INTERPOLATED, MISSING, FaceTrack, assemble
from dva_core.faces.select import SAME_PERSON, FaceChoice, at_position, check_choice, embed_faces, is_at, largest, unit
from dva_core.faces.types import Face, extent

__all__ = ["FOUND", "INTERPOLATED", "MISSING", "SAME_PERSON", "FaceTrack", "SceneCuts", "track_faces"]

log = logging.getLogger(__name__)

LOOK_AROUND = 12  # every so many frames the whole frame is searched, to know of other faces
CONFIRMED = 5  # found frames in a row after which a face is trusted to be the one
EARLY = 120  # frames of the first scene in which the choice of a face may still turn out wrong
FAR_LARGER = 2.0  # times the area of the followed face: what then takes its place where the largest is meant
UPRIGHT = 25.0  # degrees up to which a detector finds a face turned as well as one upright
DOUBT = 0.01  # of the square's side: landmarks that differ so much from those of the mirror image may be of a face that is turned
TURNS = (1, 3, 2, 0.5, 3.5, 1.5, 2.5)  # quarters by which a frame is turned to look for a face
SURE = 0.015  # landmarks of a turned face must differ less than this
SURER = 0.6  # times the doubt: a turned face must be so much surer to be taken instead


def track_faces(
    frames: Iterable,
    detector,
    landmarker: Callable[[np.ndarray, Face], np.ndarray],
    *,
    choice: FaceChoice = "largest",
    max_gap: int = 12,
    embed_fn: Callable[[np.ndarray], np.ndarray] | None = None,
    same_person: float = SAME_PERSON,
    progress: Callable[[int], None] | None = None,
) -> FaceTrack:
    """Follow one face through `frames`, objects with `.rgb` uint8 [H, W, 3], read once in order.

    detector.detect(rgb) -> list[Face]; landmarker(rgb, face) -> [68, 2] frame pixels. Where they have `detect_sized` or `follow`
    (see FaceDetector, CropLandmarker), a face is followed with these; with `doubt`, a head that lies or hangs is told from an upright one.
    choice: "largest"; ("position", x, y), fractions 0..1 of width and height; ("reference", embedding [D], embed_fn).
    embed_fn: aligned crops uint8 [B, 256, 256, 3] -> identity vectors [B, D]. With it a face that comes back after a cut or a long
    absence, or that changes from one frame to the next, must be the same person (cosine >= same_person); without it the rule of `choice`
    decides anew. Early in the clip the rule is held against every face that appears: where one is far larger than the one followed, or is
    at the position that the one followed is not at, it is followed instead, and what was found before is dropped.
    Up to max_gap frames without the face are interpolated if it comes back near and no scene cut lies between.
    progress(frames done) may raise to cancel. DVAError for a bad `choice`, or where nobody matches the reference.
    """
    check_choice(choice)
    follower = _Follower(detector, landmarker, choice, max_gap, embed_fn, same_person)
    scene = SceneCuts()
    points, scores, starts, cuts, vectors = [], [], [], [], {}
    for n, frame in enumerate(frames):
        change = scene(frame.rgb)
        if change >= 1:
            cuts.append(n)
        face, landmarks, begins = follower.step(frame.rgb, change, look_around=n % LOOK_AROUND == 0)
        if follower.mistaken:
            points, scores, starts = [np.full((68, 2), np.nan, np.float32)] * n, [0.0] * n, [False] * n
            vectors.clear()
        points.append(np.full((68, 2), np.nan, np.float32) if landmarks is None else np.asarray(landmarks, np.float32))
        scores.append(0.0 if face is None else face.score)
        starts.append(begins)
        if begins and follower.vector is not None:
            vectors[n] = follower.vector
        if progress is not None:
            progress(n + 1)
    known = {} if follower.identity is None else {n: bool(v @ follower.identity >= same_person) for n, v in vectors.items()}
    track = assemble(points, scores, starts, max_gap, tuple(cuts), follower.most_others, known)
    report = track.report()
    log.info("face track: %s", report)
    if choice[0] == "reference" and not report["found"]:
        raise DVAError(
            f"No face in the clip matches the reference picture (best similarity {follower.best_similarity:.2f}, "
            f"{same_person:.2f} needed): use a clearer picture of the person, or select the face by position."
        )
    if report["missing"] > report["found"] and report["other_faces_seen"]:
        log.warning("the followed face is missing in %d of %d frames while others are there", report["missing"], report["frames"])
    return track


class _Follower:
    """The face being followed: where it was last, who it is, and how long ago it was seen."""

    def __init__(self, detector, landmarker, choice, max_gap, embed_fn, same_person):
        self.detector, self.landmarker, self.choice, self.max_gap, self.same_person = detector, landmarker, choice, max_gap, same_person
        self.follow = getattr(landmarker, "follow", lambda rgb, face, before: landmarker(rgb, face))
        self.doubt = getattr(landmarker, "doubt", None)
        self.identity: np.ndarray | None = None
        self.embed_fn = embed_fn
        if choice[0] == "reference":
            self.identity, self.embed_fn = unit(np.asarray(choice[1], np.float64)), choice[2]
        self.last: Face | None = None
        self.landmarks: np.ndarray | None = None  # of `last`
        self.gap = self.run = 0  # frames since the face was seen; frames seen in this segment
        self.look = SceneCuts()  # of the face itself
        self.vector: np.ndarray | None = None  # identity vector of the face that the last segment began with
        self.doubtful = False  # the landmarks of this segment's first frame may be those of a head that is turned
        self.untried = LOOK_AROUND  # frames since turned frames were searched
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
            self.last, self.alone, self.untried = None, True, LOOK_AROUND
        self.first_choice &= change < 1 or not self.followed
        face, landmarks, begins = self._find(rgb, change, look_around)
        if face is not None:
            seen = face_thumbnail(rgb, landmarks)
            if not begins and self.look.change(seen) >= 1:
                begins = self.identity is None
                face = face if begins or self._is_known(rgb, face, landmarks) else None
        self.first_choice &= not (begins and self.followed)
        self.followed += bool(self.followed or face)
        if face is None:
            self.gap += 1
            return None, None, False
        self.look.keep(seen)
        if begins:
            self.vector = None if self.embed_fn is None else embed_faces(rgb, [face], lambda *_: landmarks, self.embed_fn)[0]
        self.run = 1 if begins else self.run + 1
        self.last, self.landmarks, self.gap = face, landmarks, 0
        if self.identity is None and self.embed_fn is not None and self.run >= CONFIRMED:
            self.identity = embed_faces(rgb, [face], lambda *_: landmarks, self.embed_fn)[0]
        return face, landmarks, begins

    def _find(self, rgb: np.ndarray, change: float, look_around: bool) -> tuple[Face | None, np.ndarray | None, bool]:
        self.untried += 1
        there = self.last is not None and self.gap <= self.max_gap
        turned = roll(self.landmarks) if there else 0.0
        if there and self.gap == 0 and not look_around:
            face, landmarks = self._around(rgb, turned)
            if landmarks is not None:
                return face, landmarks, self._jumped(face, change)
        faces = detect_turned(self.detector.detect, rgb, round(turned / 90) % 4)
        face = self._near(rgb, faces) if there else None
        if self._chose_wrongly(rgb, faces, face):
            face, there = None, False
            self._start_over()
        if there and (abs(turned) > UPRIGHT or (face is None and self.gap == 0 and look_around)):
            # too small for a look at the whole frame, or between two quarter turns
            face, landmarks = self._around(rgb, turned)
            if landmarks is not None:
                self._note_others(faces, face)
                return face, landmarks, self._jumped(face, change)
        begins = face is None
        if begins and self._may_choose(faces):
            face = self._choose(rgb, faces)
        self._note_others(faces, face)
        landmarks = self._landmarks(rgb, face)
        if begins or self.doubtful:
            better = self._turned(rgb, face, landmarks, begins)
            if better is not None:
                if not begins and self.first_choice and self.followed <= EARLY:
                    self._start_over()
                return *better, True
        if landmarks is None:
            return None, None, False
        return face, landmarks, begins or self._jumped(face, change)

    def _around(self, rgb: np.ndarray, turned: float) -> tuple[Face | None, np.ndarray | None]:
        """The face around its last place, and its landmarks where it is there."""
        face = self._near(rgb, detect_around(self.detector, rgb, self.last.box, turned if abs(turned) > UPRIGHT else 0.0))
        return face, self._landmarks(rgb, face, self.landmarks if self.gap == 0 else None)

    def _turned(self, rgb: np.ndarray, face: Face | None, landmarks: np.ndarray | None, new: bool) -> tuple[Face, np.ndarray] | None:
        """The same face in the frame turned by quarters, else by eighths, or the rule's choice there where none is seen upright.

        None where its landmarks are not plainly surer. Frames without a face, and a face once looked at, are searched now and then only.
        """
        if self.doubt is None:
            return None
        least = np.inf if landmarks is None else self.doubt(rgb, landmarks)
        self.doubtful = least > DOUBT
        often = 0 if new and face is not None else LOOK_AROUND if new else 4 * LOOK_AROUND
        if not self.doubtful or self.untried < often:
            return None
        self.untried, best = 0, None
        limit = DOUBT if landmarks is None else min(SURER * least, SURE)
        for turns in TURNS:
            if best is not None and turns % 1:
                break
            faces = detect_turned(self.detector.detect, rgb, turns)
            if face is not None:
                faces = [other for other in faces if distance(other, face) < extent(face.box)]
                chosen = largest(faces) if faces else None
            else:
                chosen = self._choose(rgb, faces) if self._may_choose(faces) else None
            found = self._landmarks(rgb, chosen)
            if found is not None and (doubt := self.doubt(rgb, found)) < limit:
                limit, best = doubt, (chosen, found)
        self.doubtful &= best is None
        return best

    def _start_over(self) -> None:
        """The face followed so far was not the one that is meant."""
        self.mistaken, self.last, self.followed = True, None, 0
        if self.choice[0] != "reference":
            self.identity = None

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
        if self.choice[0] == "position":
            at = self.choice[1:]
            return not is_at(face, *at, rgb.shape) and any(is_at(other, *at, rgb.shape) for other in certain)
        return self.choice == "largest" and largest(certain).area > FAR_LARGER * face.area

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
        if self.choice[0] == "position":
            return at_position(faces, self.choice[1], self.choice[2], rgb.shape)
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
