"""Attributes that only move the pixels of a face: no pair of pictures is needed, for the landmarks say all of it.

Each is a shift of the inner landmarks of a mean face, the same for all faces, and so a step of the motion vector. A `FaceRetouch` moves
the pixels as the landmarks say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

BROWS, NOSE, EYES, OUTER_LIPS = (slice(0, 5), slice(5, 10)), slice(14, 19), (slice(19, 25), slice(25, 31)), slice(31, 43)


class Move(NamedTuple):
    """parts: of the 51 inner landmarks, each of which is scaled by `scale` (across, down) about its middle, then shifted by `shift`.

    shift is in widths of the crop.
    """

    parts: tuple[slice, ...]
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)


MOVES: Mapping[str, Move] = {
    "Big_Eyes": Move(EYES, scale=(1.15, 1.3)),
    "Big_Lips": Move((OUTER_LIPS,), scale=(1.06, 1.35)),
    "Big_Nose": Move((NOSE,), scale=(1.25, 1.0)),
    "Raised_Eyebrows": Move(BROWS, shift=(0.0, -0.025)),
}


def move_points(name: str, points: np.ndarray) -> np.ndarray:
    """Where a move puts the inner landmarks [51, 2] of a face, in 0..1 of the crop."""
    move, moved = MOVES[name], np.array(points, np.float64)
    for part in move.parts:
        middle = moved[part].mean(0)
        moved[part] = middle + (moved[part] - middle) * move.scale + move.shift
    return moved
