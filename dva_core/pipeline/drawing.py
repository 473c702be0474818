"""What edits draw on faces: at the resolution of the frames, in their light, held still by landmarks smoothed over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ..decomposition import Decomposition
from ..decomposition.arrays import Steps
from ..faces.align import side, smooth_over_time
from ..faces.composite import LUMA, Drawing, smoothstep
from ..faces.opening import draw_motion, gaps, part_lips
from ..faces.regions import REGIONS
from ..faces.tone import cast_of
from ..faces.warp import move_face
from ..hosts.devices import to_device
from ..model.arrays import fuse
from ..networks.texture import CHANNELS
from .moves import landmarks_of, moves_of, moving, without_moves
from .solving import edited_face, own_face

STEADY = 0.04  # seconds: standard deviation of the smoothing of the landmarks that a drawing follows, a frame at 25 frames a second
LIT_ROWS, BRIGHTEST = 9, 98  # rows of a segment whose light is measured, by this percentile of a crop's pixels
FULLY_LIT, LEAST_LIGHT = 190.0, 0.1  # of 255; least light of a drawing
CLOSED, MOSTLY = (0.125, 0.15), 90  # gap between the lips of a mouth that is closed, and open, and the percentile of a segment's frames
PARTS = 5  # of `draw` for a model with a retouch
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
    """Draws the edits of a decomposition at crops of `size` pixels, in the light of its faces; 0: draws nothing.

    `draw` draws what the edits of `still` draw, `finish` moves the face under it.
    """

    def __init__(self, decomposition: Decomposition, model, size: int) -> None:
        self.decomposition, self.model, self.size = decomposition, model, size
        self._lights: dict[int, np.ndarray] = {}
        self._closed: dict[int, float] = {}

    @cached_property
    def moves(self) -> Steps | None:
        """The steps of the motion that move pixels."""
        return moves_of(self.decomposition, self.model) if self.size else None

    @cached_property
    def still(self) -> Decomposition:
        """The decomposition without the edits that move pixels, which the model is to see."""
        return without_moves(self.decomposition, self.moves)

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
        light = to_device(torch.from_numpy(np.stack([self.light(row) for row in rows])), fine.device)[:, :, None, None]
        fine = torch.cat([factor + light * (addition - factor), factor], 1)  # a pixel's light x + 1 becomes (1 + B) (x + 1) + light (A - B)
        return coarse.half(), fine.half(), rest, *(part.half() for part in retouch)

    def finish(self, rows: Sequence[int], parts: Sequence[np.ndarray], decoded: bool) -> list[Drawing | None]:
        """The drawings of these rows from `parts`, what `draw` gave; None where nothing is drawn and nothing moves.

        decoded: whether the crops are decoded, as they show more than drawings.
        """
        drawings = self.part_lips(rows, drawings_of(parts, len(rows)), parts)
        if self.moves is None or not (moves := moving(self.moves, rows)).any():
            return drawings
        own = steady_motion(self.decomposition.without_edits(), rows)
        before, after = landmarks_of(own), landmarks_of(own + self.moves.at(np.asarray(rows)))
        return [
            self.move(row, drawing or self.nothing(decoded), *points) if moves else drawing
            for row, drawing, moves, *points in zip(rows, drawings, moves, before, after)
        ]

    def move(self, row: int, drawing: Drawing, before: np.ndarray, after: np.ndarray) -> Drawing:
        """A drawing on the face of a row whose landmarks go from `before` to `after` [51, 2]."""
        return drawing.moved(move_face(before, after), draw_motion(before, after, drawing.fine.shape[-1], self.light(row)))

    def part_lips(self, rows: Sequence[int], drawings: list[Drawing | None], parts: Sequence[np.ndarray]) -> list[Drawing | None]:
        """The drawings of these rows with the lips of those who smile widely parted over teeth, as the last of `parts` says."""
        if len(parts) < PARTS or not parts[-1].any():
            return drawings
        own = landmarks_of(steady_motion(self.decomposition.without_edits(), rows))
        return [
            part_smile(drawing, points, float(amount), self.light(row)) if amount and drawing else drawing
            for row, drawing, points, amount in zip(rows, drawings, own, parts[-1])
        ]

    def nothing(self, decoded: bool) -> Drawing:
        """A drawing that shows nothing."""
        coarse, fine = (np.zeros((CHANNELS, size, size), np.float16) for size in (self.model.image_size, self.size))
        return Drawing(coarse, fine, float(decoded))

    def closed(self, row: int) -> float:
        """1 if the mouth of a row's segment is closed throughout, 0 if it opens, as of someone who talks: the same in all of its frames."""
        segments = self.decomposition.segment
        segment = int(segments[row])
        if segment not in self._closed:
            gap = np.percentile(gaps(landmarks_of(self.decomposition.z_motion[segments == segment])), MOSTLY)
            self._closed[segment] = float(1 - smoothstep(*CLOSED, gap))
        return self._closed[segment]

    def light(self, row: int) -> np.ndarray:
        """Light [3] of a row's segment, in which drawings are seen: 1 for one that is fully lit, less for a dim one, times its cast.

        The median over some frames of their brightest pixels: a face by itself does not tell dim light from dark skin. The cast is that
        of its cheeks. It is the same in all frames of the segment, so that nothing flickers.
        """
        segments = self.decomposition.segment
        segment = int(segments[row])
        if segment not in self._lights:
            first, last = (int(np.searchsorted(segments, segment, side)) for side in ("left", "right"))
            some = np.unique(np.linspace(first, last - 1, LIT_ROWS).round().astype(int))
            crops = [self.decomposition.crops[int(one)] for one in some]
            brightest = np.median([np.percentile(crop @ LUMA, BRIGHTEST) for crop in crops])
            skin = [cheeks_of(crop, points) for crop, points in zip(crops, landmarks_of(self.decomposition.z_motion[some]))]
            self._lights[segment] = np.float32(np.clip(brightest / FULLY_LIT, LEAST_LIGHT, 1) * cast_of(np.median(skin, axis=0)))
        return self._lights[segment]


def cheeks_of(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The median colour [3] of the cheeks in a crop [S, S, 3] with landmarks [51, 2] in 0..1 of it."""
    cheeks = REGIONS["cheeks"].on(points, len(crop)) > 0.5
    return np.median(crop[cheeks] if cheeks.any() else crop.reshape(-1, 3), axis=0)


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
        for coarse, fine, rest, *retouch in zip(*parts[: PARTS - 1])
    ]


def part_smile(drawing: Drawing, points: np.ndarray, amount: float, light: np.ndarray) -> Drawing:
    """A drawing on a face with landmarks `points` [51, 2], with the lips parted by `amount` in 0..1 over teeth in this light [3]."""
    smile = points - shift_at(drawing.retouch, points)
    parted = part_lips(smile, amount)
    teeth = draw_motion(smile, parted, drawing.fine.shape[-1], light, smile=True)
    return drawing.parted(move_face(smile, parted), teeth)


def shift_at(retouch: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far a retouch [3, n, n] moves the pixels that come from `points` [n, 2], negative as its maps are."""
    shift, size = np.zeros_like(points), retouch.shape[-1]
    for _ in range(3):  # the map is of where they go to
        at = np.float32((points - shift) * size - 0.5)[:, None]
        shift = np.stack([cv2.remap(part.astype(np.float32), at, None, cv2.INTER_LINEAR)[:, 0] for part in retouch[:2]], -1)
    return shift


def drawn_size(decomposition: Decomposition) -> int:
    """Pixels of a crop at which drawings are made: those that its largest face has in a frame, in steps of a half octave."""
    largest = max((side(quad) for quad in decomposition.quads), default=1.0)
    return round(2 ** (math.ceil(2 * math.log2(max(largest, 1))) / 2))


def drawn_face(rebuilt: np.ndarray, drawing: Drawing | None) -> EditedFace:
    """The face of an edit that is only drawn, on its rebuilt crop [3, S, S]."""
    crop = rebuilt.astype(np.float32)
    return EditedFace(crop if drawing is None else drawing.on(crop), drawing)
