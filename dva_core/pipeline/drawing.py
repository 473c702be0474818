"""What edits draw on the faces of a video: at the resolution of the frames, and held still by landmarks smoothed over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..decomposition import Decomposition
from ..faces.align import side, smooth_over_time
from ..faces.composite import Drawing
from ..model.arrays import fuse
from .solving import edited_face, own_face

STEADY = 0.04  # seconds: standard deviation of the smoothing of the landmarks that a drawing follows, a frame at 25 frames a second
ROWS = 64  # at a time for `only_drawn`
REACH = 4  # standard deviations that it reaches to either side


class EditedFace(NamedTuple):
    """A decoded crop [3, S, S] with its edits, and what of them is drawn."""

    crop: np.ndarray
    drawing: Drawing | None = None


def only_drawn(decomposition: Decomposition, model, rows: Sequence[int]) -> np.ndarray:
    """Whether the edits do nothing but draw, for each of the rows [n]: then the rest of the network sees what it saw in encoding.

    Such a crop is the rebuilt one with the drawing on it (see `drawn_face`), and need not be decoded.
    """
    if decomposition.is_switched or not model.draws:
        return np.zeros(len(rows), bool)
    parts = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
    changes = [model.change_of_rest(edited_face(decomposition, model, part), own_face(decomposition, model, part)) for part in parts]
    return np.concatenate([change.cpu().numpy() == 0 for change in changes])


def draw_edits(decomposition: Decomposition, model, rows: Sequence[int], z_face: Tensor, before: Tensor, size: int) -> tuple[Tensor, ...]:
    """What is drawn on these rows, as of `model.drawings`, in half precision; empty if nothing is."""
    steady = fuse(model, decomposition.current_identity(rows), steady_motion(decomposition, rows))
    drawn = model.drawings(z_face, before, steady, size)
    if drawn is None:
        return ()
    coarse, fine, rest = drawn
    return coarse.half(), fine.half(), torch.ones_like(rest) if decomposition.is_switched else rest


def steady_motion(decomposition: Decomposition, rows: Sequence[int]) -> np.ndarray:
    """The motion to decode with [n, D_motion], smoothed over the frames around each row, which belong to its segment."""
    sigma, segment = STEADY * float(decomposition.info.rate), decomposition.segment
    reach, motions = math.ceil(REACH * sigma), []
    for some in runs(rows, segment):
        first, last = (int(np.searchsorted(segment, segment[some[0]], side)) for side in ("left", "right"))
        window = range(max(first, some[0] - reach), min(last, some[-1] + 1 + reach))
        smooth = smooth_over_time(decomposition.current_z_motion(list(window)), sigma)
        motions.append(smooth[np.array(some) - window.start])
    return np.concatenate(motions).astype(np.float32)


def runs(rows: Sequence[int], segment: np.ndarray) -> Iterator[list[int]]:
    """Split rows into stretches of consecutive ones of one segment."""
    stretch: list[int] = []
    for row in map(int, rows):
        if stretch and (row != stretch[-1] + 1 or segment[row] != segment[stretch[0]]):
            yield stretch
            stretch = []
        stretch.append(row)
    if stretch:
        yield stretch


def drawings_of(parts: Sequence[np.ndarray], count: int) -> list[Drawing | None]:
    """The drawings of `count` faces from `parts`, as of `draw_edits`; None for faces on which nothing is drawn."""
    if not parts:
        return [None] * count
    return [Drawing(coarse, fine, float(rest)) if fine.any() else None for coarse, fine, rest in zip(*parts)]


def drawn_size(decomposition: Decomposition) -> int:
    """Pixels of a crop at which drawings are made: those that its largest face has in a frame, in steps of a half octave."""
    largest = max((side(quad) for quad in decomposition.quads), default=1.0)
    return round(2 ** (math.ceil(2 * math.log2(max(largest, 1))) / 2))


def drawn_face(rebuilt: np.ndarray, drawing: Drawing | None) -> EditedFace:
    """The face of an edit that is only drawn, on its rebuilt crop [3, S, S]."""
    crop = rebuilt.astype(np.float32)
    return EditedFace(crop if drawing is None else drawing.on(crop), drawing)
