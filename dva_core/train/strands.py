"""Hair of the looks, strand by strand on the mean face: A and B by which it changes a pixel x to x + A + B x."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from dva_core.faces.composite import blur, smoothstep
from dva_core.train.drawings import facial_hair
from dva_core.train.drawings.head import FRONTAL, Head
from dva_core.train.drawings.sheets import curve, polygon

FINE = 4  # times the resolution at which strands are drawn
JOINTS = 7  # of a strand
TIP = 0.25  # its width there, of that at the root
BROWN = np.float32([0.235, 0.195, 0.165])  # light of a strand, of that of the skin: so it is lit as the skin is, and darker on any
ROOTS = np.float32([0.92, 1.0, 1.05])  # how roots, which show through the skin, darken red, green and blue
MOUSTACHE_LIP, LIP_HEIGHT = 0.95, 0.16  # where hair is combed to the sides, face units
LIPS = slice(48, 60)


class Growth(NamedTuple):
    """How hair of a kind grows: strands a square face unit, their lengths in face units, how far the skin is dark under them, how far
    tufts of it differ in direction, radians, and how far a strand covers what is under it.
    """

    strands: float
    length: tuple[float, float]
    roots: float = 0.5
    tufts: float = 0.28
    cover: float = 0.88


GROWTHS = {
    "Beard": Growth(6000, (0.09, 0.19)),
    "Goatee": Growth(5700, (0.08, 0.18)),
    "Mustache": Growth(6500, (0.09, 0.2), tufts=0.12),
    "5_o_Clock_Shadow": Growth(5000, (0.018, 0.04), 0.32, cover=0.33),
    "Bushy_Eyebrows": Growth(8600, (0.06, 0.13), 0.42),
}
KINDS = tuple(GROWTHS)
BARE_CHEEKS = ("Beard", "5_o_Clock_Shadow")


class Strands(NamedTuple):
    """n strands: root [n, 2], length and width [n] in pixels; angle of the root, and by how much it turns up to the tip [n], radians;
    tone [n], of BROWN.
    """

    root: np.ndarray
    angle: np.ndarray
    turn: np.ndarray
    length: np.ndarray
    width: np.ndarray
    tone: np.ndarray


def hair(kind: str, look: dict, landmarks: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A and B, float32 [size, size, 3] each, of one of KINDS in the style `look` on the face with `landmarks` [68, 2] in 0..1."""
    rng = np.random.default_rng(look["seed"])
    head = Head(np.zeros((size, size, 3), np.uint8), landmarks * size)
    area = brow_area(head, look) if kind == "Bushy_Eyebrows" else beard_area(kind, head, look)
    comb = comb_brows if kind == "Bushy_Eyebrows" else comb_beard
    strands = comb(head, GROWTHS[kind], area, rng)
    cover, tone = draw_strands(strands, size)
    bare = 1 - blur(head.fill([head.points[LIPS]]), size / 320)
    roots = (GROWTHS[kind].roots * bare * blur(np.clip(area, 0, 1), size / 110))[..., None] * ROOTS
    cover, tone = (GROWTHS[kind].cover * (bare * part)[..., None] for part in (cover, tone))
    slope = (1 - cover) * (1 - roots) + tone * BROWN - 1
    return slope, slope


def beard_area(kind: str, head: Head, look: dict) -> np.ndarray:
    """Where facial hair grows on a face, [S, S] in 0..1: thinner towards the ears, so that a beard has no upper edge."""
    area = head.carry(np.float32(facial_hair.region(kind, look)))
    return area * smoothstep(0.45, 1.05, in_units(head, pixels(head.size))[..., 1]) if kind in BARE_CHEEKS else area


def brow_area(head: Head, look: dict) -> np.ndarray:
    """Where thick brows grow on a face, [S, S] in 0..1."""
    share = np.linspace(0, 1, 24)
    half = np.c_[0 * share, 0.047 * look["thick"] * (1 - 0.62 * share**2) * smoothstep(-0.2, 0.35, share)]
    middle = curve(FRONTAL[22:27] * (look["long"] ** 0.9, 1), len(share)) + (0, 0.045)
    return head.carry(np.maximum.reduce([polygon(np.r_[middle - half, (middle + half)[::-1]] * (side, 1), 0.022) for side in (-1, 1)]))


def comb_beard(head: Head, growth: Growth, area: np.ndarray, rng: np.random.Generator) -> Strands:
    """Strands of facial hair: down, from the middle to the sides over the lip, in tufts."""
    size = head.size
    density = np.clip(area * np.exp(0.25 * noise(rng, size, 21)), 0, 1) ** 1.2
    root = scatter(rng, density, growth.strands, head.unit)
    x, y = in_units(head, root).T
    tufts, waves = (at(noise(rng, size, cells), root) for cells in (27, 10))
    lip = np.exp(-(((y - MOUSTACHE_LIP) / LIP_HEIGHT) ** 2)) * (np.abs(x) < 0.6)
    aside = lip * 1.5 * np.sign(x) * smoothstep(0, 0.12, np.abs(x)) - 0.35 * x * (1 - lip)
    count, dense = len(root), at(density, root)
    angle = np.arctan2(1 - 0.45 * lip, aside) + growth.tufts * tufts + 0.12 * waves + rng.normal(0, 0.16, count)
    length = head.unit * rng.uniform(*growth.length, count) * (0.55 + 0.45 * dense)
    width = size / 384 * rng.uniform(0.3, 0.75, count) * (0.6 + 0.4 * dense)
    tone = np.exp(0.45 * rng.normal(size=count) + 0.22 * tufts)
    strands = Strands(root, angle, rng.normal(0, 0.35, count), length, width, tone)
    # those that grow higher lie over those below
    return Strands(*(values[np.argsort(rng.normal(0, size / 48, count) - root[:, 1])] for values in strands))


def comb_brows(head: Head, growth: Growth, area: np.ndarray, rng: np.random.Generator) -> Strands:
    """Strands of brows: up at the nose, outwards along the arch."""
    root = scatter(rng, np.clip(area, 0, 1), growth.strands, head.unit)
    x = in_units(head, root)[:, 0]
    along, count = np.clip((np.abs(x) - 0.3) / 0.68, 0, 1), len(root)
    up = rng.normal(1.15 - 1.5 * along, 0.2)
    angle = np.arctan2(-np.sin(up), np.sign(x) * np.cos(up))
    length = head.unit * rng.uniform(*growth.length, count) * (0.6 + 0.4 * at(area, root))
    root = root - 0.35 * length[:, None] * np.c_[np.cos(angle), np.sin(angle)]
    width, tone = head.size / 384 * rng.uniform(0.3, 0.65, count), np.exp(0.4 * rng.normal(size=count))
    return Strands(root, angle, rng.normal(0, 0.25, count), length, width, tone)


def draw_strands(strands: Strands, size: int) -> tuple[np.ndarray, np.ndarray]:
    """What strands cover of each pixel, [size, size] in 0..1, and the same times their tone; later ones lie over earlier ones."""
    along = np.linspace(0, 1, JOINTS)
    angle = strands.angle[:, None] + strands.turn[:, None] * along[:-1]
    steps = np.stack([np.cos(angle), np.sin(angle)], -1) * (strands.length / (JOINTS - 1))[:, None, None]
    joints = strands.root[:, None] + np.concatenate([np.zeros_like(steps[:, :1]), steps.cumsum(1)], 1)
    joints = np.int32(np.round((joints * FINE - 0.5) * 16))
    widths = np.rint(strands.width[:, None] * FINE * (1 - (1 - TIP) * along[:-1] ** 1.5)).clip(1).astype(int)
    tones = np.clip(100 * strands.tone[:, None] * (0.75 + 0.5 * along[:-1]), 1, 255)  # lighter at the tips
    cover, tone = np.zeros((2, size * FINE, size * FINE), np.uint8)
    for points, of_width, of_tone in zip(joints.tolist(), widths.tolist(), tones.tolist()):
        for start, end, width, level in zip(points, points[1:], of_width, of_tone):
            cv2.line(cover, start, end, 255, width, cv2.LINE_8, 4)
            cv2.line(tone, start, end, level, width, cv2.LINE_8, 4)
    cover = np.float32(cover) / 255
    return tuple(cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA) for part in (cover, cover * np.float32(tone) / 100))


def scatter(rng: np.random.Generator, density: np.ndarray, strands: float, unit: float) -> np.ndarray:
    """Places [n, 2] in pixels, drawn by `density` [S, S]: `strands` of them where it is 1, on a square of `unit` pixels."""
    total = np.cumsum(density.ravel().astype(np.float64))
    index = np.searchsorted(total, rng.random(round(strands * total[-1] / unit**2)) * total[-1])
    return np.c_[index % density.shape[1], index // density.shape[1]] + rng.random((len(index), 2))


def noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise [size, size] of deviation about 1, of `cells` x `cells` cells."""
    return cv2.resize(rng.normal(size=(cells, cells)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def at(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values [n] of an image [S, S] at places [n, 2] in pixels."""
    column, row = np.clip(places.astype(int), 0, len(image) - 1).T
    return image[row, column]


def pixels(size: int) -> np.ndarray:
    """The middle of each pixel, [size, size, 2]."""
    return np.stack(np.meshgrid(*2 * [np.arange(size) + 0.5]), -1)


def in_units(head: Head, places: np.ndarray) -> np.ndarray:
    """Convert pixels [..., 2] of an upright frontal face to face units."""
    return (places - head.project(np.zeros((1, 3)))[0]) / head.unit
