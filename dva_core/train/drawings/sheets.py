"""Sheets: arrays in the face's own coordinates, which `Head.carry` warps to the face by its landmarks.

Face units: the middle of the eyes is (0, 0), their distance 1, x to the right of the picture, y down, z towards the camera.
"""

from __future__ import annotations

import cv2
import numpy as np

from dva_core.train.drawings.common import Array, blur

SHEET = 320  # side of a sheet in samples
SHEET_LEFT, SHEET_TOP, SHEET_SPAN = -1.9, -1.4, 3.8  # face units


def sheet_grid() -> tuple[Array, Array]:
    """x [1, T] and y [T, 1] of a sheet's samples in face units."""
    step = (np.arange(SHEET, dtype=np.float32) + 0.5) / SHEET * SHEET_SPAN
    return SHEET_LEFT + step[None], SHEET_TOP + step[:, None]


def to_sheet(points) -> Array:
    """Convert face units [n, 2] to sample positions of a sheet."""
    return (np.asarray(points, np.float64) - (SHEET_LEFT, SHEET_TOP)) * (SHEET / SHEET_SPAN)


def polygon(points, soft: float = 0.0) -> Array:
    """Sheet float32, 1 inside the polygon [n, 2] given in face units, its edge `soft` face units wide."""
    sheet = np.zeros((SHEET, SHEET), np.uint8)
    cv2.fillPoly(sheet, [np.int32(np.round(to_sheet(points) * 16))], 255, cv2.LINE_AA, 4)
    return blur(np.float32(sheet) / 255, soft * SHEET / SHEET_SPAN)


def both(points) -> list[Array]:
    """A shape of the right half of the face, and its mirror image."""
    points = np.asarray(points, np.float64)
    return [points, points * (-1, 1)]


def curve(points, count: int = 24) -> Array:
    """A smooth curve [count, 2] through a few points (Catmull-Rom)."""
    points = np.asarray(points, np.float64)
    if len(points) == 2:
        return points[0] + np.linspace(0, 1, count)[:, None] * (points[1] - points[0])
    extended_points = np.r_[[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]]
    at = np.linspace(0, len(points) - 1 - 1e-9, count)
    i = at.astype(int)
    t = (at - i)[:, None]
    a, b, c, d = (extended_points[i + k] for k in range(4))
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


def noise_sheet(rng: np.random.Generator, scale: float, *, stretch: float = 1.0) -> Array:
    """Smooth noise of mean 0 and deviation 1; `scale` in face units across, `stretch` times that along y."""
    cells = max(int(SHEET_SPAN / scale), 2)
    coarse = rng.normal(size=(max(int(cells / stretch), 2), cells)).astype(np.float32)
    sheet = cv2.resize(coarse, (SHEET, SHEET), interpolation=cv2.INTER_CUBIC)
    return (sheet - sheet.mean()) / (sheet.std() + 1e-6)


def strokes(rng: np.random.Generator, starts: Array, direction: Array, length: Array, shades: int = 8) -> tuple[Array, Array]:
    """Draw hairs: their coverage of a sheet 0..1, and their shade -1..1.

    starts, direction [n, 2] in face units (direction of unit length); length [n].
    """
    middle = starts + direction * length[:, None] * 0.5 + rng.normal(0, 0.012, starts.shape)
    lines = np.stack([starts, middle, starts + direction * length[:, None]], 1)
    lines = np.int32(np.round(to_sheet(lines.reshape(-1, 2)) * 16)).reshape(-1, 3, 2)
    cover, shade = np.zeros((SHEET, SHEET), np.uint8), np.full((SHEET, SHEET), 128, np.uint8)
    groups = np.array_split(np.arange(len(lines)), shades * 2)
    order = rng.permutation(shades * 2)
    for group, rank in zip(groups, order):
        tone = int(255 * (rank // 2 + 0.5) / shades)
        group_lines = list(lines[group])
        cv2.polylines(cover, group_lines, False, 255, 1, cv2.LINE_AA, 4)
        cv2.polylines(shade, group_lines, False, tone, 1, cv2.LINE_AA, 4)
    return np.float32(cover) / 255, np.float32(shade) / 127.5 - 1


def scatter(rng: np.random.Generator, density: Array, count: int) -> Array:
    """`count` places [n, 2] in face units, drawn by a sheet of densities."""
    total = np.cumsum(density.ravel().astype(np.float64))
    if total[-1] <= 0:
        return np.zeros((0, 2))
    index = np.searchsorted(total, rng.random(count) * total[-1])
    place = np.c_[index % SHEET, index // SHEET] + rng.random((count, 2))
    return place / SHEET * SHEET_SPAN + (SHEET_LEFT, SHEET_TOP)
