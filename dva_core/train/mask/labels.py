"""Labels of the face mask: the hull of the landmarks, cut by a model of the skin colours in each picture.

Colours: a Gaussian mixture of cheeks and nose against one of the surroundings of the hull, refined by GrabCut (Rother et al. 2004). Eyes,
brows, lips, beard and glasses lie inside the outline of the features, which is always face; forehead, temples and rim depend on colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dva_core.faces.composite import disc
from dva_core.networks.hull import extend_hull

FINE, ROUNDS = 176, 2  # pixels of the picture in which labels are cut, and how often: GrabCut takes its time
MARGIN = 0.1  # margin around the hull, as a share of the picture, from which GrabCut models the surroundings
COMPONENTS = 3  # of the mixture of skin
SAMPLE = 800  # colours that a mixture is fitted to
NOISE = 6.0  # variance added to each colour, in Lab: of skin in another light
LEAST_SHARE, LEAST_COVERED = 0.62, 0.45  # of the hull that must be left, or the picture is dropped; under bangs and hats
LEAST_FOREHEAD = 0.12  # of the part above the brows, where no hat, no bangs are known of
MOST_PIECES = 0.04  # of the label that may lie apart from its largest piece
LEAST_CONTRAST = 1.0  # between the likelihoods of what was cut away and what was kept, in nats


@dataclass(frozen=True)
class Label:
    """`face` bool [S, S]: visible face; `hull` bool [S, S]: hull of the landmarks; `score`: reliability, 0 or less is discarded."""

    face: np.ndarray
    hull: np.ndarray
    score: float


def polygon(points: np.ndarray, size: int) -> np.ndarray:
    """Fill the polygon `points` [n, 2], in pixels: bool [size, size]."""
    layer = np.zeros((size, size), np.uint8)
    cv2.fillPoly(layer, [np.int32(np.round((points - 0.5) * 16))], 1, cv2.LINE_8, 4)
    return layer > 0


def enlarge(points: np.ndarray, factor: float) -> np.ndarray:
    """Scale points [n, 2] about the middle of their bounding box."""
    middle = (points.min(0) + points.max(0)) / 2
    return middle + factor * (points - middle)


def features(points: np.ndarray, size: int, covered_brows: bool) -> np.ndarray:
    """The part that is face regardless of colour: eyes, nose, mouth, beard and, unless hair covers them, brows."""
    nose, brows = points[30], points[17:27]
    jaw = nose + 0.86 * (points[2:15] - nose)
    down = (points[36:48].mean(0) - brows.mean(0)) * (0.75 if covered_brows else -0.05)
    return polygon(cv2.convexHull(np.concatenate([jaw, nose + 0.94 * (brows + down - nose)]).astype(np.float32))[:, 0], size)


def mixture(colours: np.ndarray, components: int = COMPONENTS):
    """Fit a Gaussian mixture, regularised by noise, to Lab colours [n, 3]; returns a function that gives the log density of colours."""
    from sklearn.mixture import GaussianMixture

    step = max(1, len(colours) // SAMPLE)
    return GaussianMixture(components, covariance_type="full", reg_covar=NOISE, max_iter=30, tol=1e-2, random_state=0).fit(colours[::step])


def cut_label(
    picture: np.ndarray, landmarks: np.ndarray, *, covered_brows: bool = False, glasses: bool = False, beard: bool = False
) -> Label:
    """Label one aligned face: picture uint8 [S, S, 3], landmarks [68, 2] in its pixels.

    covered_brows: hair or a hat covers the brows; glasses: their rims and arms inside the hull count as face; beard: so do the cheeks.
    """
    size = len(picture)
    scale = FINE / size
    points = landmarks.astype(np.float64) * scale
    fine = cv2.resize(picture, (FINE, FINE), interpolation=cv2.INTER_CUBIC)
    lab = cv2.cvtColor(np.float32(cv2.bilateralFilter(fine, 5, 25, 3)) / 255, cv2.COLOR_RGB2LAB)
    outline = cv2.convexHull(extend_hull(points).astype(np.float32))[:, 0].astype(np.float64)
    hull, wide = polygon(outline, FINE), polygon(enlarge(outline, 1.06), FINE)
    rows = np.arange(FINE)[:, None]
    mouth = points[48:60].mean(0)[1]
    wide = (wide & (rows < mouth)) | hull  # at the jaw the colour is that of the neck
    sure = features(points, FINE, covered_brows) & hull
    if glasses:
        eyes = points[36:48].mean(0)[1]
        sure |= hull & (np.abs(rows - eyes) < 0.22 * (mouth - eyes))
    if beard:
        sure |= hull & (rows > points[30, 1])
    skin = skin_patch(points, FINE)
    far = cv2.dilate(wide.astype(np.uint8), disc(0.02 * FINE)) == 0
    far &= rows < points[8, 1]  # below the chin is skin too
    foreground = mixture(lab[skin])
    background = mixture(lab[far], 5) if far.sum() > 250 else None
    ratio = np.full((FINE, FINE), -1.0)
    ratio[wide] = foreground.score_samples(lab[wide]) - (background.score_samples(lab[wide]) if background is not None else 0)
    trimap = np.full((FINE, FINE), cv2.GC_BGD, np.uint8)
    trimap[wide] = np.where(ratio[wide] > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    trimap[sure] = cv2.GC_FGD
    around = window(wide)
    part = np.ascontiguousarray(trimap[around])
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(fine[around][..., ::-1]), part, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    face = np.zeros((FINE, FINE), np.uint8)
    face[around] = (part == cv2.GC_FGD) | (part == cv2.GC_PR_FGD)
    face = cv2.morphologyEx(face, cv2.MORPH_OPEN, disc(0.008 * FINE))
    face = cv2.morphologyEx(face, cv2.MORPH_CLOSE, disc(0.012 * FINE)) > 0
    whole = face.sum()
    face = fill_holes(largest_piece(face | sure))
    pieces = 1 - face.sum() / max(whole, 1)
    share = (face & hull).sum() / hull.sum()
    cut, rest = hull & ~face, face & ~sure
    contrast = np.median(ratio[rest]) - np.median(ratio[cut]) if cut.sum() > 0.02 * hull.sum() and rest.any() else 10.0
    forehead = hull & (rows < points[17:27, 1].min() - 0.02 * FINE)
    bare = (face & forehead).sum() / max(forehead.sum(), 1)
    visibility = share - LEAST_COVERED if covered_brows else min(share - LEAST_SHARE, bare - LEAST_FOREHEAD)
    score = min(visibility, (contrast - LEAST_CONTRAST) / 10, MOST_PIECES - pieces)
    return Label(to_pixels(face, size), to_pixels(hull, size), float(score))


def to_pixels(mask: np.ndarray, size: int) -> np.ndarray:
    """Resize a bool mask to `size` pixels: True where at least half covered."""
    return cv2.resize(np.float32(mask), (size, size), interpolation=cv2.INTER_AREA) >= 0.5


def window(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a mask [FINE, FINE] with MARGIN around it."""
    room = round(MARGIN * FINE)
    lines = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return tuple(slice(max(0, line[0] - room), line[-1] + room + 1) for line in lines)


def skin_patch(points: np.ndarray, size: int) -> np.ndarray:
    """Cheeks and nose, below the eyes and above the mouth: bool [size, size]."""
    nose = points[30]
    area = points[[1, 2, 3, 48, 33, 54, 13, 14, 15, 46, 42, 28, 39, 41]]
    inner = nose + 0.8 * (area - nose)
    inner[9:] = area[9:] + 0.15 * (nose - area[9:])
    return polygon(inner, size)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return pieces == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]) if count > 1 else mask


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of the mask: regions not connected to the border of the picture."""
    padded = np.pad((~mask).astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(padded, None, (0, 0), 2)
    return padded[1:-1, 1:-1] != 2
