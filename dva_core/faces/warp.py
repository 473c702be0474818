"""Warps of a face by its landmarks: the frame's own pixels go where an edit of the motion puts the landmarks.

Landmarks are the 51 inner ones [51, 2], (x, y) in 0..1 of the crop, y downwards.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator, make_interp_spline

from dva_core.faces.composite import blur, disc
from dva_core.faces.regions import CHIN, MEAN_FACE, ROOM
from dva_core.model.autoencoder import JAW
from dva_core.networks.hull import extend_hull

SIZE, COARSE = 256, 64  # pixels of a map, and of the grid on which its spline is computed
SOFT = 0.02  # of the crop: blur of the edge of the face, where nothing moves
HALF = 0.5  # of a gap, to which the spline closes it: beyond that it would overshoot
LEAST_GAP = 0.04  # of a gap, to which it closes at all
BEYOND = 0.2  # of a gap: place of its edges, lashes and lips, outside of the landmarks
HELD = 0.3  # of a gap, by which it opens until what is inside is not stretched at all
CREASE = 0.4  # of the way from an upper lid to the brow: lids move below it
FINE = 33  # points of a curve

HAIRLINE = extend_hull(MEAN_FACE)[len(MEAN_FACE) :]
LOWER_LIP, NOSE = slice(38, 43), slice(10, 19)
CHIN_SHARE = 0.7  # of what the lower lip moves down, by which the chin does
CHIN_WEIGHTS = np.clip(1.2 - np.abs(np.arange(JAW) - JAW // 2) / 5, 0, 1)  # of the jaw's points, from ear to ear


class Slit(NamedTuple):
    """What opens and closes: landmarks of its two edges, from the left corner to the right one, and how far its change reaches.

    pairs  an upper and a lower landmark that lie over each other
    above  (landmark, share of the way to it) that stays where it is; below: the same under it
    """

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    above: tuple[int, float]
    below: tuple[int, float]


RIGHT_EYE = Slit((19, 20, 21, 22), (19, 24, 23, 22), ((20, 24), (21, 23)), (2, CREASE), (12, 0.25))
LEFT_EYE = Slit((25, 26, 27, 28), (25, 30, 29, 28), ((26, 30), (27, 29)), (7, CREASE), (12, 0.25))
MOUTH = Slit((43, 44, 45, 46, 47), (43, 50, 49, 48, 47), ((44, 50), (45, 49), (46, 48)), (34, 1.0), (40, 1.0))
SLITS = (RIGHT_EYE, LEFT_EYE, MOUTH)
OUTER_LIPS = {44: (32, 33), 45: (34,), 46: (35, 36), 48: (38, 39), 49: (40,), 50: (41, 42)}  # of an inner lip, which keep its distance
LIDS_BROWS = ((20, 1), (20, 2), (21, 3), (26, 6), (27, 7), (27, 8))  # an upper lid and a brow above it


def thin_plate_map(source: np.ndarray, target: np.ndarray, size: int, coarse: int = 32) -> np.ndarray:
    """Make the backward map [size, size, 2] float32, for cv2.remap, that moves `source` points [n, 2] to `target` points.

    Thin-plate spline (Bookstein 1989), evaluated on a coarse grid and resized: smooth enough, and quick.
    """
    spline = RBFInterpolator(target, source - target, smoothing=5e-4, kernel="thin_plate_spline")  # of targets that nearly coincide
    axis = (np.arange(coarse) + 0.5) * size / coarse
    shift = spline(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    return still(size) + cv2.resize(shift.reshape(coarse, coarse, 2).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def still(size: int) -> np.ndarray:
    """The map [size, size, 2] of a picture in which nothing moves."""
    pixel = np.arange(size, dtype=np.float32)
    return np.stack(np.meshgrid(pixel, pixel), -1)


def move_face(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The map [2, SIZE, SIZE] of a face whose landmarks go from `before` to `after`: shift right and down, as of `retouch_face`.

    A thin-plate spline moves the face and closes eyes and lips to the half; `move_slits` closes them. Brows stay as lids move, and so does
    the edge of the face, that of a mean face fitted to `before`, but for the chin, below which the neck moves as far as ROOM.
    """
    after = uncrossed(before, after)
    edge, half = edge_of(before), uncrossed(before, after, HALF)
    lids, brows = (before[list(rows)] for rows in zip(*LIDS_BROWS))
    creases = lids + CREASE * (brows - lids)
    of_lids, of_brows = ((half - before)[list(rows)] for rows in zip(*LIDS_BROWS))
    moved_creases = creases + of_brows + (1 - CREASE) * np.minimum(of_lids - of_brows, 0) * (0, 1)  # lids that open push them upwards
    below = edge[CHIN] + (0, ROOM)  # of the chin, on the neck
    moved_edge = edge + jaw_shift(after - before)
    source, target = np.concatenate([before, creases, edge, below]), np.concatenate([half, moved_creases, moved_edge, below])
    shift = (thin_plate_map(source * SIZE, target * SIZE, SIZE, COARSE) - still(SIZE)) * inside(np.concatenate([edge, below]))[..., None]
    down = move_slits(half, after)
    if down.any():
        where = still(SIZE)
        shift = cv2.remap(shift, where[..., 0], where[..., 1] + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        shift[..., 1] += down
    hold_teeth(shift, before, after)
    return np.moveaxis(shift, -1, 0) / SIZE


def hold_teeth(shift: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
    """Change `shift` [SIZE, SIZE, 2], in pixels, in a mouth that opens: what is inside hangs on the upper lip and is not stretched."""
    at = (np.arange(SIZE) + 0.5) / SIZE
    columns = np.flatnonzero((at > after[MOUTH.upper[0], 0]) & (at < after[MOUTH.upper[-1], 0]))
    u1, l1 = (heights(after[list(edge)], at[columns]) for edge in (MOUTH.upper, MOUTH.lower))
    middle = np.clip((u1 + l1) / 2 * SIZE, 0, SIZE - 1).astype(int)
    came_from = at[columns] + shift[middle, columns, 0] / SIZE
    u0, l0 = (heights(before[list(edge)], came_from) for edge in (MOUTH.upper, MOUTH.lower))
    opened = np.clip(((l1 - u1) / np.maximum(l0 - u0, 1e-6) - 1) / HELD, 0, 1)
    y = at[:, None]
    inside = (y > u1) & (y < l1)
    source = np.minimum(u0 + (y - u1), np.maximum(l0, u0))
    down = shift[:, columns, 1]
    shift[:, columns, 1] = np.where(inside, down + opened * ((source - y) * SIZE - down), down)


def jaw_shift(step: np.ndarray) -> np.ndarray:
    """Shift of the edge of the face [27, 2] as landmarks move by `step`: the chin goes up and down with the lower lip, the rest stays."""
    shift = np.zeros((JAW + len(HAIRLINE), 2))
    shift[:JAW, 1] = CHIN_SHARE * (step[LOWER_LIP, 1].mean() - step[NOSE, 1].mean()) * CHIN_WEIGHTS
    return shift


def inside(edge: np.ndarray, size: int = SIZE, margin: float = SOFT, soft: float = SOFT) -> np.ndarray:
    """Weights [size, size] that fall to 0 at the convex edge of points [n, 2], from `margin` inwards, blurred by `soft`, of the crop."""
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.int32(np.round(edge * size - 0.5))), 1.0)
    return blur(cv2.erode(mask, disc(margin * size)), soft * size) * mask


def edge_of(points: np.ndarray) -> np.ndarray:
    """Jaw and hairline [27, 2] of the face with these landmarks: those of the mean face, placed by least squares."""
    mean, edge = MEAN_FACE[JAW:], np.concatenate([MEAN_FACE[:JAW], HAIRLINE])
    affine = np.linalg.lstsq(np.c_[mean, np.ones(len(mean))], points, rcond=None)[0]
    return np.c_[edge, np.ones(len(edge))] @ affine


def uncrossed(before: np.ndarray, after: np.ndarray, least: float = LEAST_GAP) -> np.ndarray:
    """The landmarks `after`, in which lids and lips that would come nearer than to `least` of their gap before stay so far apart.

    Lips that would cross take the outer lips along.
    """
    after = np.array(after, np.float64)
    for upper, lower in (pair for slit in SLITS for pair in slit.pairs):
        gap = after[lower, 1] - after[upper, 1]
        missing = least * max(before[lower, 1] - before[upper, 1], 0.0) - gap
        if missing > 0:
            for row, away in ((upper, -1), (lower, 1)):
                after[row, 1] += away * missing / 2
                after[list(OUTER_LIPS.get(row, ())), 1] += away * max(-gap, 0.0) / 2
    return after


def move_slits(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Shift down [SIZE, SIZE], in pixels, that opens or closes eyes and lips: each column is stretched between their edges."""
    down, at = np.zeros((SIZE, SIZE), np.float32), (np.arange(SIZE) + 0.5) / SIZE
    y = at[:, None]
    for slit in SLITS:
        rows = [*slit.upper, *slit.lower]
        if np.abs(after - before)[rows, 1].max() < 1e-6:
            continue
        columns = np.flatnonzero((at > after[rows, 0].min()) & (at < after[rows, 0].max()))
        (u0, l0), (u1, l1) = ([heights(points[list(edge)], at[columns]) for edge in (slit.upper, slit.lower)] for points in (before, after))
        middle, (above, over), (below, under) = after[rows, 1].mean(), slit.above, slit.below
        top = np.minimum(u0, u1) - over * max(middle - after[above, 1], 1e-3)
        bottom = np.maximum(l0, l1) + under * max(after[below, 1] - middle, 1e-3)
        gap = l0 - u0
        shut = 1 - np.clip((l1 - u1) / np.maximum(gap, 1e-6) / HALF, 0, 1)  # of a gap that closes only its edges are left
        u0, l0 = u0 - shut * BEYOND * gap, l0 + shut * BEYOND * gap
        share = np.clip((y - u1) / np.maximum(l1 - u1, 1e-6), 0, 1)
        source = u0 + (l0 - u0) * (share + shut * (np.round(share) - share))
        source = np.where(y < u1, top + (y - top) * (u0 - top) / (u1 - top), source)
        source = np.where(y > l1, bottom - (bottom - y) * (bottom - l0) / (bottom - l1), source)
        down[:, columns] += np.where((y > top) & (y < bottom), source - y, 0) * SIZE
    return down


def heights(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Heights of a smooth curve through landmarks [n, 2], from left to right, at the columns `at`."""
    x, y = smooth(points).T
    return np.interp(at, np.maximum.accumulate(x), y)


def smooth(points: np.ndarray) -> np.ndarray:
    """A smooth curve [FINE, 2] through landmarks [n, 2]."""
    return make_interp_spline(np.arange(len(points)), points)(np.linspace(0, len(points) - 1, FINE))
