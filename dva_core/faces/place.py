"""The last place of the face that is followed: three states, and all transitions between them."""

from __future__ import annotations

from enum import Enum, auto

import numpy as np

from dva_core.faces.scene import SceneCuts, face_thumbnail
from dva_core.faces.search import distance, roll
from dva_core.faces.types import Face, extent


class State(Enum):
    """Where the face was last. Each transition is a method of `Place`.

    SEARCHING -> FOLLOWING   `follow`    a face was chosen
    FOLLOWING -> LOST        `miss`      it is not in this frame
    LOST      -> FOLLOWING   `follow`    it came back near its last place, or the person was recognised elsewhere
    LOST      -> SEARCHING   `miss`      it stayed away for more than max_gap frames
    any       -> SEARCHING   `abandon`   the scene was cut, the first choice was a mistake, or the face is somebody else's
    """

    SEARCHING = auto()  # no last place: the rule chooses among all faces
    FOLLOWING = auto()  # in the frame before
    LOST = auto()  # in one of the last max_gap frames: searched around its last place


class Place:
    """The last place of the face: its `face` and `landmarks` [68, 2] there, `gap` frames since then, `state`."""

    def __init__(self, max_gap: int) -> None:
        self.max_gap = max_gap
        self.state, self.gap = State.SEARCHING, 0
        self.face: Face | None = None
        self.landmarks: np.ndarray | None = None
        self._appearance = SceneCuts()  # of the face itself

    # -- transitions ----------------------------------------------------------------------------------------

    def follow(self, rgb: np.ndarray, face: Face, landmarks: np.ndarray) -> None:
        """Record that the face is here in this frame."""
        self.state, self.face, self.landmarks, self.gap = State.FOLLOWING, face, landmarks, 0
        self._appearance.keep(face_thumbnail(rgb, landmarks))

    def miss(self) -> None:
        """Record that the face is not in this frame."""
        self.gap += 1
        if self.state is not State.SEARCHING:
            self.state = State.LOST if self.gap <= self.max_gap else State.SEARCHING

    def abandon(self) -> None:
        """Discard the last place: it does not predict where the face is next."""
        self.state = State.SEARCHING

    # -- questions ------------------------------------------------------------------------------------------

    @property
    def searching(self) -> bool:
        return self.state is State.SEARCHING

    @property
    def following(self) -> bool:
        return self.state is State.FOLLOWING

    def roll(self) -> float:
        """Clockwise rotation of the face in degrees; 0 while searching."""
        return 0.0 if self.searching else roll(self.landmarks)

    def looks_different(self, rgb: np.ndarray, landmarks: np.ndarray | None = None) -> bool:
        """Tell whether the face with these landmarks (default: the picture in the last place) differs strongly from the face followed."""
        return self._appearance.change(face_thumbnail(rgb, self.landmarks if landmarks is None else landmarks)) >= 1

    def jumps(self, face: Face, change: float) -> bool:
        """Tell whether this is a jump cut: the picture changes notably and the face moves by a quarter of its size within one frame."""
        return self.following and change > 0.33 and distance(face, self.face) > 0.25 * extent(self.face.box)
