"""Revision of the first choice of a face: early in a video, another face may turn out to fit the rule better."""

from __future__ import annotations

from collections.abc import Sequence

from dva_core.faces.select import FaceChoice, at_position, is_at, largest
from dva_core.faces.types import Face

EARLY = 120  # frames of the first scene in which the choice of a face can be revised
FAR_LARGER = 2.0  # area relative to the face followed from which another face replaces it under the rule "largest"


class FirstChoice:
    """The rule by which a face is chosen, and whether the first choice can still be revised."""

    def __init__(self, rule: FaceChoice) -> None:
        self.rule = rule
        self.frames = 0  # since the first choice
        self._only = True  # there was one scene and one choice so far
        self._was_there = False  # the face was at the position that the rule names

    @property
    def is_open(self) -> bool:
        """Whether the first choice can still be revised."""
        return self._only and self.frames <= EARLY

    def pick(self, faces: Sequence[Face], shape: tuple[int, ...]) -> Face:
        """Choose a face of a frame of this shape by its position or size."""
        return at_position(faces, *self.rule[1:], shape) if self.rule[0] == "position" else largest(faces)

    def is_wrong(self, faces: Sequence[Face], face: Face | None, shape: tuple[int, ...]) -> bool:
        """Tell whether another of the faces fits the rule clearly better than the one that is followed."""
        if face is None or not self.is_open:
            return False
        certain = [other for other in faces if other.score > face.score - 0.1]  # no false alarm
        if self.rule[0] == "position":
            return not (self._was_there or self._meets(face, shape)) and any(self._meets(other, shape) for other in certain)
        return self.rule == "largest" and largest(certain).area > FAR_LARGER * face.area

    def cut(self) -> None:
        """Begin a new scene: an earlier choice is then final."""
        self._only &= not self.frames

    def count(self, followed: bool, begins: bool) -> None:
        """Count a frame; `followed`: the face is in it; `begins`: a segment begins in it."""
        self._only &= not (begins and self.frames)
        self.frames += bool(self.frames or followed)

    def confirm(self, face: Face, shape: tuple[int, ...]) -> None:
        """Record whether the face is at the position that the rule names."""
        self._was_there |= self.rule[0] == "position" and self._meets(face, shape)

    def reset(self) -> None:
        """Discard a wrong choice; the next one counts as the first."""
        self.frames = 0

    def _meets(self, face: Face, shape: tuple[int, ...]) -> bool:
        return is_at(face, *self.rule[1:], shape)
