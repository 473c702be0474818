"""What each kind of pair changes, on the mean face: at every place of it, pixel x -> x + A + B x, by least squares.

Faces are warped to the mean landmarks before they are changed, so a drawing lies at the same pixels in all of them, and rims, strands and
lines stay as sharp as they are drawn. The maps are the patterns of a noise predictor's texture (networks/texture.py, fit_texture).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.networks.texture import face_coordinates
from dva_core.train.arrays import Arrays, load_of_run
from dva_core.train.faces import FaceSet
from dva_core.train.prototypes.change import turn

log = logging.getLogger(__name__)

SIZE = 256  # pixels of the mean face
FACES = 48  # a kind
LEAST_VARIANCE = 0.01  # of the pixels at a place, which keeps B small where all faces are alike
UPPER = {"Smiling": 0.3}  # share of a change that is kept above the nose: eyes that narrow are warped, which a pixel's value cannot tell
OPENED = ("Older", "Younger", "Male", "Female")  # changes without the lips: the mean mouth is closed, and teeth must not turn grey
LIPS = slice(48, 60)  # landmarks
BRIDGE, NOSE = 28, 33  # landmarks between which it fades
FRONTAL = 0.6  # share of the faces, those turned least, that are used


@dataclass
class Looks(Arrays):
    """landmarks: float32 [68, 2] of the mean face, 0..1 of the crop; maps: float32 [K, 6, S, S], A and B of RGB in -1..1, by kind."""

    landmarks: np.ndarray
    maps: np.ndarray


def load_looks(run: Path) -> Looks:
    """Load the looks of a run's folder. DVAError if they are missing or damaged."""
    return load_of_run(Looks, run, "looks", "pairs")


def place_at(pictures: Tensor, points: Tensor, where: Tensor, size: int) -> Tensor:
    """Warp pictures [N, C, H, W] with landmarks `points` [N, L, 2] so that these come to lie at `where` [N, L, 2]: [N, C, size, size]."""
    at = face_coordinates(where, points, size).movedim(1, -1) * 2 - 1
    return F.grid_sample(pictures, at, align_corners=False, padding_mode="border")


def fit_looks(
    faces: FaceSet,
    kinds: tuple[str, ...],
    candidates: Callable[[str, FaceSet], np.ndarray],
    change: Callable[[str, np.ndarray, np.ndarray, int], np.ndarray],
    seed: int = 0,
) -> Looks:
    """Fit the maps of `kinds` to people that are not held out.

    candidates  rows of the faces on which a kind would be visible
    change      (kind, picture uint8 [S, S, 3], landmarks [68, 2] in pixels, seed) -> the changed picture
    """
    rng, pixels = np.random.default_rng(seed), faces.pictures.shape[1]
    points = faces.landmarks / pixels
    mean = points.mean(0).astype(np.float32)
    yaw = np.abs(turn(faces.landmarks.astype(np.float64)))
    usable = (yaw <= np.quantile(yaw, FRONTAL)) & ~faces.held_out
    maps = []
    for kind in kinds:
        possible = candidates(kind, faces)
        rows = possible[usable[possible]] if usable[possible].any() else possible
        rows = rng.choice(rows, min(FACES, len(rows)), replace=False)
        enlarged = F.interpolate(torch.from_numpy(faces.pictures[rows]).movedim(-1, 1).float(), (SIZE, SIZE), mode="bicubic")
        own, where = torch.from_numpy(np.float32(points[rows])), torch.from_numpy(mean).expand(len(rows), -1, -1)
        before = np.uint8(place_at(enlarged.clamp(0, 255), own, where, SIZE).movedim(1, -1).numpy() + 0.5)
        after = np.stack([change(kind, picture, mean * SIZE, int(rng.integers(2**31))) for picture in before])
        x, y = before / 127.5 - 1, (after / 127.5 - before / 127.5)
        slope = ((x * y).mean(0) - x.mean(0) * y.mean(0)) / (x.var(0) + LEAST_VARIANCE)
        addition = y.mean(0) - slope * x.mean(0)
        maps.append(np.float32(np.moveaxis(np.concatenate([addition, slope], -1), -1, 0) * weight_of(kind, mean)))
        error = np.abs(addition + slope * x - y).sum() / max(np.abs(y).sum(), 1e-6)
        log.info("looks: %s of %d faces, error %.2f of the change", kind, len(rows), error)
    return Looks(mean, np.stack(maps))


def weight_of(kind: str, landmarks: np.ndarray) -> np.ndarray:
    """Weight [S, S] of a change in the mean face with `landmarks` [68, 2]: UPPER above the nose, 0 on the lips of OPENED."""
    below = np.interp((np.arange(SIZE) + 0.5) / SIZE, landmarks[[BRIDGE, NOSE], 1], [0, 1])
    weight = np.repeat((UPPER.get(kind, 1.0) * (1 - below) + below)[:, None], SIZE, 1)
    if kind in OPENED:
        lips = cv2.fillPoly(np.zeros((SIZE, SIZE), np.float32), [np.int32(landmarks[LIPS] * SIZE + 0.5)], 1.0)
        lips = cv2.dilate(lips, np.ones((SIZE // 24, SIZE // 24), np.uint8))
        weight *= 1 - cv2.GaussianBlur(lips, None, SIZE / 80)
    return weight
