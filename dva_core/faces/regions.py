"""Regions of the face: soft maps in the coordinates of a mean face, warped to a crop by its landmarks.

An attribute may have one: glasses a band around the eyes, a beard the area below the nose. A bundle may have maps of its own;
those here are drawn from the landmarks of a mean face.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from einops import reduce

from dva_core.faces.composite import blur, border_fade, disc, smoothstep
from dva_core.model.autoencoder import JAW, REGION_SIZE
from dva_core.networks.hull import extend_hull
from dva_core.networks.texture import HINGE, eyes_and_nose

FINE = 256  # pixels at which the maps are drawn
OFF = "off"
CHIN = slice(5, 12)  # of the 68 landmarks: the jaw below the corners of the mouth
EDGE = 0.02  # of the crop: the blur of a drawn region
ROOM = 0.1  # of the crop: how far below the face mask a region may reach
WORN = ("eyes",)  # regions of what is drawn over the hair, and beyond the face's outline
BESIDE = 0.12  # of the crop: how far such a region extends beside its map
REACH, TIMES = 0.025, 8  # of the crop: how far what covers the middle of the face is followed outwards at a time, and how often

# the 68 landmarks in thousandths of the crop: the medians over 1,376 synthetic faces by the starter's landmark network, made symmetrical
MEAN_FACE = (
    np.fromstring(
        """
    228 477 235 551 247 621 260 683 284 757 321 812 363 851 417 891 500 913 583 891 637 851 679 812 716 757 740 683 753 621
    765 551 772 477 281 409 313 385 356 378 395 382 430 394 570 394 605 382 644 378 687 385 719 409 500 478 500 527 500 577
    500 620 453 649 475 656 500 662 525 656 547 649 334 469 358 457 395 457 426 475 396 483 359 483 574 475 605 457 642 457
    666 469 641 483 604 483 398 743 434 727 478 713 500 720 522 713 566 727 602 743 565 774 533 787 500 793 467 787 435 774
    406 744 469 739 500 737 531 739 594 744 531 758 500 761 469 758
    """,
        sep=" ",
    ).reshape(68, 2)
    / 1000
)


@dataclass(frozen=True, eq=False)
class Region:
    """A map [n, n] float32 in 0..1 and the 68 landmarks [68, 2], in 0..1 of the crop, of the face that it is drawn on.

    worn: of what is worn over the hair, such as glasses; whole: the whole visible face, whatever the map.
    """

    map: np.ndarray
    landmarks: np.ndarray
    worn: bool = False
    whole: bool = False

    def on(self, points: np.ndarray, size: int) -> np.ndarray:
        """Warp the map to a crop [size, size] whose 51 inner landmarks are `points` [51, 2], in 0..1 of it.

        By the least-squares affine map between the landmarks, which follows the pose of the head, not single points.
        """
        return warp_map(self.map, self.landmarks[JAW:], points, size)


def warp_map(image: np.ndarray, source: np.ndarray, target: np.ndarray, size: int) -> np.ndarray:
    """Warp a map [n, n] of a face with landmarks `source` [P, 2] to [size, size] with landmarks `target` [P, 2], both in 0..1."""
    affine = np.linalg.lstsq(np.concatenate([target, np.ones((len(target), 1))], 1), source, rcond=None)[0].T  # here -> there
    n = len(image)
    linear = affine[:, :2] * n / size
    shift = affine[:, 2] * n + linear @ (0.5, 0.5) - 0.5  # cv2 counts from the middle of a pixel
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = np.column_stack([linear, shift])
    return cv2.warpAffine(np.asarray(image, np.float32), matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def hull(points: np.ndarray, grow: float = 0.0) -> np.ndarray:
    """The convex hull of points [n, 2], in 0..1 of the crop, dilated by `grow` of the crop: bool [FINE, FINE]."""
    mask = np.zeros((FINE, FINE), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(points * FINE - 0.5).astype(np.int32)), 1)
    reach = round(grow * FINE)
    return (cv2.dilate(mask, disc(reach)) if reach else mask) > 0


def outlines(face: np.ndarray) -> dict[str, np.ndarray]:
    """Region -> bool [FINE, FINE], drawn from the 68 landmarks `face` [68, 2] in 0..1 of the crop."""
    y, x = (np.mgrid[:FINE, :FINE] + 0.5) / FINE
    eyes, mouth, chin = face[36:48].mean(0), face[48:60].mean(0), face[8]
    unit = mouth[1] - eyes[1]  # from the eyes to the mouth
    whole, brow, nose = hull(extend_hull(face)), face[17:27], face[31:36]
    lips, brows = hull(face[48:60], 0.02), hull(face[17:22], 0.032) | hull(face[22:27], 0.032)
    band = np.abs(y - eyes[1] - 0.03 * unit) < 0.34 * unit
    below_nose = y > nose[:, 1].mean() - 0.05 * unit
    cheeks = (y > eyes[1] + 0.15 * unit) & (y < mouth[1])
    room = hull(np.concatenate([face[3:14], face[3:14] + (0, ROOM)]))
    # a beard goes up to the ears along the jaw: its upper edge rises from the corners of the mouth to the sides
    offset = np.abs(x - eyes[0]) / (face[16, 0] - face[0, 0])
    beard = (y > nose[:, 1].mean() - 1.1 * unit * np.clip(offset - 0.25, 0, 1)) & (whole | room)
    return {
        "eyes": band & (whole | (np.abs(x - eyes[0]) < 1.04 * (face[16, 0] - eyes[0]))),
        "brows": brows,
        "nose": hull(np.concatenate([face[27:28], nose, nose[[0, -1]] + (0, -0.2 * unit)]), 0.03),
        "mouth": lips,
        "moustache": below_nose & hull(np.concatenate([nose, face[48:55] + (0, 0.05 * unit), face[[48, 54]] + (0, 0.2 * unit)]), 0.02),
        "lower": beard,
        "chin": whole & (y > mouth[1] + 0.25 * (chin[1] - mouth[1])),
        "forehead": whole & (y < brow[:, 1].min() + 0.02),
        "cheeks": whole & cheeks,
        "skin": whole & ~hull(face[36:42], 0.01) & ~hull(face[42:48], 0.01) & ~lips & ~brows,
    }


def draw_regions(face: np.ndarray = MEAN_FACE) -> dict[str, Region]:
    """The regions of a face with 68 landmarks [68, 2], by name."""
    return {name: Region(soft_map(mask), face) for name, mask in outlines(face).items()}


def soft_map(mask: np.ndarray) -> np.ndarray:
    """Convert a mask bool [FINE, FINE] to a map [32, 32] with a blurred edge."""
    return reduce(blur(mask.astype(np.float32), EDGE * FINE), "(y h) (x w) -> y x", "mean", y=REGION_SIZE, x=REGION_SIZE)


REGIONS: Mapping[str, Region] = draw_regions()
WHOLE = Region(np.ones((REGION_SIZE, REGION_SIZE), np.float32), MEAN_FACE, whole=True)


BELOW = Region(soft_map(hull(np.concatenate([MEAN_FACE[CHIN], MEAN_FACE[CHIN] + (0, ROOM)]))), MEAN_FACE)  # where there is room for a beard

_INNER = MEAN_FACE[JAW:]
MIDDLE = Region(soft_map(hull(_INNER.mean(0) + 0.75 * (_INNER - _INNER.mean(0)))), MEAN_FACE)  # from eye to eye and mouth

_UNIT = np.diff(MEAN_FACE[36:48].reshape(2, 6, 2).mean(1)[:, 0])  # the distance of its eyes
_BESIDE = np.tile((np.arange(FINE) + 0.5) / FINE - 0.5, (FINE, 1)) / _UNIT
BESIDE_RIMS = Region(soft_map(np.abs(_BESIDE) > HINGE + 0.14), MEAN_FACE)  # where of glasses there are temples only
SIDES = [Region(soft_map(side * _BESIDE > 0.5), MEAN_FACE) for side in (-1, 1)]  # left and right of the middle of the face
TURNED = (0.08, 0.16)  # distances of the eyes that the nose is off their middle: from which of the far side only what is seen counts

INNER = 0.85  # scale of the mean face's hull, so that it lies within wide and narrow faces alike
_HULL = extend_hull(MEAN_FACE)
WITHIN = Region(soft_map(hull(_HULL.mean(0) + INNER * (_HULL - _HULL.mean(0)))), MEAN_FACE)


def hidden_share(mask: np.ndarray, points: np.ndarray, cover: np.ndarray | None = None) -> float:
    """Share of a face, 0..1, that its mask [C, C] excludes or that `cover` [C, C] hides, both in 0..1.

    The face is the hull of a mean face, slightly smaller, fitted to the inner landmarks `points` [51, 2], in 0..1 of the crop.
    """
    face = WITHIN.on(points, len(mask))
    visible = mask if cover is None else mask * (1 - cover)
    return float(1 - (face * visible).sum() / max(face.sum(), 1e-6))


def limit_to_regions(regions: Iterable[Region], points: np.ndarray, visible: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The union [C, C] of the regions on a face, extended below the chin. visible, whole [C, C]: soft masks of the visible face, and of
    all of it; of the far side of a turned head, where landmarks lie beyond it, the visible part. `points` as of `Region.on`.
    """
    size, turn = len(whole), turn_of(points)
    far = smoothstep(*TURNED, abs(turn))
    if far:
        whole = np.maximum(visible, whole * (1 - far * SIDES[turn > 0].on(points, size)))
    return np.max([region.on(points, size) for region in regions], axis=0) * with_room(whole, points)


def turn_of(points: np.ndarray) -> float:
    """How far the tip of the nose is to the right of the middle of the eyes, in distances of the eyes: inner landmarks [51, 2]."""
    return float(eyes_and_nose(torch.from_numpy(points)[None])[2])


def limit_to_worn(regions: Iterable[Region], points: np.ndarray, front: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The union [C, C] of regions of what is worn, except for what covers the middle of the face, and hair that lies over temples.

    front [C, C], 0..1: what is in front of the face; hair beside it is under glasses, but a hand over an eye, and all that hangs together
    with it, is over them. mask [C, C]: soft, of the visible face. `points` as of `Region.on`.
    """
    size = len(front)
    here, beside = np.max([region.on(points, size) for region in regions], axis=0), 2 * round(BESIDE * size) + 1
    here = cv2.dilate(here, np.ones((1, beside), np.uint8)) * border_fade(size) * (1 - BESIDE_RIMS.on(points, size) * (1 - mask))
    around, covers = disc(REACH * size), front * smoothstep(0.6, 0.9, MIDDLE.on(points, size))
    for _ in range(TIMES):  # what it is connected with covers too
        covers = np.minimum(front, cv2.dilate(covers, around))
    return here * (1 - covers)


def with_room(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Extend the soft mask [C, C] downwards by ROOM below the chin, with its own edge; it still reaches 0 before the border."""
    reach = round(ROOM * len(mask))
    column = np.concatenate([np.ones(reach + 1), np.zeros(reach)])[:, None].astype(np.uint8)  # covers the pixels above
    below = BELOW.on(points, len(mask)) * border_fade(len(mask))
    return np.maximum(mask, cv2.dilate(mask, column) * below)
