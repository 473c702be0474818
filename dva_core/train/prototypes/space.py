"""The shape-normalised space: every face warped onto one symmetric mean shape, in logarithms of light.

Ratios of light (Liu et al. 2001) become differences there, so that what is measured on light skin fits dark skin.
Coordinates are continuous (0 is the outer corner of the first pixel), as everywhere in `faces`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dva_core.faces.align import MIRROR68
from dva_core.faces.warp import thin_plate_map
from dva_core.networks.hull import extend_hull
from dva_core.train.synthesis import normalise

SIZE = 192  # of the mean space; the face fills it, so that nothing of a 128 px picture is lost
EYE_DISTANCE = 66.0  # of the mean shape, in its pixels
EYES_AT = (SIZE / 2, 82.0)
DARK = 20.0  # added to a grey level before the logarithm: noise of shadows stays small
LUMA = np.float32([0.299, 0.587, 0.114])
BROW_MIRROR = np.arange(77, 67, -1)  # of the ten points of the forehead
MIRROR78 = np.concatenate([MIRROR68, BROW_MIRROR])
PARTS = {"eyes": (np.r_[36:42], np.r_[42:48]), "brows": (np.r_[17:22], np.r_[22:27]), "lips": (np.r_[48:60],), "nose": (np.r_[31:36],)}


def to_log(picture: np.ndarray) -> np.ndarray:
    """Convert grey levels to float32 logarithms of light; values below 0, from a cubic filter, count as 0."""
    return np.log(np.maximum(picture, 0).astype(np.float32) + DARK)


def from_log(light: np.ndarray) -> np.ndarray:
    """Convert back to float32 grey levels, neither rounded nor clipped."""
    return np.exp(light) - DARK


def polygon(points: np.ndarray, size: int, growth: float = 1.0, soft: float = 0.0) -> np.ndarray:
    """Convex hull of `points`, enlarged about its middle, with a border `soft` pixels (sigma) wide: float32 [size, size] 0..1."""
    hull = cv2.convexHull(np.float32(points))[:, 0]
    centre = (hull.min(0) + hull.max(0)) / 2
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, np.round((centre + growth * (hull - centre) - 0.5) * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    mask = mask.astype(np.float32) / 255
    return cv2.GaussianBlur(mask, (0, 0), soft) if soft else mask


@dataclass
class MeanSpace:
    """The mean shape and its regions.

    points [78, 2]: 68 landmarks and the line of the hair; relative [68, 2]: the mean shape in eye distances (`synthesis.normalise`);
    regions: float32 [SIZE, SIZE] 0..1 by name: face (less towards the hair), skin (no eyes, brows, lips, nostrils), eyes, brows, lips,
    cheeks, eyeballs, beard (jaw, chin, upper lip), glabella (between the brows), crown (forehead, temples and the hair beside them).
    """

    points: np.ndarray
    relative: np.ndarray
    regions: dict[str, np.ndarray]

    @classmethod
    def fit(cls, landmarks: np.ndarray) -> MeanSpace:
        """Fit to landmarks [n, 68, 2] of nearly frontal faces; made symmetric."""
        mean = np.mean([normalise(points)[0] for points in landmarks], 0)
        mean = (mean + mean[MIRROR68] * [-1, 1]) / 2
        points = extend_hull(mean) * EYE_DISTANCE + EYES_AT
        return cls(points, mean, make_regions(points))

    def read(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Warp a face uint8 [S, S, 3] to the mean space, in logarithms, float32 [SIZE, SIZE, 3]."""
        where = thin_plate_map(extend_hull(landmarks), self.points, SIZE)
        return to_log(cv2.remap(picture, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))

    def map_to(self, landmarks: np.ndarray, size: int) -> np.ndarray:
        """Backward map [size, size, 2]: position in the mean space of each pixel of a picture with these landmarks."""
        return thin_plate_map(self.points, extend_hull(landmarks), size)


def make_regions(points: np.ndarray) -> dict[str, np.ndarray]:
    face = polygon(points, SIZE, 0.93, 5)
    eyes, brows, lips, nose = (
        np.max([polygon(points[part], SIZE, growth, 2.5) for part in PARTS[name]], 0)
        for name, growth in (("eyes", 1.35), ("brows", 1.25), ("lips", 1.2), ("nose", 1.2))
    )
    skin = face * (1 - eyes) * (1 - brows) * (1 - lips) * (1 - 0.7 * nose)
    cheeks = polygon(points[[2, 3, 4, 5, 48, 31, 40, 41]], SIZE, 0.8) + polygon(points[[14, 13, 12, 11, 54, 35, 46, 47]], SIZE, 0.8)
    brow, hair = points[17:27, 1].min(), points[68:, 1].min()
    rows = np.arange(SIZE)[:, None] + 0.5
    hairless = np.clip((rows - (0.2 * brow + 0.8 * hair)) / (0.6 * (brow - hair)), 0, 1).astype(np.float32)
    above = np.clip((points[36:48, 1].mean() - rows) / 12, 0, 1).astype(np.float32)
    crown = polygon(points, SIZE, 1.25, 8) * above * (1 - eyes) * (1 - brows)
    cheeks = np.minimum(cheeks, 1) * skin
    beard = face * (1 - lips) * np.clip((rows - points[33, 1]) / 8, 0, 1).astype(np.float32)
    glabella = polygon(points[[20, 21, 22, 23, 28]], SIZE, 1.3, 3)
    eyeballs = np.max([polygon(points[part], SIZE, 1.0, 1.5) for part in PARTS["eyes"]], 0)
    regions = {"eyeballs": eyeballs, "beard": beard, "glabella": glabella, "crown": crown}
    return regions | {"face": face * hairless, "skin": skin, "eyes": eyes, "brows": brows, "lips": lips, "cheeks": cheeks}


def tone(light: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Median [..., C] over the area where `region` is above 0.5."""
    return np.median(light[region > 0.5], 0)


def saturation(skin: np.ndarray) -> float:
    """0 for the skin [3] of a grey picture, 1 for that of a coloured one."""
    return float(np.clip((np.abs(skin - skin @ LUMA).sum() - 0.05) / 0.25, 0, 1))


def likeness(light: np.ndarray, space: MeanSpace, width: float = 0.45) -> np.ndarray:
    """Similarity of each place to the face's own skin, 0..1: low on hair, hats, glasses. `light` from `MeanSpace.read`."""
    smooth = cv2.GaussianBlur(light, (0, 0), 3)
    off = smooth - tone(smooth, space.regions["cheeks"])
    luma = off @ LUMA
    chroma = np.abs(off - luma[..., None]).sum(-1)
    return np.exp(-((np.minimum(luma + 0.15, 0) / width) ** 2) - (np.maximum(luma - 0.1, 0) / width) ** 2 - (chroma / 0.35) ** 2)


def band(light: np.ndarray, weight: np.ndarray, width: float = 7.0) -> np.ndarray:
    """Luminance detail finer than `width` pixels (sigma) [SIZE, SIZE].

    The smooth part is averaged over the places of `weight` only, so that eyes or hair do not bleed in.
    """
    luma = light @ LUMA
    weight = weight + 1e-3
    smooth = cv2.GaussianBlur(luma * weight, (0, 0), width) / cv2.GaussianBlur(weight, (0, 0), width)
    return luma - smooth
