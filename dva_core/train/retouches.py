"""What each kind of pair does to the pixels of the mean face: where they move, and how far the skin's texture is smoothed.

Pixels move as the prototypes' landmarks do. They move within the face only, for an edit is pasted no further. How far skin is smoothed
is chosen by eye. The maps are the patterns of a noise predictor's retouch (networks/retouch.py, fit_texture).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from dva_core.faces.align import MIRROR68
from dva_core.faces.composite import blur, disc
from dva_core.faces.regions import outlines
from dva_core.faces.warp import inside, thin_plate_map
from dva_core.networks.hull import extend_hull

SIZE = 128  # pixels of the mean face
SMOOTHING = {"Younger": 0.7, "Female": 0.4, "Heavy_Makeup": 0.6, "Older": -0.35, "Male": -0.2}
FEATURES = 0.012  # of the crop: distance from eyes, brows and lips at which skin is smoothed by half
HULL, SOFT = 0.95, 0.025  # scale of the face's hull at whose edge nothing moves any more; the blur of its edge, of the crop


def fit_retouches(landmarks: np.ndarray, kinds: tuple[str, ...], move: Callable[[str, np.ndarray], np.ndarray]) -> np.ndarray:
    """The maps of `kinds`, float32 [K, 3, SIZE, SIZE]: shift right and down, in widths of the crop, and smoothing.

    landmarks [68, 2]: of the mean face, in 0..1 of the crop; move(kind, landmarks) -> where a kind moves them.
    """
    maps, face = np.zeros((len(kinds), 3, SIZE, SIZE), np.float32), within(landmarks)
    skin = np.float32(outlines(landmarks)["skin"])
    skin = blur(cv2.erode(skin, disc(FEATURES * len(skin))), FEATURES * len(skin))
    skin = cv2.resize(skin, (SIZE, SIZE), interpolation=cv2.INTER_AREA) * face
    still = np.stack(np.meshgrid(*2 * [np.arange(SIZE, dtype=np.float32)]), -1)
    for one, kind in zip(maps, kinds):
        shift = move(kind, landmarks) - landmarks
        if shift.any():
            shift = (shift + shift[MIRROR68] * [-1, 1]) / 2
            where = thin_plate_map(landmarks * SIZE, (landmarks + shift) * SIZE, SIZE)
            one[:2] = np.moveaxis(where - still, -1, 0) * face / SIZE
        one[2] = SMOOTHING.get(kind, 0.0) * skin
    return maps


def within(landmarks: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Weights [size, size] that fall to 0 at the edge of the face with `landmarks` [68, 2] in 0..1 of the crop."""
    hull = extend_hull(landmarks)
    middle = (hull.min(0) + hull.max(0)) / 2
    return inside(middle + HULL * (hull - middle), size, 2 * SOFT, SOFT)
