"""The other faces of a scene: whether there are any, how near they are, and all faces of the frame."""

from __future__ import annotations

from collections.abc import Sequence

from dva_core.faces.search import distance, overlap
from dva_core.faces.types import Face, extent

CLOSE = 12  # frames for which the identity is checked after another face was close
OFTEN = 3  # frames between two checks of the identity while another face is close
OTHER_FACE = 0.3  # intersection over union below which two boxes are two faces


class Neighbours:
    """The faces other than the one followed. `count`: in this frame; `most`: the largest number in one frame so far."""

    def __init__(self) -> None:
        self.frame = -1
        self.alone = True  # no other face seen in this scene
        self.most = self.count = 0
        self.elsewhere = False  # a face was seen elsewhere since the one followed was lost
        self.faces: list[Face] = []  # all of this frame, where all of it was searched
        self._since_close = CLOSE  # frames since another face was close

    def begin(self) -> None:
        """Begin the next frame."""
        self.frame, self.faces, self.count = self.frame + 1, [], 0
        self._since_close += 1

    def cut(self) -> None:
        """Begin a new scene."""
        self.alone, self.elsewhere = True, False
        self.trust()

    def trust(self) -> None:
        """Record that no face is near enough to be confused with the one followed."""
        self._since_close = CLOSE

    @property
    def need_a_check(self) -> bool:
        """Whether another face is, or was, so near that the identity of the one followed must be checked in this frame."""
        return self._since_close < CLOSE and self.frame % OFTEN == 0

    def note(self, faces: Sequence[Face], face: Face | None) -> list[Face]:
        """Record the faces of this frame, of which `face` is the one followed; returns the others."""
        others = list(faces) if face is None else [other for other in faces if overlap(other.box, face.box) < OTHER_FACE]
        self.alone &= not others or face is None
        self.count = len(others)
        self.most = max(self.most, self.count)
        return others

    def note_distance(self, others: Sequence[Face], face: Face) -> None:
        """Record whether one of the others is close to the face followed."""
        if any(distance(other, face) < 2 * extent(face.box) for other in others):
            self._since_close = 0

    def note_elsewhere(self, last: Face) -> None:
        """Record whether there is a face anywhere but in the last place of the lost one."""
        self.elsewhere |= any(overlap(face.box, last.box) == 0 for face in self.faces)
