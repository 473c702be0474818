"""One face followed from frame to frame: its place, its identity, the check of the choice, and the other faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dva_core.faces.first_choice import FirstChoice
from dva_core.faces.landmarker import CheckedLandmarker
from dva_core.faces.neighbours import Neighbours
from dva_core.faces.place import Place
from dva_core.faces.recognition import Recognition
from dva_core.faces.search import continues, detect_around, detect_turned, distance, overlap
from dva_core.faces.select import FaceChoice
from dva_core.faces.turned_search import TurnedSearch
from dva_core.faces.types import Face

LOOK_AROUND = 12  # frames between two searches of the whole frame, for other faces
LONGEST_LOOK = 16  # the same if a survey has searched some of the frames
CONFIRMED = 5  # frames in a row with the face after which it is trusted to be the one
UPRIGHT = 25.0  # rotation in degrees up to which a detector works as for an upright face


class Observation(NamedTuple):
    """The face in one frame: `face` and `landmarks`, None if it is missing.

    begins     a segment begins here
    mistaken   the face of all earlier frames was the wrong one
    occluded   there are other faces, and something else is in the place of the missing face
    wrong      number of frames just before this one that show another person
    others     number of other faces in the frame
    """

    face: Face | None = None
    landmarks: np.ndarray | None = None  # [68, 2], frame pixels
    begins: bool = False
    mistaken: bool = False
    occluded: bool = False
    wrong: int = 0
    others: int = 0


class Follower:
    """Follows one face through frames passed to `step` in order. others: identity vectors [n, D] of people known to be someone else."""

    def __init__(
        self,
        detector,
        landmarker: Callable,
        choice: FaceChoice,
        max_gap: int,
        embed_fn: Callable | None,
        same_person: float,
        others: Sequence[np.ndarray] = (),
    ) -> None:
        self.detector, self.landmarker = detector, CheckedLandmarker(landmarker)
        self.place = Place(max_gap)
        self.recognition = Recognition(choice, landmarker, embed_fn, same_person, others)
        self.choice = FirstChoice(choice)
        self.neighbours = Neighbours()
        self.turned_search = TurnedSearch(detector, self.landmarker)
        self.run = 0  # frames seen in this segment
        self.vector: np.ndarray | None = None  # identity vector of the face that the last segment began with
        self.mistaken = False  # the first choice turned out wrong in this frame

    def step(self, rgb: np.ndarray, change: float, look_around: bool) -> Observation:
        """Find the face in the next frame uint8 [H, W, 3]; `change` is its difference from the frame before (1: a cut)."""
        self.mistaken = False
        self.neighbours.begin()
        if change >= 1:
            self._cut()
        self.turned_search.begin()
        face, landmarks, begins = self._find(rgb, change, look_around)
        occluded, wrong = face is not None and not begins and self._is_somebody_else(rgb, face, landmarks, look_around), 0
        if occluded:
            face, wrong = None, self._lose_track()
        if face is not None and not begins and self.place.looks_different(rgb, landmarks):  # another face in the same place
            begins = self.recognition.identity is None
            face = face if begins or self.recognition.recognises(rgb, face, landmarks) else None
        self.choice.count(face is not None, begins)
        if face is None:
            # a face that turned out to be somebody else's counts as another face
            self.neighbours.count += landmarks is not None and not self.neighbours.alone
            occluded = occluded or self._is_occluded(rgb)
            self.place.miss()
            return Observation(mistaken=self.mistaken, occluded=occluded, wrong=wrong, others=self.neighbours.count)
        self._accept(rgb, face, landmarks, begins)
        return Observation(face, landmarks, begins, self.mistaken, others=self.neighbours.count)

    # -- what a frame changes --------------------------------------------------------------------------------

    def _cut(self) -> None:
        self.place.abandon()
        self.neighbours.cut()
        self.turned_search.cut()
        self.choice.cut()

    def _accept(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray, begins: bool) -> None:
        """Record that the face is in this frame."""
        self.place.follow(rgb, face, landmarks)
        self.neighbours.elsewhere = False
        self.choice.confirm(face, rgb.shape)
        self.run = 1 if begins else self.run + 1
        self.recognition.unverified += 1
        if begins:
            self.recognition.unverified, self.vector = 1, self.recognition.embedding(rgb, face, landmarks)
        if self.run >= CONFIRMED:
            self.recognition.learn(rgb, face, landmarks)

    def _lose_track(self) -> int:
        """Drop a face that turned out to be somebody else's, and its place; returns the number of earlier frames that may be wrong too."""
        wrong, self.recognition.unverified = 0 if self.place.gap else min(self.recognition.unverified, LOOK_AROUND), 0
        if wrong > 0:
            self.place.abandon()
        return wrong

    def _start_over(self) -> None:
        """Discard the face followed so far, which was not the chosen one."""
        self.mistaken = True
        self.place.abandon()
        self.choice.reset()
        self.recognition.reset()

    # -- where the face is in a frame ------------------------------------------------------------------------

    def _find(self, rgb: np.ndarray, change: float, look_around: bool) -> tuple[Face | None, np.ndarray | None, bool]:
        """Find the face, its landmarks and whether a segment begins: around its last place, in the whole frame, or in turned frames."""
        roll = self.place.roll()
        if self.place.following and not look_around:
            face, landmarks = self._around(rgb, roll)
            if landmarks is not None:
                return face, landmarks, self.place.jumps(face, change)
        faces = self.neighbours.faces = detect_turned(self.detector.detect, rgb, round(roll / 90) % 4)
        face = None if self.place.searching else self._near(rgb, faces)
        if self.choice.is_wrong(faces, face, rgb.shape):
            face = None
            self._start_over()
        tilted = not self.place.searching and abs(roll) > UPRIGHT  # between two quarter turns
        too_small = face is None and self.place.following and look_around  # for a search of the whole frame
        if tilted or too_small:
            face, landmarks = self._around(rgb, roll)
            if landmarks is not None:
                self._note_others(rgb, faces, face)
                return face, landmarks, self.place.jumps(face, change)
        begins = face is None
        if begins:
            face = self._choose(rgb, faces)
        self._note_others(rgb, faces, face)
        landmarks = self.landmarker(rgb, face)
        if begins or self.turned_search.in_doubt:
            better = self.turned_search.improve(rgb, face, landmarks, begins, lambda candidates: self._choose(rgb, candidates))
            if better is not None:
                if not begins and self.choice.is_open:
                    self._start_over()
                return *better, True
        if landmarks is None:
            return None, None, False
        return face, landmarks, begins or self.place.jumps(face, change)

    def _around(self, rgb: np.ndarray, roll: float) -> tuple[Face | None, np.ndarray | None]:
        """Find the face around its last place, and its landmarks if it is there."""
        if self.place.following:
            self.landmarker.expect(rgb, self.place.landmarks)
        faces = detect_around(self.detector, rgb, self.place.face.box, roll if abs(roll) > UPRIGHT else 0.0)
        face = self._near(rgb, faces)
        if face is not None and len(faces) > 1:
            self._note_others(rgb, faces, face)
        return face, self.landmarker(rgb, face, self.place.landmarks if self.place.following else None)

    def _near(self, rgb: np.ndarray, faces: list[Face]) -> Face | None:
        """Choose the face that continues the track: near the last place and of similar size; of several by identity."""
        last = self.place.face
        candidates = [face for face in faces if continues(last, face, self.place.gap)]
        if len(candidates) > 1 and self.recognition.is_known:
            return self.recognition.most_similar(rgb, candidates)
        return max(candidates, key=lambda face: (overlap(face.box, last.box), -distance(face, last)), default=None)

    def _choose(self, rgb: np.ndarray, faces: list[Face]) -> Face | None:
        """Choose a face anew if there is no last place, or if the face may have jumped and cannot be confused with another."""
        certain = self.recognition.identity is not None or (self.neighbours.alone and len(faces) == 1)
        if not faces or not (self.place.searching or certain):
            return None
        return self.recognition.find(rgb, faces) if self.recognition.is_known else self.choice.pick(faces, rgb.shape)

    # -- who it is -------------------------------------------------------------------------------------------

    def _is_somebody_else(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray, look_around: bool) -> bool:
        """Tell whether the face that continues the track is another person's; checked only if there is a reason for doubt."""
        if not self.recognition.is_known:
            return False
        if self.neighbours.elsewhere:  # then there is a gap
            return not self.recognition.recognises(rgb, face, landmarks)
        doubtful = look_around or self.place.gap or self.neighbours.need_a_check
        return bool(doubtful and self.recognition.knows_others) and self.recognition.mistakes(rgb, face, landmarks)

    def _is_occluded(self, rgb: np.ndarray) -> bool:
        """Tell, while the face is lost and there are other faces, whether its last place looks different now."""
        if self.place.searching or (self.neighbours.alone and not self.neighbours.faces):
            return False
        self.neighbours.note_elsewhere(self.place.face)
        return self.place.looks_different(rgb)

    def _note_others(self, rgb: np.ndarray, faces: list[Face], face: Face | None) -> None:
        """Record the faces beside the one followed, and their identities."""
        others = self.neighbours.note(faces, face)
        if face is not None and not self.place.searching:
            self.neighbours.note_distance(others, face)
            self.recognition.note_others(rgb, others, self.neighbours.frame)
