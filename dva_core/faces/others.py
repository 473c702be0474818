"""The other people of a video: a face that resembles one of them more than the person followed is not that person's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dva_core.faces.types import Face, extent

MOST = 32  # vectors that are kept
AGAIN = 12  # frames after which a face that is still there is examined again
NEAR = 0.5  # share of its size: a face that moved less since it was examined is the same face


class Others:
    """Identity vectors of faces that were in one frame together with the person followed, and so are other people.

    permanent: vectors [n, D] of other people known in advance.
    """

    def __init__(self, same_person: float, permanent: Sequence[np.ndarray] = ()) -> None:
        self.same_person = same_person
        self.limit = (1 + same_person) / 2  # nearer to the person followed it may be that person's own: a mirror, a picture on a wall
        self.permanent = list(permanent)
        self.vectors: list[np.ndarray] = list(permanent)
        self.examined: list[tuple[Face, int]] = []  # and in which frame

    def unknown(self, faces: Sequence[Face], frame: int) -> list[Face]:
        """List the faces of a frame that were not examined within the last AGAIN frames."""
        self.examined = [(face, n) for face, n in self.examined if frame - n < AGAIN]
        return [face for face in faces if not any(_is_near(face, earlier) for earlier, _ in self.examined)]

    def keep(self, faces: Sequence[Face], vectors: np.ndarray, frame: int) -> None:
        """Store faces with their identity vectors [n, D]."""
        self.examined += [(face, frame) for face in faces]
        self.vectors = [*self.permanent, *[*self.vectors[len(self.permanent) :], *vectors][-MOST:]]

    def claim(self, vectors: np.ndarray, identity: np.ndarray) -> np.ndarray:
        """Mark the faces, bool [n], whose vectors [n, D] match one of the others better than `identity` [D]."""
        candidates = [vector for vector in self.vectors if vector @ identity < self.limit]
        if not candidates:
            return np.zeros(len(vectors), bool)
        nearest = (vectors @ np.stack(candidates).T).max(1)
        return (nearest >= self.same_person) & (nearest > vectors @ identity)


def _is_near(face: Face, earlier: Face) -> bool:
    return float(np.hypot(*np.subtract(face.centre, earlier.centre))) < NEAR * extent(earlier.box)
