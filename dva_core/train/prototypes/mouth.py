"""The open mouth of a smile: its shape between the mean smile's and a donor's, its inside from the donor, in the face's own light."""

from __future__ import annotations

import cv2
import numpy as np

from dva_core.faces.warp import thin_plate_map
from dva_core.train.prototypes.space import LUMA, from_log, saturation, to_log

OUTER, INNER = np.arange(48, 60), np.arange(60, 68)
MOUTH = np.arange(48, 68)
FINE = 4  # times finer: masks of a mouth some pixels high


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Transform `points` [n, 2] to `target` [n, 2] by the least-squares rotation, scale and translation (Umeyama 1991)."""
    a, b = points - points.mean(0), target - target.mean(0)
    u, values, v = np.linalg.svd(b.T @ a)
    sign = np.diag([1.0, np.sign(np.linalg.det(u @ v))])
    return a @ (u @ sign @ v).T * (values @ np.diag(sign)) / (a**2).sum() + target.mean(0)


def shape_of(target: np.ndarray, donor: np.ndarray, share: float) -> np.ndarray:
    """Blend the mouth of the landmarks `target` [68, 2] with the donor's, aligned to it; `share` is the donor's."""
    result = target.copy()
    result[MOUTH] = (1 - share) * target[MOUTH] + share * similarity(donor[MOUTH], target[MOUTH])
    return result


def mouth_mask(target: np.ndarray, size: int, soft: float) -> np.ndarray:
    """Mask of the area between the lips, float32 [size, size] 0..1."""
    mask = np.zeros((size * FINE, size * FINE), np.uint8)
    cv2.fillPoly(mask, [np.round((target[INNER] * FINE - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    mask = cv2.GaussianBlur(mask, (0, 0), soft * FINE)
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def fill(face: np.ndarray, target: np.ndarray, donor: np.ndarray, points: np.ndarray, skins: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Paste the inside of the donor's mouth between the lips `target` of `face` float32 [S, S, 3].

    `donor` is uint8 with landmarks `points` [68, 2] at its own scale; skins: tones [3] in logarithms of the face and the donor.
    """
    size = len(face)
    where = thin_plate_map(points[MOUTH], target[MOUTH], size)
    donor_mouth = cv2.remap(donor, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    alpha = mouth_mask(target, size, 0.006 * size)[..., None]
    return face * (1 - alpha) + from_log(relit(to_log(donor_mouth), *skins)) * alpha


def relit(light: np.ndarray, skin: np.ndarray, donor_skin: np.ndarray) -> np.ndarray:
    """Adjust a donor's mouth to the face's light by half of the skins' difference (the other half is skin colour, which teeth lack).

    Teeth are never much brighter than the skin, and grey in a grey picture.
    """
    off = skin - donor_skin
    luma = off @ LUMA
    light = light + np.clip(0.5 * luma, -0.4, 0.3) + 0.5 * np.clip(off - luma, -0.3, 0.3)
    bright = light @ LUMA
    excess = bright - (skin @ LUMA + 0.3)
    chroma = light - bright[..., None]
    chroma *= 1 - 0.5 * np.clip((bright[..., None] - skin @ LUMA + 0.1) / 0.3, 0, 1)  # teeth of warm light look yellow in another
    return (bright - 0.4 * np.maximum(excess, 0))[..., None] + saturation(skin) * chroma
