"""Occluders drawn in front of a face, with known outlines: hands, bars, paper, cups, cloth, microphones, strands, random shapes.

Outlines and textures are drawn independently, so that neither alone identifies an occluder (as in occlusion-robust face
segmentation: naturalistic and random occluders, Voo et al. 2022). Colours are 0..255, masks 0..1, points in fractions of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from dva_core.faces.composite import blur
from dva_core.train.mask.outlines import bar, cloth, cup, hand, microphone, paper, shape, strands
from dva_core.train.mask.scene import Generator, Scene
from dva_core.train.mask.textures import natural, plain, repeated, skin, strands_of

TEXTURES: dict[str, tuple[Callable, float]] = {
    "plain": (plain, 0.22),
    "skin": (skin, 0.26),
    "repeated": (repeated, 0.3),
    "natural": (natural, 0.22),
}
OUTLINES: dict[str, tuple[Callable, float]] = {
    "hand": (hand, 0.29),
    "shape": (shape, 0.13),
    "bar": (bar, 0.22),
    "paper": (paper, 0.1),
    "cup": (cup, 0.07),
    "microphone": (microphone, 0.06),
    "cloth": (cloth, 0.06),
    "strands": (strands, 0.12),
}
CLOTHES = {name: entry for name, entry in TEXTURES.items() if name != "skin"}
SKIN_OF_HANDS = 0.85  # share of the hands that are bare
SHADOW = 0.5  # share of things with a shadow on the face


@dataclass(frozen=True)
class Occluder:
    """`rgb` uint8 [S, S, 3], and `alpha` float32 [S, S], its coverage of each pixel."""

    rgb: np.ndarray
    alpha: np.ndarray


def choose(rng: Generator, table: dict[str, tuple[Callable, float]]) -> str:
    shares = np.array([share for _, share in table.values()])
    return list(table)[rng.choice(len(table), p=shares / shares.sum())]


def draw_occluder(rng: Generator, scene: Scene, kind: str | None = None, texture: str | None = None) -> Occluder:
    """Draw an occluder: an outline of OUTLINES, `kind` or any, with a texture of TEXTURES."""
    kind = kind or choose(rng, OUTLINES)
    outline, light = OUTLINES[kind][0](rng, scene), 1.0
    if kind == "hand":
        outline, light = outline[0], outline[1][..., None]
    if texture is None:
        bare = kind == "hand" and rng.random() < SKIN_OF_HANDS
        texture = "skin" if bare else "hair" if kind == "strands" else choose(rng, TEXTURES if kind != "cloth" else CLOTHES)
    rgb = (strands_of if texture == "hair" else TEXTURES[texture][0])(rng, scene) * light
    if rng.random() < 0.4:  # a thing near the camera, or one that moves
        outline = blur(outline, rng.uniform(0.4, 1.2))
    return Occluder(np.clip(rgb, 0, 255).astype(np.uint8), outline)


def lay_on(rng: Generator, picture: np.ndarray, occluder: Occluder) -> np.ndarray:
    """Paste the occluder into the picture uint8 [S, S, 3], sometimes with its shadow."""
    under = picture.astype(np.float32)
    if rng.random() < SHADOW:
        shift = np.float32([[1, 0, rng.normal(0, 3)], [0, 1, rng.uniform(0, 4)]])
        shadow = blur(cv2.warpAffine(occluder.alpha, shift, occluder.alpha.shape[::-1]), rng.uniform(1, 4))
        under *= 1 - rng.uniform(0.1, 0.5) * shadow[..., None]
    alpha = occluder.alpha[..., None]
    return np.clip(under * (1 - alpha) + occluder.rgb * alpha + 0.5, 0, 255).astype(np.uint8)
