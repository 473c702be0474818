"""The faces that a survey found in its sampled frames, kept so that following the people need not search them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from dva_core.faces.types import Face


class FaceSample(NamedTuple):
    """One face of a sampled frame: landmarks float32 [68, 2] in frame pixels, identity vector float32 [D] of its aligned crop."""

    face: Face
    landmarks: np.ndarray
    vector: np.ndarray


@dataclass(frozen=True)
class FaceSamples:
    """The faces of the sampled frames, in square pixels, and the difference of every frame from the one before (see scene.SceneCuts).

    changes float32 [N]; samples int64 [S], ascending; of each face: frames int64 [F], ascending, boxes float64 [F, 4], scores float64 [F],
    points5 float64 [F, 5, 2], nan if the detector gives none, landmarks float32 [F, 68, 2], vectors float32 [F, D].
    """

    changes: np.ndarray
    samples: np.ndarray
    frames: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    points5: np.ndarray
    landmarks: np.ndarray
    vectors: np.ndarray

    def at(self, frame: int) -> list[FaceSample] | None:
        """The faces of a frame; None if it was not sampled."""
        k = int(np.searchsorted(self.samples, frame))
        if k == len(self.samples) or self.samples[k] != frame:
            return None
        first, last = np.searchsorted(self.frames, [frame, frame + 1])
        return [self._face(row) for row in range(first, last)]

    def _face(self, row: int) -> FaceSample:
        points = self.points5[row]
        face = Face(tuple(self.boxes[row].tolist()), float(self.scores[row]), points if np.isfinite(points).all() else None)
        return FaceSample(face, self.landmarks[row], self.vectors[row])

    def change(self, frame: int) -> float:
        """Difference from the frame before; 1 or more is a scene cut."""
        return float(self.changes[frame]) if frame < len(self.changes) else 0.0

    def arrays(self) -> dict[str, np.ndarray]:
        return {one.name: np.ascontiguousarray(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> FaceSamples:
        """Restore from `arrays`; KeyError if one is missing."""
        return cls(**{one.name: arrays[one.name] for one in fields(cls)})


@dataclass
class FaceSampler:
    """Collects the samples of a survey, frame by frame."""

    changes: list[float] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    faces: list[FaceSample] = field(default_factory=list)

    def add(self, frame: int, faces: list[FaceSample]) -> None:
        self.samples.append(frame)
        self.frames += [frame] * len(faces)
        self.faces += faces

    def done(self) -> FaceSamples:
        nowhere = np.full((5, 2), np.nan)
        return FaceSamples(
            np.array(self.changes, np.float32),
            np.array(self.samples, np.int64),
            np.array(self.frames, np.int64),
            np.array([one.face.box for one in self.faces], np.float64).reshape(-1, 4),
            np.array([one.face.score for one in self.faces], np.float64),
            np.array([nowhere if one.face.points5 is None else one.face.points5 for one in self.faces], np.float64).reshape(-1, 5, 2),
            np.array([one.landmarks for one in self.faces], np.float32).reshape(-1, 68, 2),
            np.array([one.vector for one in self.faces], np.float32).reshape(len(self.faces), -1 if self.faces else 0),
        )
