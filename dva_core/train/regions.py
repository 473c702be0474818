"""Regions measured on drawn pairs: where, in the face's own coordinates, each kind of drawing changes the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from dva_core.faces.composite import blur
from dva_core.faces.regions import MEAN_FACE, warp_map
from dva_core.model.autoencoder import REGION_SIZE
from dva_core.train.drawings import draw, style
from dva_core.train.faces import FaceSet

KINDS: Mapping[str, Sequence[str]] = {
    "eyes": ("Eyeglasses", "Sunglasses"),
    "lower": ("Beard", "Goatee", "5_o_Clock_Shadow"),
    "moustache": ("Mustache",),
    "mouth": ("Wearing_Lipstick",),
    "brows": ("Bushy_Eyebrows",),
}
FACES = 200
WHOLE = 0.3  # share of the most frequent pixel's count from which a pixel belongs fully to the region
FINE, EDGE = 128, 0.012  # pixels of the canonical face while it is measured, and the blur of the edge in its widths


def measure_regions(faces: FaceSet, count: int = FACES, seed: int = 0, kinds: Mapping[str, Sequence[str]] = KINDS) -> dict[str, np.ndarray]:
    """Measure regions [32, 32] float32 in 0..1 on MEAN_FACE: drawn looks of the `kinds` of each on `count` faces."""
    rows = np.random.default_rng(seed).permutation(len(faces))[:count]
    return {name: np.max([measure_region(faces, rows, kind, seed) for kind in parts], axis=0) for name, parts in kinds.items()}


def measure_region(faces: FaceSet, rows: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Average over faces where one kind is drawn, [32, 32], relative to its maximum."""
    total = np.zeros((FINE, FINE))
    for row in rows:
        drawing = draw(kind, faces.pictures[row], faces.landmarks[row], style(kind, np.random.default_rng([seed, row])))
        size = faces.pictures.shape[1]
        total += warp_map(drawing.mask, faces.landmarks[row] / size, MEAN_FACE, FINE)
    region = blur(np.clip(total / (WHOLE * total.max()), 0, 1), EDGE * FINE)
    return cv2.resize(region.astype(np.float32), (REGION_SIZE, REGION_SIZE), interpolation=cv2.INTER_AREA).clip(0, 1)
