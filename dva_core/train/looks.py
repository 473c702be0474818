"""What each kind of pair changes, on the mean face: at every place of it, pixel x -> x + A + B x, by least squares.

Faces are warped to the mean landmarks before they are changed, so a drawing lies at the same pixels in all of them, and rims, strands and
lines stay as sharp as they are drawn. Age and sex are shades: the pixel's light is multiplied by a factor, so that they have the colour of
the skin they lie on. The maps are the patterns of a noise predictor's texture (networks/texture.py, fit_texture).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.faces.align import whole_square
from dva_core.faces.composite import blur, disc, smoothstep
from dva_core.faces.regions import outlines
from dva_core.faces.retouch import retouch_face
from dva_core.networks.texture import face_coordinates
from dva_core.train.arrays import Arrays, load_of_run
from dva_core.train.faces import FaceSet
from dva_core.train.moves import MOVES
from dva_core.train.prototypes.change import turn
from dva_core.train.retouches import fit_retouches, within

log = logging.getLogger(__name__)

SIZE = 384  # pixels of the mean face
FACES = 48  # a kind
LEAST_VARIANCE = 0.002  # of the pixels at a place, which keeps B small where all faces are alike
OPAQUE = (0.85, 0.95)  # opacity from which a drawing is taken to cover all: it is regressed a little too low
LEAST_LIGHT = 0.05  # mean square of the light at a place, 0..2, which keeps a factor small where all faces are dark
SHADES = ("Older", "Younger", "Male", "Female")  # kinds that multiply the light of a pixel
BRIGHTEST = 0.12  # of a shade: more is a gleam
CLOSED = ("Older", "Male")  # shades without the lips, and that lighten no brow
LIPS_ONLY = ("Younger", "Female", "Wearing_Lipstick", "Heavy_Makeup")  # changes of the lips that leave out the mouth inside of them: teeth
MOUTHS = ("Smiling",)  # changes of the mouth, around which they are shades
UPPER = {"Smiling": 0.3}  # share of a change that is kept above the nose: eyes that narrow are warped, which a pixel's value cannot tell
CHROMA = {"Older": 0.4}  # share of the colour of a shade that is kept: skin that darkens must not turn grey
WARM = {"Older": (0.8, 1.0, 1.1)}  # of what a shade takes of red, green and blue: a fold of skin lets red through
BROAD = {"Older": 0.4}  # share of its low frequencies that is kept: folds, not dark cheeks
NO_LINES = {"Younger": 0.03, "Female": 0.03, "Male": 0.015}  # of the crop: blur of a shade on skin, so that it draws no folds
LEAST_BROWS = {"Younger": 0.4}  # share of a shade that is kept on the brows
JAW, BROWS, LIPS, MOUTH = slice(0, 17), (slice(17, 22), slice(22, 27)), slice(48, 60), slice(60, 68)  # landmarks
BRIDGE, NOSE = 28, 33  # landmarks between which it fades
FRONTAL = 0.6  # share of the faces, those turned least, that are used


@dataclass
class Looks(Arrays):
    """What each of K kinds changes on the mean face.

    landmarks: float32 [68, 2] of it, 0..1 of the crop; maps: float32 [K, 6, S, S], A and B of RGB in -1..1; retouches: float32
    [K + V, 3, R, R], as of `fit_retouches`, which come before A and B, and those of the V MOVES.
    """

    landmarks: np.ndarray
    maps: np.ndarray
    retouches: np.ndarray


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
    move: Callable[[str, np.ndarray], np.ndarray],
    draw: Callable[[str, np.ndarray], tuple[np.ndarray, np.ndarray] | None] = lambda kind, landmarks: None,
    seed: int = 0,
) -> Looks:
    """Fit the maps of `kinds` to people that are not held out.

    candidates  rows of the faces on which a kind would be visible
    change      (kind, picture uint8 [S, S, 3], landmarks [68, 2] in pixels, seed) -> the changed picture
    move        (kind, landmarks [68, 2]) -> where the pixels of a face are moved
    draw        (kind, landmarks [68, 2]) -> A and B [SIZE, SIZE, 3] of what is drawn on the mean face itself, or None: fitted to pictures
    """
    rng, pixels = np.random.default_rng(seed), faces.pictures.shape[1]
    points = faces.landmarks / pixels
    mean = points.mean(0).astype(np.float32)
    yaw = np.abs(turn(faces.landmarks.astype(np.float64)))
    usable = (yaw <= np.quantile(yaw, FRONTAL)) & ~faces.held_out
    maps, retouches = [], fit_retouches(mean, (*kinds, *MOVES), move)
    for kind, retouch in zip(kinds, retouches):
        if (layer := draw(kind, mean)) is not None:
            maps.append(as_map(*layer))
            continue
        possible = candidates(kind, faces)
        rows = possible[usable[possible]] if usable[possible].any() else possible
        rows = rng.choice(rows, min(FACES, len(rows)), replace=False)
        before, after = np.empty((2, len(rows), SIZE, SIZE, 3), np.uint8)
        for number, row in enumerate(rows):
            picture = torch.from_numpy(faces.pictures[[row]]).movedim(-1, 1).float()
            enlarged = F.interpolate(picture, (SIZE, SIZE), mode="bicubic").clamp(0, 255)
            own, where = torch.from_numpy(np.float32(points[[row]])), torch.from_numpy(mean)[None]
            before[number] = place_at(enlarged, own, where, SIZE)[0].movedim(0, -1).numpy() + 0.5
            after[number] = change(kind, before[number], mean * SIZE, int(rng.integers(2**31)))
            before[number] = retouched(before[number], retouch)
        of_shade, weight = share_of_shade(kind, mean), weight_of(kind, mean)
        addition, slope = (
            weight * (of_shade * shade + (1 - of_shade) * other)
            for shade, other in zip(fit_shade(kind, before, after, mean), fit_change(before, after))
        )
        maps.append(as_map(addition, slope))
        log.info("looks: %s of %d faces, error %.2f of the change", kind, len(rows), error_of(addition, slope, before, after))
    return Looks(mean, np.stack(maps), retouches)


def as_map(addition: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """A and B [S, S, 3] as a map of `Looks`, float32 [6, S, S]."""
    return np.float32(np.moveaxis(np.concatenate([addition, slope], -1), -1, 0))


def retouched(picture: np.ndarray, retouch: np.ndarray) -> np.ndarray:
    """A picture uint8 [S, S, 3] of the mean face after a retouch [3, R, R]."""
    result = retouch_face(np.float32(picture) / 127.5 - 1, whole_square(picture), retouch)
    return np.clip(np.rint((result + 1) * 127.5), 0, 255).astype(np.uint8)


def fit_change(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A and B, float32 [S, S, 3] each, by which pictures uint8 [n, S, S, 3] change."""
    x_sum, y_sum, xx, xy = np.zeros((4, *before.shape[1:]), np.float32)
    for x, y in pixels_of(before, after):
        x_sum, y_sum, xx, xy = x_sum + x, y_sum + y, xx + x * x, xy + x * y
    count = len(before)
    slope = (xy - x_sum * y_sum / count) / (xx - x_sum**2 / count + LEAST_VARIANCE * count)
    slope -= smoothstep(*OPAQUE, -slope) * (slope + 1)
    return (y_sum - slope * x_sum) / count, slope


def fit_shade(kind: str, before: np.ndarray, after: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `fit_change`, for changes that multiply the light x + 1 of a pixel: A and B are both the factor, less 1.

    `landmarks` [68, 2]: those of the pictures, in 0..1.
    """
    light, changed = np.zeros((2, *before.shape[1:]), np.float32)
    for x, y in pixels_of(before, after):
        light, changed = light + (x + 1) ** 2, changed + (x + 1) * y
    shade = changed / (light + LEAST_LIGHT * len(before))
    grey = shade.mean(-1, keepdims=True)
    shade = grey + CHROMA.get(kind, 1.0) * (shade - grey)
    if kind in BROAD:
        shade -= (1 - BROAD[kind]) * blur(shade, SIZE / 12)
    if kind in NO_LINES:
        skin = skin_area(landmarks)
        mean = [blur(part, NO_LINES[kind] * SIZE) for part in (*np.moveaxis(shade * skin, -1, 0), skin[..., 0])]
        shade += skin * (np.stack(mean[:-1], -1) / np.maximum(mean[-1], 0.05)[..., None] - shade)
    shade *= 1 - (1 - LEAST_BROWS.get(kind, 1.0)) * area(landmarks, BROWS, 0.02)[..., None]
    lighter = BRIGHTEST * np.tanh(np.maximum(shade, 0) / BRIGHTEST)
    if kind in CLOSED:
        lighter *= 1 - area(landmarks, BROWS, 0.03)[..., None]
    shade = (np.minimum(shade, 0) * np.float32(WARM.get(kind, (1.0, 1.0, 1.0))) + lighter) * within(landmarks, SIZE)[
        ..., None
    ]  # where the face is not moved, its outline is double
    if kind in CLOSED:
        shade *= 1 - area(landmarks, [LIPS], 0.015)[..., None]
    return shade, shade


def pixels_of(before: np.ndarray, after: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pixels of each picture, float32 in -1..1, and what they change by."""
    for one, other in zip(before, after):
        x = np.float32(one) / 127.5 - 1
        yield x, np.float32(other) / 127.5 - 1 - x


def error_of(addition: np.ndarray, slope: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """The part of the change of the pictures that A and B do not explain."""
    left, whole = np.sum([(np.abs(addition + slope * x - y).sum(), np.abs(y).sum()) for x, y in pixels_of(before, after)], 0)
    return float(left / max(whole, 1e-6))


def area(landmarks: np.ndarray, parts: Sequence[slice], grow: float, soft: float = 1 / 80) -> np.ndarray:
    """Soft map [SIZE, SIZE] of the hulls of some of the `landmarks` [68, 2], grown by `grow` and blurred by `soft`, of the crop."""
    hulls = np.zeros((SIZE, SIZE), np.float32)
    for part in parts:
        cv2.fillConvexPoly(hulls, cv2.convexHull(np.int32(landmarks[part] * SIZE + 0.5)), 1.0)
    return blur(cv2.dilate(hulls, disc(grow * SIZE)), SIZE * soft)


def skin_area(landmarks: np.ndarray) -> np.ndarray:
    """Soft map [SIZE, SIZE, 1] of the skin of the face with `landmarks` [68, 2], without eyes, brows and lips."""
    skin = cv2.resize(np.float32(outlines(landmarks)["skin"]), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return blur(skin, SIZE / 80)[..., None]


def share_of_shade(kind: str, landmarks: np.ndarray) -> np.ndarray | float:
    """How far a kind is a shade, in 0..1: a number, or of each place [SIZE, SIZE, 1] of the mean face with `landmarks` [68, 2]."""
    return 1 - area(landmarks, [LIPS], 0.04)[..., None] if kind in MOUTHS else float(kind in SHADES)


def weight_of(kind: str, landmarks: np.ndarray) -> np.ndarray | float:
    """Weight of a change, as of `share_of_shade`: none inside the mouth, or UPPER above the nose and none on the lower edge of the face."""
    if kind in LIPS_ONLY:
        return 1 - area(landmarks, [MOUTH], 0.002, 1 / 200)[..., None]
    if kind not in UPPER:
        return 1.0
    below = np.interp((np.arange(SIZE) + 0.5) / SIZE, landmarks[[BRIDGE, NOSE], 1], [0, 1])
    outside = blur(1 - area(landmarks, [JAW], 0.0), SIZE / 24)
    return ((UPPER[kind] * (1 - below) + below)[:, None] * np.clip(1 - 2 * outside, 0, 1))[..., None]
