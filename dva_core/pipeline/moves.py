"""Edits of the motion that a model does not draw: they move the frame's own pixels, which no decoded crop is as sharp as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..decomposition import Decomposition
from ..decomposition.arrays import Steps
from ..edit.attributes import AttributeSet
from ..edit.curves import parse_scale, sample_scale
from ..edit.directions import Direction
from ..edit.expression import POINTS
from ..model.arrays import fuse


def landmarks_of(motion: np.ndarray) -> np.ndarray:
    """The inner landmarks [n, 51, 2] of motion vectors [n, 102]."""
    return motion.reshape(len(motion), POINTS, 2)


def moves_of(decomposition: Decomposition, model) -> Steps | None:
    """The steps of the motion that move pixels; None where there are none, or the model decodes them."""
    if not model.retouches or decomposition.is_switched:
        return None
    edits = [(vector, weights) for vector, weights in motion_edits(decomposition, model) if not is_drawn(vector, decomposition, model)]
    if not edits:
        return None
    vectors, weights = zip(*edits)
    return Steps(np.stack(weights, 1), np.stack(vectors))


def motion_edits(decomposition: Decomposition, model) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each step [D_motion] of the motion at scale 1, and its scale in each row [F], float64."""
    attributes = AttributeSet.from_model(model)
    for operation in decomposition.operations:
        if operation.get("name") == "direction":
            direction = Direction.from_json(operation["direction"])
            steps = [(direction.vector, operation["scale"])] if direction.space == "motion" else []
        else:
            scales = operation.get("scales", {}).items()
            steps = [(attributes.shift(name), scale) for name, scale in scales if attributes[name].space == "motion"]
        for vector, scale in steps:
            strength = sample_scale(parse_scale(scale), decomposition.frame_index, decomposition.info.rate)
            yield np.asarray(vector, np.float64), np.broadcast_to(np.asarray(strength, np.float64), (decomposition.faces,))


def is_drawn(step: np.ndarray, decomposition: Decomposition, model) -> bool:
    """Whether a step [D_motion] of the motion does nothing but draw. It is made as large as z_face, so that small steps are told too."""
    motion = decomposition.z_motion[:1]
    before, after = (fuse(model, decomposition.z_id, some) for some in (motion, (motion + step).astype(np.float32)))
    size = before.norm() / (after - before).norm().clamp(min=1e-12)
    return not model.change_of_rest(before + size * (after - before), before).any()


def without_moves(decomposition: Decomposition, moves: Steps | None) -> Decomposition:
    """The decomposition that the model draws and decodes, in which nothing is moved."""
    if moves is None:
        return decomposition
    return replace(decomposition, motion_steps=(*decomposition.motion_steps, Steps(-moves.weights, moves.vectors)))


def moving(moves: Steps, rows: Sequence[int]) -> np.ndarray:
    """Whether anything moves in each of the rows [n]."""
    return moves.weights[list(rows)].any(1)
