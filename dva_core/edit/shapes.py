"""Expressions by the shape of a face: shifts of its 51 inner landmarks, which no model has to be trained for.

They are attributes of every model that moves the frame's own pixels (see pipeline/moves.py). Landmarks are [51, 2], (x, y), y downwards;
left and right are the viewer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..faces.regions import MEAN_FACE
from ..faces.warp import LEFT_EYE, RIGHT_EYE
from ..model.autoencoder import JAW

BROWS, LIPS = (slice(0, 5), slice(5, 10)), slice(31, 51)
EYES = (RIGHT_EYE.pairs, LEFT_EYE.pairs)  # the viewer's left and right: an upper and a lower landmark
MOUTH_CORNERS = (31, 37)
UPPER_LIPS, LOWER_LIPS = ([*range(32, 37), 44, 45, 46], [*range(38, 43), 48, 49, 50])
CLOSING, LOWER_LID = 1.4, 0.1  # of the height of an eye: more than it has, for eyes that are wider open; what the lower lid moves of it


def close_eyes(face: np.ndarray, eyes: Sequence = EYES) -> np.ndarray:
    """Upper lids go down to the lower ones."""
    shift = np.zeros_like(face)
    for upper, lower in (pair for eye in eyes for pair in eye):
        way = face[lower] - face[upper]
        shift[upper], shift[lower] = (CLOSING - LOWER_LID) * way, -LOWER_LID * way
    return shift


def open_mouth(face: np.ndarray) -> np.ndarray:
    """The lower lip goes down by a quarter of the mouth's width, and the corners in; -1 closes a mouth."""
    left, right = face[list(MOUTH_CORNERS)]
    across, shift = right - left, np.zeros_like(face)
    down = np.array([-across[1], across[0]])
    shift[LOWER_LIPS], shift[UPPER_LIPS] = 0.24 * down, -0.04 * down
    shift[[38, 42]] *= 0.75  # beside the corners
    for rows, inwards in (((31, 43), 1), ((37, 47), -1)):
        shift[list(rows)] = 0.08 * down + 0.03 * inwards * across
    return shift


def purse_lips(face: np.ndarray) -> np.ndarray:
    """The mouth becomes narrow and round, as for a kiss."""
    shift, lips = np.zeros_like(face), face[LIPS]
    shift[LIPS] = (lips - lips.mean(0)) * (-0.28, 0.2)
    return shift


def frown(face: np.ndarray) -> np.ndarray:
    """The inner ends of the brows go down and together; -1 raises them."""
    shift, width = np.zeros_like(face), np.linalg.norm(face[28] - face[19])
    lower = np.linspace(0, 1, 5)[:, None]
    shift[BROWS[0]], shift[BROWS[1]] = lower * width * (0.03, 0.07), lower[::-1] * width * (-0.03, 0.07)
    return shift


class Shape(NamedTuple):
    """move: landmarks -> their shift at scale 1; range: usual scales."""

    move: Callable[[np.ndarray], np.ndarray]
    range: tuple[float, float] = (-1.0, 1.0)


SHAPES: Mapping[str, Shape] = {
    "Closed_Eyes": Shape(close_eyes, (0.0, 1.0)),
    "Wink_Left": Shape(lambda face: close_eyes(face, EYES[:1]), (0.0, 1.0)),
    "Wink_Right": Shape(lambda face: close_eyes(face, EYES[1:]), (0.0, 1.0)),
    "Open_Mouth": Shape(open_mouth),
    "Pursed_Lips": Shape(purse_lips, (-0.5, 1.0)),
    "Frown": Shape(frown),
}


def shape_step(name: str) -> np.ndarray:
    """The step [102] of the motion at scale 1: of the mean face, and so the same on all faces."""
    return SHAPES[name].move(MEAN_FACE[JAW:].astype(np.float64)).ravel()
