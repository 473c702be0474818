"""Tilted heads: told from upright ones by their landmarks, and searched in the frame turned by quarters and eighths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dva_core.faces.landmarker import CheckedLandmarker
from dva_core.faces.search import detect_turned, distance
from dva_core.faces.select import largest
from dva_core.faces.types import Face, extent

DOUBT = 0.01  # difference from the mirror image's landmarks, in sides of the square, above which the face may be turned
SURE = 0.015  # landmarks of a turned face must differ less than this
SURER = 0.6  # largest doubt about a turned face that replaces an upright one, relative to that one's
TURNS = (1, 3, 2, 0.5, 3.5, 1.5, 2.5)  # quarters by which a frame is turned to look for a face
PAUSE = 12  # frames between two searches of turned frames; four times as many for a doubtful face that was examined before


class TurnedSearch:
    """The search of turned frames; it costs as much as seven searches and so is done rarely."""

    def __init__(self, detector, landmarker: CheckedLandmarker) -> None:
        self.detector, self.landmarker = detector, landmarker
        self.in_doubt = False  # the landmarks of this segment's first frame may be those of a head that is turned
        self._since = PAUSE  # frames since the last search

    def begin(self) -> None:
        """Begin the next frame."""
        self._since += 1

    def cut(self) -> None:
        """Begin a new scene, which may be searched at once."""
        self._since = PAUSE

    def improve(
        self, rgb: np.ndarray, face: Face | None, landmarks: np.ndarray | None, new: bool, choose: Callable[[list[Face]], Face | None]
    ) -> tuple[Face, np.ndarray] | None:
        """Search the same face in the frame turned by quarters, else by eighths, or the one that `choose` takes there if `face` is None.

        None if its landmarks are not clearly more certain. Frames without a face, and a face that was examined before (not `new`), are
        searched only from time to time.
        """
        if self.landmarker.doubt is None:
            return None
        doubt = np.inf if landmarks is None else self.landmarker.doubt(rgb, landmarks)
        self.in_doubt = doubt > DOUBT
        pause = 0 if new and face is not None else PAUSE if new else 4 * PAUSE
        if not self.in_doubt or self._since < pause:
            return None
        self._since, best = 0, None
        limit = DOUBT if landmarks is None else min(SURER * doubt, SURE)
        for turns in TURNS:
            if best is not None and turns % 1:
                break
            faces = detect_turned(self.detector.detect, rgb, turns)
            candidate = choose(faces) if face is None else _same(faces, face)
            points = self.landmarker(rgb, candidate)
            if points is not None and (doubt := self.landmarker.doubt(rgb, points)) < limit:
                limit, best = doubt, (candidate, points)
        self.in_doubt &= best is None
        return best


def _same(faces: list[Face], face: Face) -> Face | None:
    """The largest of the faces that lie where `face` does."""
    near = [other for other in faces if distance(other, face) < extent(face.box)]
    return largest(near) if near else None
