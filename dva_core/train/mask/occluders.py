"""Things in front of a face, drawn with known outlines: hands, bars, paper, cups, cloth, microphones, strands, random shapes.

Outlines and textures are drawn apart from each other, so that neither alone tells what is in front (as in occlusion-robust face
segmentation: naturalistic and random occluders, Voo et al. 2022). Colours are 0..255, masks 0..1, points in fractions of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from dva_core.faces.composite import blur

FINE = 2  # outlines are drawn this much finer than the picture
SUBPIXEL = 4  # bits of cv2's coordinates
Generator = np.random.Generator


@dataclass(frozen=True)
class Occluder:
    """`rgb` uint8 [S, S, 3], and `alpha` float32 [S, S]: how much of each pixel it covers."""

    rgb: np.ndarray
    alpha: np.ndarray


@dataclass(frozen=True)
class Scene:
    """What is drawn on: a picture uint8 [S, S, 3], its landmarks [68, 2] in 0..1, and another picture whose colours are lent."""

    picture: np.ndarray
    landmarks: np.ndarray
    donor: np.ndarray

    @property
    def size(self) -> int:
        return len(self.picture)

    def colour_at(self, points: np.ndarray) -> np.ndarray:
        """Median colour [3] of the picture at points [n, 2] in 0..1."""
        column, row = np.clip((points * self.size).astype(int), 0, self.size - 1).T
        return np.median(self.picture[row, column].reshape(-1, 3), axis=0)

    @property
    def skin(self) -> np.ndarray:
        return self.colour_at(self.landmarks[[1, 2, 14, 15, 28, 29, 30]] * 0.7 + 0.3 * self.landmarks[30])

    @property
    def hair(self) -> np.ndarray:
        brows = self.landmarks[17:27]
        up = brows.mean(0) - self.landmarks[8]
        return self.colour_at(brows + 0.62 * up)

    def spot(self, rng: Generator) -> np.ndarray:
        """A point [2] of the face or near it."""
        low, high = self.landmarks.min(0) - (0.02, 0.12), self.landmarks.max(0) + 0.04
        return rng.uniform(low, high)


# -- textures ----------------------------------------------------------------------------------------------------


def waves(rng: Generator, size: int, scale: float) -> np.ndarray:
    """Smooth noise [size, size] of deviation 1, features about `scale` pixels wide."""
    cells = max(2, round(size / scale))
    return cv2.resize(rng.standard_normal((cells, cells)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def shade(rng: Generator, rgb: np.ndarray, strength: float) -> np.ndarray:
    """Light that changes over a surface [S, S, 3]: a gradient and slow waves."""
    size = len(rgb)
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    light = np.exp(strength * (rng.normal(0, 0.8) * (np.cos(angle) * x + np.sin(angle) * y) + 0.15 * waves(rng, size, size / 4)))
    return rgb * light[..., None]


def plain(rng: Generator, scene: Scene) -> np.ndarray:
    grey = rng.uniform(5, 250)
    colour = np.clip(grey + rng.normal(0, 40 * rng.random(), 3), 0, 255)
    return shade(rng, np.full((scene.size, scene.size, 3), colour, np.float32), 0.6)


def skin(rng: Generator, scene: Scene) -> np.ndarray:
    """This person's skin, or another's: a tone of its own, waves of red, fine grain."""
    colour = scene.skin if rng.random() < 0.75 else np.median(scene.donor[50:90, 45:83].reshape(-1, 3), axis=0)
    colour = colour * np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.04, 3))
    layer = np.full((scene.size, scene.size, 3), colour, np.float32)
    layer += waves(rng, scene.size, 12)[..., None] * (5, 3, 3) + waves(rng, scene.size, 2.5)[..., None] * rng.uniform(0, 4)
    return shade(rng, layer, 0.7)


def repeated(rng: Generator, scene: Scene) -> np.ndarray:
    """Stripes, checks or dots in two colours."""
    size = scene.size
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 24)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    u, v = np.sin(2 * np.pi * u / period), np.sin(2 * np.pi * v / period)
    share = np.clip(3 * (u, u * v, u + v - 1)[rng.integers(3)] + 0.5, 0, 1)[..., None]
    first, second = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.3:
        second = scene.skin
    return shade(rng, first * share + second * (1 - share), 0.4)


def natural(rng: Generator, scene: Scene) -> np.ndarray:
    """A piece of another picture: hair, clothes, leaves, walls; sometimes its face."""
    size = scene.size
    width = int(rng.uniform(0.25, 0.8) * size)
    y, x = rng.integers(0, size - width, 2)
    if rng.random() < 0.75:  # from the rim, where faces are not
        y, x = (y, rng.choice([0, size - width])) if rng.random() < 0.5 else (rng.choice([0, size - width]), x)
    piece = np.rot90(scene.donor[y : y + width, x : x + width], rng.integers(4))
    return shade(rng, np.float32(cv2.resize(np.ascontiguousarray(piece), (size, size), interpolation=cv2.INTER_LINEAR)), 0.3)


def strands_of(rng: Generator, scene: Scene) -> np.ndarray:
    """Hair: this person's colour or another, streaked."""
    colour = scene.hair if rng.random() < 0.7 else rng.uniform((10, 8, 5), (190, 150, 110))
    streaks = waves(rng, scene.size, 2) * 0.12 + waves(rng, scene.size, 10) * 0.12
    return np.clip(colour + 6, 0, 255) * np.exp(streaks + rng.normal(0, 0.15))[..., None]


# -- outlines ----------------------------------------------------------------------------------------------------


class Outline:
    """A mask that shapes are added to, in fractions of a picture of `size` pixels."""

    def __init__(self, size: int):
        self.size = size
        self.layer = np.zeros((FINE * size, FINE * size), np.uint8)

    def _fixed(self, points) -> np.ndarray:
        return np.int32(np.round((np.asarray(points, np.float64) * FINE * self.size - 0.5) * 2**SUBPIXEL))

    def polygon(self, points) -> Outline:
        cv2.fillPoly(self.layer, [self._fixed(points)], 255, cv2.LINE_AA, SUBPIXEL)
        return self

    def curve(self, points, width: float) -> Outline:
        """A line of this width, rounded at its ends."""
        pixels = max(1, round(width * FINE * self.size))
        cv2.polylines(self.layer, [self._fixed(points)], False, 255, pixels, cv2.LINE_AA, SUBPIXEL)
        return self

    def ellipse(self, centre, axes, angle: float = 0.0) -> Outline:
        t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        x, y = axes[0] * np.cos(t), axes[1] * np.sin(t)
        cos, sin = np.cos(angle), np.sin(angle)
        return self.polygon(np.asarray(centre) + np.stack([cos * x - sin * y, sin * x + cos * y], 1))

    def mask(self) -> np.ndarray:
        return np.float32(cv2.resize(self.layer, (self.size, self.size), interpolation=cv2.INTER_AREA)) / 255


def box(centre: np.ndarray, half: np.ndarray, angle: float) -> np.ndarray:
    """Corners [4, 2] of a turned rectangle."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return centre + (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half) @ turn.T


def shape(rng: Generator, scene: Scene) -> np.ndarray:
    """A random rounded or pointed shape."""
    count = rng.integers(5, 12)
    t = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = rng.uniform(0.06, 0.28) * rng.uniform(0.45, 1.0, count)
    if rng.random() < 0.6:
        fine = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        radius, t = np.interp(fine, t, radius, period=2 * np.pi), fine
        radius = np.real(np.fft.ifft(np.fft.fft(radius) * (np.abs(np.fft.fftfreq(60, 1 / 60)) < 7)))
    points = scene.spot(rng) + radius[:, None] * np.stack([np.cos(t), np.sin(t)], 1)
    return Outline(scene.size).polygon(points).mask()


def bar(rng: Generator, scene: Scene) -> np.ndarray:
    """A bar from one side to the other, or one that ends on the face."""
    half = np.array([rng.choice([1.5, rng.uniform(0.15, 0.5)]), rng.uniform(0.015, 0.09)])
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]) + rng.normal(0, 0.05)
    return Outline(scene.size).polygon(box(scene.spot(rng), half, angle)).mask()


def paper(rng: Generator, scene: Scene) -> np.ndarray:
    """A sheet, a telephone, a book: a turned rectangle, its corners a little off."""
    half = rng.uniform(0.08, 0.3, 2)
    corners = box(scene.spot(rng) + rng.normal(0, 0.12, 2), half, rng.normal(0, 0.5)) + rng.normal(0, 0.01, (4, 2))
    return Outline(scene.size).polygon(corners).mask()


def cup(rng: Generator, scene: Scene) -> np.ndarray:
    """A cup or a glass in front of the mouth, with a handle or without."""
    mouth = scene.landmarks[48:60].mean(0) + rng.normal(0, 0.03, 2) + (0, rng.uniform(-0.02, 0.12))
    wide, tall, taper = rng.uniform(0.07, 0.15), rng.uniform(0.1, 0.25), rng.uniform(0.65, 1.0)
    turn = rng.normal(0, 0.25)
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    body = np.array([(-wide, 0), (wide, 0), (wide * taper, tall), (-wide * taper, tall)]) @ rotate.T + mouth
    outline = Outline(scene.size).polygon(body).ellipse(mouth, (wide, wide * rng.uniform(0.1, 0.35)), turn)
    if rng.random() < 0.6:
        side = rng.choice([-1, 1])
        t = np.linspace(-np.pi / 2, np.pi / 2, 12)
        handle = np.stack([side * (wide * 0.95 + 0.06 * np.cos(t)), tall * 0.45 + 0.3 * tall * np.sin(t)], 1)
        outline.curve(handle @ rotate.T + mouth, 0.02)
    return outline.mask()


def microphone(rng: Generator, scene: Scene) -> np.ndarray:
    """A ball on a stick, from below or from the side."""
    top = scene.landmarks[48:60].mean(0) + rng.normal(0, 0.08, 2) + (0, 0.03)
    angle = rng.normal(np.pi / 2, 0.6)
    ball, end = rng.uniform(0.035, 0.09), top + 1.2 * np.array([np.cos(angle), np.sin(angle)])
    return Outline(scene.size).curve([top, end], ball * rng.uniform(0.4, 1.2)).ellipse(top, (ball, ball * 1.15), angle).mask()


def cloth(rng: Generator, scene: Scene) -> np.ndarray:
    """A mask or a scarf over nose and mouth, from one side of the face to the other, down to the chin or below."""
    jaw, nose = scene.landmarks[1:16], scene.landmarks[30]
    jaw = nose + rng.uniform(0.95, 1.2) * (jaw - nose)
    top = scene.landmarks[28 + rng.integers(4)] + rng.normal(0, 0.01, 2)
    below = jaw[4:11] + (0, rng.choice([0.0, rng.uniform(0.02, 0.35)]))
    left, right = jaw[rng.integers(3)], jaw[-1 - rng.integers(3)]
    t = np.linspace(0, 1, 9)[:, None]
    upper = (1 - t) ** 2 * left + 2 * t * (1 - t) * (2 * top - (left + right) / 2) + t**2 * right
    return Outline(scene.size).polygon(np.concatenate([upper, jaw[11:14][::-1], below[::-1], jaw[1:4][::-1]])).mask()


def strands(rng: Generator, scene: Scene) -> np.ndarray:
    """Hair that falls into the face, one strand or a lock of many."""
    outline = Outline(scene.size)
    brows = scene.landmarks[17:27]
    up = brows.mean(0) - scene.landmarks[8]
    root = brows[rng.integers(10)] + rng.uniform(0.3, 0.7) * up
    fall = np.array([rng.normal(0, 0.12), rng.uniform(0.12, 0.5)])
    bend, spread = rng.normal(0, 0.08), rng.uniform(0.01, 0.06)
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(rng.integers(1, 14)):
        start, end = root + rng.normal(0, spread, 2), root + fall * rng.uniform(0.7, 1.1) + rng.normal(0, spread * 1.3, 2)
        path = start + t * (end - start) + np.sin(np.pi * t) * (bend + rng.normal(0, 0.015), 0)
        outline.curve(path, rng.uniform(0.004, 0.022))
    return outline.mask()


def hand(rng: Generator, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Fingers, with a palm or without: the mask, and the light on it [S, S], darker at the sides of each finger."""
    tip = scene.spot(rng)
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.3 else np.pi / 2 + rng.normal(0, 0.8)  # most come from below
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    width, length = rng.uniform(0.04, 0.075), rng.uniform(0.16, 0.32)
    count, fan, gap = rng.integers(1, 6), rng.uniform(0, 0.25), rng.uniform(0.95, 1.5)
    mask, light = np.zeros((scene.size, scene.size), np.float32), np.ones((scene.size, scene.size), np.float32)
    y, x = (np.mgrid[: scene.size, : scene.size] + 0.5) / scene.size
    root = tip + length * along
    for finger in rng.permutation(count):
        place = finger - (count - 1) / 2
        base = root + place * width * gap * across
        reach = length * (1 - 0.08 * place**2 * rng.uniform(0.3, 1.2))
        top = base - reach * (along - place * fan * across)
        bend = base + (top - base) * 0.5 + rng.normal(0, 0.012) * across
        new = Outline(scene.size).curve([base + 0.4 * along, base, bend, top], width * rng.uniform(0.9, 1.05)).mask()
        axis = (top - base) / np.linalg.norm(top - base)
        away = np.abs((x - base[0]) * -axis[1] + (y - base[1]) * axis[0]) / (width / 2)
        light = np.where(new > 0.5, 1.05 - rng.uniform(0.15, 0.45) * np.clip(away, 0, 1) ** 2, light)
        mask = np.maximum(mask, new)
    if rng.random() < 0.65:
        half = np.array([count * width * gap / 2 + 0.01, rng.uniform(0.1, 0.2)])
        palm = Outline(scene.size).curve([root + half[1] * along, root + (half[1] + 1) * along], half[0] * 1.6)
        palm.ellipse(root + half[1] * 0.8 * along, (half[1] * 1.1, half[0]), angle)
        mask = np.maximum(mask, palm.mask())
    return mask, blur(light, 0.7)


# -- both together -----------------------------------------------------------------------------------------------

TEXTURES: dict[str, tuple[Callable, float]] = {
    "plain": (plain, 0.25),
    "skin": (skin, 0.3),
    "repeated": (repeated, 0.2),
    "natural": (natural, 0.25),
}
OUTLINES: dict[str, tuple[Callable, float]] = {
    "hand": (hand, 0.32),
    "shape": (shape, 0.15),
    "bar": (bar, 0.13),
    "paper": (paper, 0.1),
    "cup": (cup, 0.09),
    "microphone": (microphone, 0.07),
    "cloth": (cloth, 0.07),
    "strands": (strands, 0.14),
}
CLOTHES = {name: entry for name, entry in TEXTURES.items() if name != "skin"}
SKIN_OF_HANDS = 0.85  # share of the hands that are bare
SHADOW = 0.5  # share of things with a shadow on the face


def choose(rng: Generator, table: dict[str, tuple[Callable, float]]) -> str:
    shares = np.array([share for _, share in table.values()])
    return list(table)[rng.choice(len(table), p=shares / shares.sum())]


def draw_occluder(rng: Generator, scene: Scene, kind: str | None = None, texture: str | None = None) -> Occluder:
    """Draw one thing: an outline of OUTLINES, `kind` or any, in a texture of TEXTURES."""
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
    """Lay the thing on the picture uint8 [S, S, 3], sometimes with its shadow."""
    under = picture.astype(np.float32)
    if rng.random() < SHADOW:
        shift = np.float32([[1, 0, rng.normal(0, 3)], [0, 1, rng.uniform(0, 4)]])
        shadow = blur(cv2.warpAffine(occluder.alpha, shift, occluder.alpha.shape[::-1]), rng.uniform(1, 4))
        under *= 1 - rng.uniform(0.1, 0.5) * shadow[..., None]
    alpha = occluder.alpha[..., None]
    return np.clip(under * (1 - alpha) + occluder.rgb * alpha + 0.5, 0, 255).astype(np.uint8)
