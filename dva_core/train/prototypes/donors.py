"""Donors: real faces whose fine skin texture (Tiddeman et al. 2001) or inside of a smile is used, which an average cannot show."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dva_core.train.faces import FaceSet
from dva_core.train.prototypes.mouth import MOUTH, similarity
from dva_core.train.prototypes.space import LUMA, SIZE, MeanSpace, band, likeness, tone
from dva_core.train.prototypes.statistics import HAIRY, label, turn, years
from dva_core.train.synthesis import normalise

OLD_FROM = 62.0  # years by the teacher
COVERED = ("Eyeglasses", "Sunglasses", "Wearing_Hat", "Bangs")
OPENING = 0.1  # least height of an open mouth, in eye distances
BRIGHT = 0.08  # least by which teeth outshine the skin, in logarithms
EVEN = 0.3  # largest difference of light between the cheeks, in logarithms


@dataclass
class Donors:
    """Textures float16 [k, SIZE, SIZE] (luminance finer than the band, less the mean face's), tones [k, 3], side [k]: the light's side;
    pictures uint8 [k, S, S, 3] and landmarks [k, 68, 2]; row [k] in the faces they come from."""

    textures: np.ndarray
    tones: np.ndarray
    side: np.ndarray
    pictures: np.ndarray
    landmarks: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def pick(self, skin: np.ndarray, side: float, share: float, near: int = 8) -> int:
        """One of the `near` donors nearest in skin tone and light, selected by `share` in 0..1."""
        off = self.tones - skin
        distance = np.abs(off @ LUMA) + 1.5 * np.abs(off - (off @ LUMA)[:, None]).sum(1) + np.abs(self.side - side)
        order = np.argsort(distance, kind="stable")[:near]
        return int(order[min(int(share * len(order)), len(order) - 1)])

    @cached_property
    def typical_mouth(self) -> int:
        """The donor whose mouth is nearest in shape to the mean."""
        shapes = self.landmarks[:, MOUTH].astype(np.float64)
        for _ in range(3):
            mean = shapes.mean(0)
            shapes = np.stack([similarity(points, mean) for points in shapes])
        return int(((shapes - shapes.mean(0)) ** 2).sum((1, 2)).argmin())

    @cached_property
    def typical_skin(self) -> int:
        """The donor whose texture is nearest to the mean."""
        textures = self.textures.astype(np.float32)
        return int(((textures - textures.mean(0)) ** 2).sum((1, 2)).argmin())


def light_side(light: np.ndarray, space: MeanSpace) -> float:
    """Difference of the cheeks' luminance, left minus right of the picture, in logarithms."""
    luma, cheeks = light @ LUMA, space.regions["cheeks"] > 0.5
    half = SIZE // 2
    return float(np.median(luma[:, :half][cheeks[:, :half]]) - np.median(luma[:, half:][cheeks[:, half:]]))


def bare(faces: FaceSet, covers: tuple[str, ...] = COVERED + HAIRY) -> np.ndarray:
    """Faces [n] bool without any of the labels `covers`; an unknown label counts as absent."""
    return ~np.any([label(faces, name) > 0.5 for name in covers], 0)


def old_faces(faces: FaceSet) -> np.ndarray:
    return bare(faces) & (years(faces) >= OLD_FROM) & (np.abs(turn(faces.landmarks)) < 0.12)


def smiling_faces(faces: FaceSet) -> np.ndarray:
    relative = np.stack([normalise(points)[0] for points in faces.landmarks])
    opening = relative[:, 65:68, 1].mean(1) - relative[:, 61:64, 1].mean(1)
    smiling = (label(faces, "Smiling") > 0.5) & (label(faces, "Mouth_Slightly_Open") > 0.5)
    return bare(faces, HAIRY + ("Sunglasses",)) & smiling & (opening > OPENING) & (opening < 0.4) & (np.abs(turn(faces.landmarks)) < 0.12)


def teeth(light: np.ndarray, space: MeanSpace) -> float:
    """Brightness of the middle of an open mouth relative to the skin, in logarithms."""
    x, y = space.points[60:68].mean(0)
    patch = light[int(y) - 4 : int(y) + 5, int(x) - 14 : int(x) + 15] @ LUMA
    return float(np.percentile(patch, 70) - tone(light, space.regions["cheeks"]) @ LUMA)


def collect(faces: FaceSet, rows: np.ndarray, space: MeanSpace, mean: np.ndarray, most: int, smile: bool = False) -> Donors:
    """Select the best `most` of the faces `rows`: evenly lit, clean skin, and for smiles bright teeth."""
    common = band(mean, space.regions["skin"])
    donors, scores = [], []
    for row in rows:
        light = space.read(faces.pictures[row], faces.landmarks[row])
        side, like = light_side(light, space), likeness(light, space)
        clean = float((like * space.regions["skin"]).sum() / space.regions["skin"].sum())
        skin = tone(light, space.regions["cheeks"])
        if abs(side) > EVEN or (smile and teeth(light, space) < BRIGHT):
            continue
        weight = space.regions["skin"] * like
        texture = (band(light, weight) - common) * weight
        donors.append((texture, skin, side, row))
        scores.append(abs(side) + 2 * (1 - clean))
    if not donors:
        return Donors(np.zeros((0, SIZE, SIZE)), np.zeros((0, 3)), np.zeros(0), faces.pictures[:0], faces.landmarks[:0], np.zeros(0, int))
    best = np.argsort(scores, kind="stable")[:most]
    textures, tones, sides, rows = (np.array(column) for column in zip(*(donors[i] for i in best)))
    spread = textures.std((1, 2))
    # hard light makes any skin look furrowed: all donors are scaled to similar strength
    textures *= np.clip(np.median(spread) / (spread + 1e-6), 0.5, 1.8)[:, None, None]
    return Donors(textures.astype(np.float16), tones, sides, faces.pictures[rows], faces.landmarks[rows], rows)
