"""Glasses of the looks on the mean face: A and B by which they change a pixel x to x + A + B x.

Face units as of drawings.sheets. Light is 0..2, x + 1 of a pixel: a layer of glasses makes of it `through` x light + `own`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from dva_core.faces.composite import blur, smoothstep
from dva_core.networks.texture import EAR, HINGE

FINE = 4  # times the resolution at which they are drawn
ANGLES = np.linspace(0, 2 * np.pi, 240, endpoint=False)
LIGHT = np.array([-0.35, -0.8, 0.5]) / np.linalg.norm([-0.35, -0.8, 0.5])  # towards it: x to the right, y down, z to the camera
EYES = slice(36, 48)
TEMPLE_FALLS = 0.045  # from the hinge to the ear
WHITE = np.float32([1.9, 1.92, 1.98])


@dataclass(frozen=True)
class Style:
    """A pair of glasses in face units: half the width and height of a lens, the exponent of its superellipse, how much wider it is at the
    top, how far its outer corner is raised; its centre beside and below the middle of the eyes, height of bridge and hinge above it; the
    rim's thickness and colour, light of 2; how dark its shadow on the skin is, 0..1; the colour of dark lenses at top and bottom.
    """

    width: float
    height: float
    power: float
    top: float
    corner: float
    beside: float
    below: float
    bridge: float
    hinge: float
    rim: float
    colour: tuple[float, float, float]
    shadow: float
    dark: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None


STYLES = {
    "Eyeglasses": Style(
        width=0.4, height=0.285, power=3.1, top=0.09, corner=0.04, beside=0.52, below=0.05, bridge=0.1, hinge=0.13, rim=0.046,
        colour=(0.15, 0.124, 0.11), shadow=0.28,
    ),
    "Sunglasses": Style(
        width=0.425, height=0.315, power=2.7, top=0.12, corner=0.07, beside=0.53, below=0.07, bridge=0.11, hinge=0.15, rim=0.05,
        colour=(0.1, 0.094, 0.09), shadow=0.35, dark=((0.13, 0.13, 0.15), (0.06, 0.055, 0.055)),
    ),
}  # fmt: skip
KINDS = tuple(STYLES)


class Layer(NamedTuple):
    """What is in front of a face: the light of a pixel becomes through x light + own; [S, S, 3] each."""

    through: np.ndarray
    own: np.ndarray

    def under(self, cover: np.ndarray, light: np.ndarray) -> Layer:
        """With something over it: how far it covers [S, S], 0..1, and its own light [3] or [S, S, 3]."""
        cover = cover[..., None]
        return Layer(self.through * (1 - cover), self.own * (1 - cover) + cover * light)

    def shaded(self, dark: np.ndarray, colour=(1.0, 1.0, 1.0)) -> Layer:
        """In a shadow [S, S], 0..1, of red, green and blue as far as `colour` says."""
        left = 1 - dark[..., None] * np.float32(colour)
        return Layer(self.through * left, self.own * left)


class Canvas:
    """Pixels of a face with `landmarks` [68, 2] in 0..1, FINE times as many as `size`."""

    def __init__(self, landmarks: np.ndarray, size: int) -> None:
        self.size = size * FINE
        eyes = landmarks[EYES].reshape(2, 6, 2).mean(1) * self.size
        self.unit, self.middle = float(np.linalg.norm(eyes[1] - eyes[0])), eyes.mean(0)

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """x [1, S] and y [S, 1] of the pixels in face units."""
        across, down = ((np.arange(self.size, dtype=np.float32) + 0.5 - start) / self.unit for start in self.middle)
        return across[None], down[:, None]

    def fill(self, shapes: list[np.ndarray], holes: list[np.ndarray] = ()) -> np.ndarray:
        """Fill polygons [n, 2] in face units, except the holes: [S, S] in 0..1."""
        filled = np.zeros((self.size, self.size), np.uint8)
        for shape, value in (*((one, 255) for one in shapes), *((one, 0) for one in holes)):
            cv2.fillPoly(filled, [np.int32(np.round((shape * self.unit + self.middle - 0.5) * 16))], value, cv2.LINE_AA, 4)
        return np.float32(filled) / 255

    def soft(self, image: np.ndarray, sigma: float, below: float = 0.0) -> np.ndarray:
        """Blur an image by `sigma`, moved down by `below`, face units."""
        if below:
            image = cv2.warpAffine(image, np.float32([[1, 0, 0], [0, 1, below * self.unit]]), image.shape[::-1])
        return blur(image, sigma * self.unit)


def glasses(kind: str, landmarks: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A and B, float32 [size, size, 3] each, of one of KINDS on the face with `landmarks` [68, 2] in 0..1."""
    style, canvas = STYLES[kind], Canvas(landmarks, size)
    inner, outer = ([lens_edge(style, grow, side) for side in (-1, 1)] for grow in (0, style.rim))
    lenses, rims = canvas.fill(inner), canvas.fill(outer, inner)
    frame = np.maximum(rims, canvas.fill([bridge(style, outer[1][:, 0].min())], inner))
    temples = canvas.fill([temple(style, outer[1][:, 0].max(), side) for side in (-1, 1)], inner) * (1 - frame)
    temples = temples * (1 - smoothstep(EAR - 0.1, EAR, np.abs(canvas.places[0])))
    nothing = np.zeros((canvas.size, canvas.size, 3), np.float32)
    layer = Layer(nothing + 1, nothing)
    casts = np.maximum(frame, 0.45 * lenses if style.dark else frame)
    layer = layer.shaded(style.shadow * canvas.soft(casts, 0.035, 0.075) * (np.abs(canvas.places[0]) < HINGE), (0.85, 1, 1.05))
    layer = layer.shaded(0.35 * canvas.soft(temples, 0.03, 0.05))
    layer = dark_lenses(layer, style, canvas, lenses) if style.dark else clear_lenses(layer, style, canvas, lenses, rims)
    for cover, part in ((0.95, temples), (0.985, frame)):
        layer = layer.under(cover * part, rounded(part, style.colour))
    through, own = (cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA) for part in layer)
    return through - 1 + own, through - 1


def lens_edge(style: Style, grow: float, side: int) -> np.ndarray:
    """The edge of a lens [n, 2], `grow` wider on every side, of the right of the picture (side 1) or the left (-1)."""
    x, y = (np.sign(part) * np.abs(part) ** (2 / style.power) for part in (np.cos(ANGLES), np.sin(ANGLES)))
    heavy = 1 + 0.25 * np.clip(-np.sin(ANGLES), 0, 1)  # rims are thicker above
    across = x * (1 - style.top * y) * (style.width + grow * heavy)
    down = y * (style.height + grow * heavy) - style.corner * np.clip(x, 0, 1.2) ** 2 * np.clip(0.4 - y, 0, 1)
    return np.c_[side * (style.beside + across), style.below + down]


def bridge(style: Style, inner: float) -> np.ndarray:
    """The bridge [n, 2], an arch between rims whose inner edges are `inner` from the middle."""
    ends = inner + 0.05
    x = np.linspace(-ends, ends, 24)
    y = style.below - style.bridge - 0.05 * (1 - (x / ends) ** 2)
    half = 0.62 * style.rim * (1 + 0.25 * (x / ends) ** 2)
    return np.r_[np.c_[x, y - half], np.c_[x, y + half][::-1]]


def temple(style: Style, outer: float, side: int) -> np.ndarray:
    """The temple [n, 2] of a side, from a rim whose outer edge is `outer` from the middle to the ear."""
    along = np.linspace(0, 1, 30)
    x, y = outer - 0.05 + along * (EAR - outer + 0.05), style.below - style.hinge + TEMPLE_FALLS * along
    half = style.rim * np.interp(along, [0, 0.25, 1], [0.95, 0.75, 0.6])
    return np.r_[np.c_[side * x, y - half], np.c_[side * x, y + half][::-1]]


def clear_lenses(layer: Layer, style: Style, canvas: Canvas, lenses: np.ndarray, rims: np.ndarray) -> Layer:
    """Lenses that take little of the light, with two bars of a reflection and the rim's shadow at their edges."""
    x, y = from_lens(style, canvas)
    across = 0.75 * x + y
    bars = np.exp(-(((across + 0.1) / 0.055) ** 4)) + 0.6 * np.exp(-(((across - 0.02) / 0.022) ** 4))
    layer = layer.shaded(0.035 * lenses).under(0.13 * lenses * canvas.soft(bars * smoothstep(0.2, -0.25, y), 0.02), WHITE)
    return layer.shaded(0.25 * lenses * canvas.soft(rims, 0.024))


def dark_lenses(layer: Layer, style: Style, canvas: Canvas, lenses: np.ndarray) -> Layer:
    """Lenses that nothing shines through, lighter at the top, with a soft reflection."""
    x, y = from_lens(style, canvas)
    top, bottom = np.float32(style.dark)
    down = smoothstep(-0.3, 0.3, y)[..., None]
    shine = np.exp(-(((0.55 * x + y + 0.13) / 0.11) ** 2)) * smoothstep(0.38, -0.1, np.abs(x)) * smoothstep(0.3, -0.25, y)
    return layer.under(lenses, top * (1 - down) + bottom * down + shine[..., None] * np.float32([0.2, 0.22, 0.26]))


def from_lens(style: Style, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """x [1, S] and y [S, 1] of the pixels from the centre of the lens of their side, in face units."""
    x, y = canvas.places
    return x - np.sign(x) * style.beside, y - style.below


def rounded(part: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Light [S, S, 3] of a part of the frame [S, S] that is round in section, from above on the left."""
    depth = cv2.distanceTransform(np.uint8(part > 0.5), cv2.DIST_L2, 5)
    if not depth.any():
        return np.float32(colour)
    half = float(np.percentile(depth[depth > 0], 97))
    height = blur(half * np.sqrt(1 - (1 - np.clip(depth / half, 0, 1)) ** 2), 0.45 * FINE)
    normal = np.stack([-cv2.Sobel(height, cv2.CV_32F, 1, 0) / 8, -cv2.Sobel(height, cv2.CV_32F, 0, 1) / 8, np.full_like(height, 0.8)], -1)
    lit = np.clip(normal @ LIGHT / np.linalg.norm(normal, axis=-1), 0, 1)[..., None]
    return np.float32(np.float32(colour) * (0.55 + 0.6 * lit) + 0.34 * lit**14 + 0.05 * lit**3)
