"""The other people of a video: whoever is more like one of them than like the person followed is not that person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dva_core.faces.types import Face, extent

MOST = 32  # vectors that are kept
AGAIN = 12  # frames after which a face that is still there is looked at anew
NEAR = 0.5  # of its size: a face that moved less since it was looked at is still the same


class Others:
    """Identity vectors of faces that were seen in one frame together with the person followed, and so are not that person.

    known: vectors [n, D] of others that are known beforehand.
    """

    def __init__(self, same_person: float, known: Sequence[np.ndarray] = ()) -> None:
        self.same_person = same_person
        self.limit = (1 + same_person) / 2  # nearer to the person followed it may be that person's own: a mirror, a picture on a wall
        self.known = list(known)
        self.vectors: list[np.ndarray] = list(known)
        self.looked_at: list[tuple[Face, int]] = []  # and in which frame

    def unknown(self, faces: Sequence[Face], frame: int) -> list[Face]:
        """List the faces of a frame that were not examined within the last AGAIN frames."""
        self.looked_at = [(face, n) for face, n in self.looked_at if frame - n < AGAIN]
        return [face for face in faces if not any(_is_near(face, seen) for seen, _ in self.looked_at)]

    def keep(self, faces: Sequence[Face], vectors: np.ndarray, frame: int) -> None:
        """Store faces with their identity vectors [n, D]."""
        self.looked_at += [(face, frame) for face in faces]
        self.vectors = [*self.known, *[*self.vectors[len(self.known) :], *vectors][-MOST:]]

    def claim(self, vectors: np.ndarray, identity: np.ndarray) -> np.ndarray:
        """Mark the faces, bool [n], whose vectors [n, D] match somebody else better than `identity` [D]."""
        known = [vector for vector in self.vectors if vector @ identity < self.limit]
        if not known:
            return np.zeros(len(vectors), bool)
        nearest = (vectors @ np.stack(known).T).max(1)
        return (nearest >= self.same_person) & (nearest > vectors @ identity)


def _is_near(face: Face, seen: Face) -> bool:
    return float(np.hypot(*np.subtract(face.centre, seen.centre))) < NEAR * extent(seen.box)
