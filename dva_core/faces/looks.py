"""What a survey saw in the frames that it looked at, for those who follow the people afterwards: nothing is searched twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from dva_core.faces.types import Face


class Seen(NamedTuple):
    """One face of a frame: landmarks float32 [68, 2] in frame pixels, identity vector float32 [D] of its aligned crop."""

    face: Face
    landmarks: np.ndarray
    vector: np.ndarray


@dataclass(frozen=True)
class Looks:
    """The faces of the sampled frames, in square pixels, and how much every frame differs from the one before (see scene.SceneCuts).

    changes float32 [N]; samples int64 [S], rising; of each face seen: frames int64 [F], rising, boxes float64 [F, 4], scores float64 [F],
    points5 float64 [F, 5, 2], nan where the detector gives none, landmarks float32 [F, 68, 2], vectors float32 [F, D].
    """

    changes: np.ndarray
    samples: np.ndarray
    frames: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    points5: np.ndarray
    landmarks: np.ndarray
    vectors: np.ndarray

    def at(self, frame: int) -> list[Seen] | None:
        """The faces of a frame; None where it was not looked at."""
        k = int(np.searchsorted(self.samples, frame))
        if k == len(self.samples) or self.samples[k] != frame:
            return None
        first, last = np.searchsorted(self.frames, [frame, frame + 1])
        return [self._face(row) for row in range(first, last)]

    def _face(self, row: int) -> Seen:
        points = self.points5[row]
        face = Face(tuple(self.boxes[row].tolist()), float(self.scores[row]), points if np.isfinite(points).all() else None)
        return Seen(face, self.landmarks[row], self.vectors[row])

    def change(self, frame: int) -> float:
        """Difference from the frame before; 1 or more is a scene cut."""
        return float(self.changes[frame]) if frame < len(self.changes) else 0.0

    def arrays(self) -> dict[str, np.ndarray]:
        return {one.name: np.ascontiguousarray(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Looks:
        """Make it of `arrays` again; KeyError where one is missing."""
        return cls(**{one.name: arrays[one.name] for one in fields(cls)})


@dataclass
class LooksSoFar:
    """Looks that are being made, frame by frame."""

    changes: list[float] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def look(self, frame: int, seen: list[Seen]) -> None:
        self.samples.append(frame)
        self.frames += [frame] * len(seen)
        self.seen += seen

    def done(self) -> Looks:
        nowhere = np.full((5, 2), np.nan)
        return Looks(
            np.array(self.changes, np.float32),
            np.array(self.samples, np.int64),
            np.array(self.frames, np.int64),
            np.array([one.face.box for one in self.seen], np.float64).reshape(-1, 4),
            np.array([one.face.score for one in self.seen], np.float64),
            np.array([nowhere if one.face.points5 is None else one.face.points5 for one in self.seen], np.float64).reshape(-1, 5, 2),
            np.array([one.landmarks for one in self.seen], np.float32).reshape(-1, 68, 2),
            np.array([one.vector for one in self.seen], np.float32).reshape(len(self.seen), -1 if self.seen else 0),
        )
