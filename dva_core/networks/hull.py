"""A face mask without a parser: the convex hull of 68 landmarks, extended over the forehead."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

CHIN, BROWS = 8, slice(17, 27)  # of the 68 landmarks
FOREHEAD = 0.5  # of the distance from chin to brows: the face is about three equal parts, and the forehead one of them
SLOPE = 0.4  # how much less the forehead rises at the brows' outer ends
FRACTION_BITS = 4  # of cv2's fixed-point coordinates


def extend_hull(points: np.ndarray) -> np.ndarray:
    """Add points at the hairline [10, 2] to landmarks [68, 2]: [78, 2]."""
    brows = points[BROWS]
    up = brows.mean(axis=0) - points[CHIN]
    rise = FOREHEAD * (1 - SLOPE * np.linspace(-1, 1, len(brows)) ** 2)
    return np.concatenate([points, brows + rise[:, None] * up])


def hull_mask(landmarks: Tensor, size: int, growth: float = 1.0) -> Tensor:
    """Mask of landmarks [B, 68, 2], (x, y) in 0..1 of a square picture: float32 [B, 1, size, size] in {0, 1}, on their device.

    `growth` enlarges the hull about its centre.
    """
    masks = np.zeros((len(landmarks), size, size), np.uint8)
    for mask, points in zip(masks, landmarks.detach().cpu().numpy().astype(np.float64)):
        hull = cv2.convexHull(extend_hull(points).astype(np.float32))[:, 0]
        centre = (hull.min(axis=0) + hull.max(axis=0)) / 2
        pixels = (centre + growth * (hull - centre)) * size - 0.5  # cv2 counts from the middle of a pixel
        cv2.fillConvexPoly(mask, np.round(pixels * 2**FRACTION_BITS).astype(np.int32), 1, cv2.LINE_8, FRACTION_BITS)
    return torch.from_numpy(masks)[:, None].to(landmarks.device, torch.float32)
