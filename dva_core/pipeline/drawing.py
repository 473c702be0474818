"""What edits draw on faces: at the resolution of the frames, in their light, held still by landmarks smoothed over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..decomposition import Decomposition
from ..faces.align import side, smooth_over_time
from ..faces.composite import LUMA, Drawing, smoothstep
from ..hosts.devices import to_device
from ..model.arrays import fuse
from .solving import edited_face, own_face

STEADY = 0.04  # seconds: standard deviation of the smoothing of the landmarks that a drawing follows, a frame at 25 frames a second
LIT_ROWS, BRIGHTEST = 9, 98  # rows of a segment whose light is measured, by this percentile of a crop's pixels
FULLY_LIT, LEAST_LIGHT = 190.0, 0.1  # of 255; least light of a drawing
CLOSED, MOSTLY = (0.125, 0.15), 90  # gap between the lips of a mouth that is closed, and open, and the percentile of a segment's frames
INNER_LIPS, MOUTH_CORNERS = ((44, 45, 46), (48, 49, 50)), (43, 47)  # of the 51 inner landmarks
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


class Drawer:
    """Draws the edits of a decomposition at crops of `size` pixels, in the light of its faces."""

    def __init__(self, decomposition: Decomposition, model, size: int) -> None:
        self.decomposition, self.model, self.size = decomposition, model, size
        self._lights: dict[int, float] = {}
        self._closed: dict[int, float] = {}

    def draw(self, rows: Sequence[int], z_face: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        """What is drawn on these rows, as of `model.drawings`, in half precision; empty if nothing is. z_face after and before the edit."""
        decomposition = self.decomposition
        steady = fuse(self.model, decomposition.current_identity(rows), steady_motion(decomposition, rows))
        closed = torch.tensor([self.closed(row) for row in rows])
        drawn = self.model.drawings(z_face, before, steady, self.size, decomposition.is_switched, closed)
        if drawn is None:
            return ()
        coarse, fine, rest, *retouch = drawn
        addition, factor = fine.chunk(2, dim=1)
        light = to_device(torch.tensor([self.light(row) for row in rows]), fine.device)[:, None, None, None]
        fine = torch.cat([factor + light * (addition - factor), factor], 1)  # a pixel's light x + 1 becomes (1 + B) (x + 1) + light (A - B)
        return coarse.half(), fine.half(), rest, *(part.half() for part in retouch)

    def closed(self, row: int) -> float:
        """1 if the mouth of a row's segment is closed throughout, 0 if it opens, as of someone who talks: the same in all of its frames."""
        segments = self.decomposition.segment
        segment = int(segments[row])
        if segment not in self._closed:
            gap = np.percentile(gaps(self.decomposition.z_motion[segments == segment]), MOSTLY)
            self._closed[segment] = float(1 - smoothstep(*CLOSED, gap))
        return self._closed[segment]

    def light(self, row: int) -> float:
        """Light of a row's segment, in which drawings are seen: 1 for one that is fully lit, less for a dim one.

        The median over some frames of their brightest pixels: a face by itself does not tell dim light from dark skin. It is the same in
        all frames of the segment, so that nothing flickers.
        """
        segments = self.decomposition.segment
        segment = int(segments[row])
        if segment not in self._lights:
            first, last = (int(np.searchsorted(segments, segment, side)) for side in ("left", "right"))
            some = np.unique(np.linspace(first, last - 1, LIT_ROWS).round().astype(int))
            brightest = [np.percentile(self.decomposition.crops[int(one)] @ LUMA, BRIGHTEST) for one in some]
            self._lights[segment] = float(np.clip(np.median(brightest) / FULLY_LIT, LEAST_LIGHT, 1))
        return self._lights[segment]


def gaps(motions: np.ndarray) -> np.ndarray:
    """Height of the gap between the lips of each face [n], in widths of its mouth, from its motion [n, 102]."""
    points = motions.reshape(len(motions), -1, 2)
    upper, lower = (points[:, rows].mean(1) for rows in INNER_LIPS)
    left, right = (points[:, row] for row in MOUTH_CORNERS)
    return np.linalg.norm(lower - upper, axis=1) / np.maximum(np.linalg.norm(right - left, axis=1), 1e-6)


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
    """The drawings of `count` faces from `parts`, as of `Drawer.draw`; None for faces on which nothing is drawn."""
    if not parts:
        return [None] * count
    return [
        Drawing(coarse, fine, float(rest), *retouch) if any(map(np.any, (fine, *retouch))) else None
        for coarse, fine, rest, *retouch in zip(*parts)
    ]


def drawn_size(decomposition: Decomposition) -> int:
    """Pixels of a crop at which drawings are made: those that its largest face has in a frame, in steps of a half octave."""
    largest = max((side(quad) for quad in decomposition.quads), default=1.0)
    return round(2 ** (math.ceil(2 * math.log2(max(largest, 1))) / 2))


def drawn_face(rebuilt: np.ndarray, drawing: Drawing | None) -> EditedFace:
    """The face of an edit that is only drawn, on its rebuilt crop [3, S, S]."""
    crop = rebuilt.astype(np.float32)
    return EditedFace(crop if drawing is None else drawing.on(crop), drawing)
