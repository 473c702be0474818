"""The state machine behind track_faces: where one face is from frame to frame, and who it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import NamedTuple

import numpy as np

from dva_core.faces.landmarker import plausible
from dva_core.faces.others import Others
from dva_core.faces.scene import SceneCuts, face_thumbnail
from dva_core.faces.search import continues, detect_around, detect_turned, distance, overlap, roll
from dva_core.faces.select import FaceChoice, at_position, embed_faces, is_at, largest, unit
from dva_core.faces.types import Face, extent

LOOK_AROUND = 12  # every so many frames the whole frame is searched, to know of other faces
CONFIRMED = 5  # found frames in a row after which a face is trusted to be the one
EARLY = 120  # frames of the first scene in which the choice of a face may still turn out wrong
FAR_LARGER = 2.0  # times the area of the followed face: what then takes its place where the largest is meant
OFTEN = 3  # every so many frames a face is told from another one that is close
CLOSE = 12  # frames for which a face is told from another one that was close to it
UPRIGHT = 25.0  # degrees up to which a detector finds a face turned as well as one upright
DOUBT = 0.01  # of the square's side: landmarks that differ so much from those of the mirror image may be of a face that is turned
TURNS = (1, 3, 2, 0.5, 3.5, 1.5, 2.5)  # quarters by which a frame is turned to look for a face
SURE = 0.015  # landmarks of a turned face must differ less than this
SURER = 0.6  # times the doubt: a turned face must be so much surer to be taken instead


class State(Enum):
    """Where the face was last.

    SEARCHING -> FOLLOWING   a face was chosen
    FOLLOWING -> LOST        it is not in this frame
    LOST      -> FOLLOWING   it came back near its last place, or the person was recognised elsewhere
    LOST      -> SEARCHING   it stayed away for more than max_gap frames
    any       -> SEARCHING   the scene was cut, or the first choice was a mistake
    """

    SEARCHING = auto()  # no place to look at: the rule chooses among all faces
    FOLLOWING = auto()  # in the frame before
    LOST = auto()  # in one of the max_gap frames before: looked for where it was


class Sight(NamedTuple):
    """What one frame shows of the face: None where it is missing. `begins`: a segment begins here; `mistaken`: the face of all frames
    before was the wrong one; `taken`: others are there, and what is in the place of the missing face is not that face; `wrong`: how many
    frames before this one are not of that face either; `others`: how many other faces were seen."""

    face: Face | None = None
    landmarks: np.ndarray | None = None  # [68, 2], frame pixels
    begins: bool = False
    mistaken: bool = False
    taken: bool = False
    wrong: int = 0
    others: int = 0


class Follower:
    """One face followed through frames that are given to `step` in order. others: vectors [n, D] of people known not to be the one."""

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
        self.detector, self.landmarker, self.choice, self.max_gap, self.same_person = detector, landmarker, choice, max_gap, same_person
        self.follow = getattr(landmarker, "follow", lambda rgb, face, before: landmarker(rgb, face))
        self.doubt = getattr(landmarker, "doubt", None)
        # where the face is
        self.state, self.gap = State.SEARCHING, 0  # frames since it was seen
        self.last: Face | None = None
        self.landmarks: np.ndarray | None = None  # of `last`
        self.appearance = SceneCuts()  # of the face itself
        # who it is
        self.identity: np.ndarray | None = None
        self.embed_fn = embed_fn
        if choice[0] == "reference":
            self.identity, self.embed_fn = unit(np.asarray(choice[1], np.float64)), choice[2]
        self.vector: np.ndarray | None = None  # identity vector of the face that the last segment began with
        self.run = 0  # frames seen in this segment
        self.best_similarity = -1.0
        # whether the choice may have been a mistake
        self.followed = 0  # frames since the first choice
        self.first_choice = True  # there was one scene and one choice so far
        self.mistaken = False  # found out in this frame
        self.doubtful = False  # the landmarks of this segment's first frame may be those of a head that is turned
        self.untried = LOOK_AROUND  # frames since turned frames were searched
        self.was_there = False  # it was at the position that the rule names
        # the others
        self.alone = True  # no other face seen in this scene
        self.most_others = 0
        self.others = Others(same_person, others)
        self.number = -1  # of the frame
        self.since_close = CLOSE  # frames since another face was close to this one
        self.unsure = 0  # frames followed since it was last told from the others
        self.elsewhere = False  # a face was seen elsewhere since this one was lost
        self.there = 0  # other faces in this frame
        self.present: list[Face] = []  # the faces of the frame, where all of it was searched

    def step(self, rgb: np.ndarray, change: float, look_around: bool) -> Sight:
        """The face in the next frame uint8 [H, W, 3], which differs from the one before by `change` (1: a cut)."""
        self.mistaken, self.number, self.present, self.there = False, self.number + 1, [], 0
        self.since_close += 1
        if change >= 1:
            self._cut()
        face, landmarks, begins = self._find(rgb, change, look_around)
        taken, wrong = face is not None and not begins and self._is_somebody_else(rgb, face, landmarks, look_around), 0
        if taken:
            face, wrong = None, self._lose_track()
        if face is not None:
            thumbnail = face_thumbnail(rgb, landmarks)
            if not begins and self.appearance.change(thumbnail) >= 1:  # another face in the same place
                begins = self.identity is None
                face = face if begins or self._is_known(rgb, face, landmarks) else None
        self.first_choice &= not (begins and self.followed)
        self.followed += bool(self.followed or face)
        if face is None:
            self.there += landmarks is not None and not self.alone  # a face that was there, and turned out to be somebody else's
            taken = taken or self._is_taken(rgb)
            self._unseen()
            return Sight(mistaken=self.mistaken, taken=taken, wrong=wrong, others=self.there)
        self.appearance.keep(thumbnail)
        self._seen(rgb, face, landmarks, begins)
        return Sight(face, landmarks, begins, self.mistaken, others=self.there)

    def leave(self) -> None:
        """The face of this frame is somebody else's, who is followed too."""
        self.state = State.SEARCHING

    def trust(self) -> None:
        """Nobody is near for whom the face could be taken, whom nothing else tells apart."""
        self.since_close = CLOSE

    # -- the transitions -------------------------------------------------------------------------------------

    def _cut(self) -> None:
        self.state, self.alone, self.untried = State.SEARCHING, True, LOOK_AROUND
        self.since_close, self.elsewhere = CLOSE, False
        self.first_choice &= not self.followed

    def _seen(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray, begins: bool) -> None:
        self.state, self.last, self.landmarks, self.gap, self.elsewhere = State.FOLLOWING, face, landmarks, 0, False
        self.was_there |= self.choice[0] == "position" and is_at(face, *self.choice[1:], rgb.shape)
        self.run = 1 if begins else self.run + 1
        self.unsure += 1
        if begins:
            self.unsure, self.vector = 1, self.embedding(rgb, face, landmarks)
        if self.identity is None and self.embed_fn is not None and self.run >= CONFIRMED:
            self.identity = self.embedding(rgb, face, landmarks)

    def _unseen(self) -> None:
        self.gap += 1
        if self.state is not State.SEARCHING:
            self.state = State.LOST if self.gap <= self.max_gap else State.SEARCHING

    def _lose_track(self) -> int:
        """The face that is followed is somebody else's, perhaps for some frames: how many. If so, its last place says nothing."""
        wrong, self.unsure = 0 if self.gap else min(self.unsure, LOOK_AROUND), 0
        if wrong > 0:
            self.state = State.SEARCHING
        return wrong

    def _start_over(self) -> None:
        """The face followed so far was not the one that is meant."""
        self.state, self.mistaken, self.followed = State.SEARCHING, True, 0
        self.others = Others(self.same_person, self.others.known)
        if self.choice[0] != "reference":
            self.identity = None

    def _choice_is_open(self) -> bool:
        """Whether the first choice may still turn out wrong."""
        return self.first_choice and self.followed <= EARLY

    # -- one frame -------------------------------------------------------------------------------------------

    def _find(self, rgb: np.ndarray, change: float, look_around: bool) -> tuple[Face | None, np.ndarray | None, bool]:
        self.untried += 1
        turned = 0.0 if self.state is State.SEARCHING else roll(self.landmarks)
        if self.state is State.FOLLOWING and not look_around:
            face, landmarks = self._around(rgb, turned)
            if landmarks is not None:
                return face, landmarks, self._jumped(face, change)
        faces = self.present = detect_turned(self.detector.detect, rgb, round(turned / 90) % 4)
        face = None if self.state is State.SEARCHING else self._near(rgb, faces)
        if self._chose_wrongly(rgb, faces, face):
            face = None
            self._start_over()
        if self.state is not State.SEARCHING and (
            abs(turned) > UPRIGHT or (face is None and self.state is State.FOLLOWING and look_around)
        ):
            # too small for a look at the whole frame, or between two quarter turns
            face, landmarks = self._around(rgb, turned)
            if landmarks is not None:
                self._note_others(rgb, faces, face)
                return face, landmarks, self._jumped(face, change)
        begins = face is None
        if begins and self._may_choose(faces):
            face = self._choose(rgb, faces)
        self._note_others(rgb, faces, face)
        landmarks = self._landmarks(rgb, face)
        if begins or self.doubtful:
            better = self._turned(rgb, face, landmarks, begins)
            if better is not None:
                if not begins and self._choice_is_open():
                    self._start_over()
                return *better, True
        if landmarks is None:
            return None, None, False
        return face, landmarks, begins or self._jumped(face, change)

    def _around(self, rgb: np.ndarray, turned: float) -> tuple[Face | None, np.ndarray | None]:
        """The face around its last place, and its landmarks where it is there."""
        faces = detect_around(self.detector, rgb, self.last.box, turned if abs(turned) > UPRIGHT else 0.0)
        face = self._near(rgb, faces)
        if face is not None and len(faces) > 1:
            self._note_others(rgb, faces, face)
        return face, self._landmarks(rgb, face, self.landmarks if self.state is State.FOLLOWING else None)

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
                candidate = largest(faces) if faces else None
            else:
                candidate = self._choose(rgb, faces) if self._may_choose(faces) else None
            landmarks_turned = self._landmarks(rgb, candidate)
            if landmarks_turned is not None and (doubt := self.doubt(rgb, landmarks_turned)) < limit:
                limit, best = doubt, (candidate, landmarks_turned)
        self.doubtful &= best is None
        return best

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
        """A new choice is due: there is no place to look at, or the face has jumped and cannot be mistaken for somebody else's."""
        certain = self.identity is not None or (self.alone and len(faces) == 1)
        return bool(faces) and (self.state is State.SEARCHING or certain)

    def _chose_wrongly(self, rgb: np.ndarray, faces: list[Face], face: Face | None) -> bool:
        """Early on: one of the faces is what the rule means, plainly more so than the one that is followed."""
        if face is None or not self._choice_is_open():
            return False
        certain = [other for other in faces if other.score > face.score - 0.1]  # no false alarm
        if self.choice[0] == "position":
            at = self.choice[1:]
            return not (self.was_there or is_at(face, *at, rgb.shape)) and any(is_at(other, *at, rgb.shape) for other in certain)
        return self.choice == "largest" and largest(certain).area > FAR_LARGER * face.area

    def _is_known(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray) -> bool:
        if self.embed_fn is None:
            return True
        vector = self.embedding(rgb, face, landmarks)
        return bool(vector @ self.identity >= self.same_person and not self.others.claim(vector[None], self.identity)[0])

    def _is_somebody_else(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray, look_around: bool) -> bool:
        """Whether the face that lies where the track goes on is another person's; looked at where there is reason to doubt it."""
        if self.identity is None or self.embed_fn is None:
            return False
        if self.elsewhere:  # then there is a gap
            return not self._is_known(rgb, face, landmarks)
        close = self.since_close < CLOSE and self.number % OFTEN == 0
        if not self.others.vectors or not (look_around or self.gap or close):
            return False
        other = bool(self.others.claim(self.embedding(rgb, face, landmarks)[None], self.identity)[0])
        self.unsure = self.unsure if other else -1  # this frame comes on top
        return other

    def _is_taken(self, rgb: np.ndarray) -> bool:
        """While the face is lost and others are there: whether its place has become another picture."""
        if self.state is State.SEARCHING or (self.alone and not self.present):
            return False
        self.elsewhere |= any(overlap(face.box, self.last.box) == 0 for face in self.present)
        return self.appearance.change(face_thumbnail(rgb, self.landmarks)) >= 1

    def _choose(self, rgb: np.ndarray, faces: list[Face]) -> Face | None:
        if self.identity is not None and self.embed_fn is not None:
            vectors = embed_faces(rgb, faces, self.landmarker, self.embed_fn)
            cosines = vectors @ self.identity
            self.best_similarity = max(self.best_similarity, float(cosines.max()))
            cosines[self.others.claim(vectors, self.identity)] = -1
            best = int(np.argmax(cosines))
            return faces[best] if cosines[best] >= self.same_person else None
        if self.choice[0] == "position":
            return at_position(faces, self.choice[1], self.choice[2], rgb.shape)
        return largest(faces)

    def _similarities(self, rgb: np.ndarray, faces: list[Face]) -> np.ndarray:
        return embed_faces(rgb, faces, self.landmarker, self.embed_fn) @ self.identity

    def _jumped(self, face: Face, change: float) -> bool:
        """A jump cut: the picture changes notably and the face leaps by a quarter of its size within one frame."""
        return self.state is State.FOLLOWING and change > 0.33 and distance(face, self.last) > 0.25 * extent(self.last.box)

    def _note_others(self, rgb: np.ndarray, faces: list[Face], face: Face | None) -> None:
        others = faces if face is None else [other for other in faces if overlap(other.box, face.box) < 0.3]
        self.alone &= not others or face is None
        self.there = len(others)
        self.most_others = max(self.most_others, self.there)
        if face is None or self.state is State.SEARCHING:
            return
        if any(distance(other, face) < 2 * extent(face.box) for other in others):
            self.since_close = 0
        strangers = self.others.unknown(others, self.number) if self.embed_fn is not None else []
        if strangers:
            self.others.keep(strangers, embed_faces(rgb, strangers, self.landmarker, self.embed_fn), self.number)

    def embedding(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray) -> np.ndarray | None:
        """Identity vector [D] of a face with known landmarks; None without an encoder."""
        return None if self.embed_fn is None else embed_faces(rgb, [face], lambda *_: landmarks, self.embed_fn)[0]
