"""The picture that an occluder is drawn on: positions and colours taken from its face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Generator = np.random.Generator


@dataclass(frozen=True)
class Scene:
    """A picture uint8 [S, S, 3], its landmarks [68, 2] in 0..1, and another picture for textures."""

    picture: np.ndarray
    landmarks: np.ndarray
    donor: np.ndarray

    @property
    def size(self) -> int:
        return len(self.picture)

    def colour_at(self, points: np.ndarray) -> np.ndarray:
        """Median colour [3] of the picture at points [n, 2] in 0..1."""
        column, row = np.clip((points * self.size).astype(int), 0, self.size - 1).T
        return np.median(self.picture[row, column].reshape(-1, 3), axis=0)

    @property
    def skin(self) -> np.ndarray:
        return self.colour_at(self.landmarks[[1, 2, 14, 15, 28, 29, 30]] * 0.7 + 0.3 * self.landmarks[30])

    @property
    def lips(self) -> np.ndarray:
        return self.colour_at(self.landmarks[48:60])

    @property
    def hair(self) -> np.ndarray:
        brows = self.landmarks[17:27]
        up = brows.mean(0) - self.landmarks[8]
        return self.colour_at(brows + 0.62 * up)

    def spot(self, rng: Generator) -> np.ndarray:
        """A point [2] of the face or near it."""
        low, high = self.landmarks.min(0) - (0.02, 0.12), self.landmarks.max(0) + 0.04
        return rng.uniform(low, high)
