"""Attributes drawn on faces, for pairs of the same face with and without: directions and training.

The style of a drawing is drawn at random once per person (`style`), then applied to each frame by its landmarks (`draw`).
"""

from __future__ import annotations

import numpy as np

from dva_core.errors import DVAError
from dva_core.train.drawings import brows_hair, facial_hair, glasses, make_up, skin
from dva_core.train.drawings.common import Drawing
from dva_core.train.drawings.head import Head

__all__ = ["KINDS", "Drawing", "draw", "style"]

_MODULES = {
    "Eyeglasses": glasses, "Sunglasses": glasses,
    "Beard": facial_hair, "Goatee": facial_hair, "Mustache": facial_hair, "5_o_Clock_Shadow": facial_hair,
    "Wearing_Lipstick": make_up, "Heavy_Makeup": make_up,
    "Bushy_Eyebrows": brows_hair, "Freckles": skin, "Gray_Hair": brows_hair, "Older_Skin": skin,
}  # fmt: skip
KINDS: tuple[str, ...] = tuple(_MODULES)


def _module(kind: str):
    if kind not in _MODULES:
        raise DVAError(f"{kind!r} cannot be drawn: choose one of {', '.join(KINDS)}.")
    return _MODULES[kind]


def style(kind: str, rng: np.random.Generator) -> dict:
    """Draw a random style of a kind: plain numbers and lists, to be stored and passed to `draw`. DVAError for an unknown kind."""
    return _module(kind).style(kind, rng)


def draw(kind: str, picture: np.ndarray, landmarks: np.ndarray, look: dict) -> Drawing:
    """Draw the style `look` on `picture` uint8 [S, S, 3] RGB of an aligned face, by its landmarks [68, 2] (iBUG order, pixels).

    Returns picture and mask (see `Drawing`). The same arguments give the same drawing. Raises DVAError for an unknown kind,
    another shape of the arrays or landmarks that are not a face's.
    """
    module = _module(kind)
    return module.draw(kind, Head(picture, landmarks), look)
