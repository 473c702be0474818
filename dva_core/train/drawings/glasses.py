"""Eyeglasses and sunglasses: a three-dimensional frame in front of the eyes, projected by the pose of the head."""

from __future__ import annotations

import cv2
import numpy as np

from dva_core.faces.composite import smoothstep
from dva_core.train.drawings.common import Array, Drawing, blend, blur
from dva_core.train.drawings.head import Head
from dva_core.train.drawings.sheets import noise_sheet

# half width, half height, exponent of the superellipse, wider at the top, outer corner raised, drop of the outer lower part
SHAPES = (
    (0.42, 0.25, 5.0, 0.04, 0.00, 0.00),  # rectangular
    (0.36, 0.34, 2.0, 0.00, 0.00, 0.00),  # round
    (0.43, 0.29, 3.6, 0.10, 0.05, 0.00),  # wayfarer
    (0.43, 0.33, 2.5, 0.06, 0.00, 0.10),  # aviator
    (0.42, 0.27, 3.0, 0.08, 0.02, 0.00),  # browline
    (0.43, 0.27, 3.0, 0.08, 0.13, 0.00),  # cat-eye
    (0.41, 0.27, 2.2, 0.00, 0.00, 0.00),  # oval
    (0.44, 0.34, 4.0, 0.03, 0.00, 0.00),  # large square
)
AVIATOR, BROWLINE = 3, 4
BLACK, BROWN, TORTOISE, METAL, GOLD, COLOUR = range(6)
COLOURS = ((0.05, 0.048, 0.047), (0.17, 0.1, 0.065), (0.3, 0.17, 0.08), (0.24, 0.24, 0.26), (0.42, 0.31, 0.13))
ANGLES = np.linspace(0, 2 * np.pi, 56, endpoint=False)


def style(kind: str, rng: np.random.Generator) -> dict:
    sun = kind == "Sunglasses"
    shape = int(rng.choice(8, p=(0.08, 0.14, 0.28, 0.24, 0.04, 0.07, 0.05, 0.10) if sun else (0.26, 0.2, 0.2, 0.06, 0.1, 0.05, 0.06, 0.07)))
    material = int(rng.choice(6, p=(0.55, 0.1, 0.1, 0.1, 0.1, 0.05) if sun else (0.52, 0.15, 0.12, 0.1, 0.04, 0.07)))
    thick = rng.uniform(0.05, 0.1) if material not in (METAL, GOLD) else rng.uniform(0.028, 0.045)
    colour = np.array(COLOURS[material]) if material < COLOUR else rng.uniform(0.05, 0.5, 3)
    colour = colour * rng.uniform(0.7, 1.3)
    lens = np.array(((0.035, 0.035, 0.04), (0.09, 0.06, 0.035), (0.04, 0.06, 0.05), (0.03, 0.045, 0.08)))[rng.integers(4)]
    return {
        "shape": shape, "material": material, "thick": float(thick), "colour": [float(c) for c in colour],
        "width": float(rng.uniform(0.96, 1.1) * (1.06 if sun else 1.0)), "height": float(rng.uniform(0.9, 1.12) * (1.1 if sun else 1.0)),
        "drop": float(rng.uniform(0.02, 0.08)), "gap": float(rng.uniform(0.53, 0.56)), "bridge": float(rng.uniform(-0.16, -0.04)),
        "temple": float(rng.uniform(0.8, 1.5)), "wrap": float(rng.uniform(0.1, 0.22)),
        "tint": float(rng.uniform(0.82, 0.97) if sun else rng.uniform(0.02, 0.08)), "fade": float(rng.uniform(0, 0.45)),
        "lens": [float(c) for c in (lens if sun else rng.uniform(0.5, 0.8, 3))],
        "shine": float(rng.uniform(0.05, 0.3) if sun else rng.choice((0, 1), p=(0.35, 0.65)) * rng.uniform(0.08, 0.35)),
        "shine_at": float(rng.uniform(-0.5, 0.5)), "shine_tilt": float(rng.uniform(-0.9, 0.9)), "shine_wide": float(rng.uniform(0.08, 0.3)),
        "shadow": float(rng.uniform(0.15, 0.4)), "seed": int(rng.integers(2**31)),
    }  # fmt: skip


def outline(look: dict, grow: float) -> Array:
    """Edge of the right lens [n, 2] from its centre in face units, `grow` wider on every side."""
    a, b, power, top, corner, drop = SHAPES[look["shape"]]
    c, s = np.cos(ANGLES), np.sin(ANGLES)
    x, y = np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)
    a, b = a * look["width"], b * look["height"]
    x = x * (1 - top * y) + drop * np.clip(y, 0, 1) * 0.6
    y = y - corner / b * np.clip(x, 0, 1.2) ** 2 * np.clip(-y + 0.4, 0, 1) + drop * np.clip(y, 0, 1) * (0.6 + 0.6 * x)
    heavy = np.clip(-s, 0, 1) * (1.4 if look["shape"] == BROWLINE else 0.25)
    grow = grow * (1 + heavy) * (0.45 if look["shape"] == BROWLINE else 1)
    return np.c_[x * (a + grow), y * (b + grow)]


def place(look: dict, points: Array, side: int) -> Array:
    """Convert points [n, 2] of a lens (from its centre) to face units [n, 3]."""
    x, y = look["gap"] * max(look["width"], 1) + points[:, 0], look["drop"] + points[:, 1]
    return np.c_[side * x, y, 0.24 - look["wrap"] * x**2 - 0.12 * y]


def band(path: Array, half: float) -> Array:
    """A strip along a path [n, 2], `half` to both sides, as a polygon."""
    along = np.gradient(path, axis=0)
    normal = np.c_[-along[:, 1], along[:, 0]] / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    return np.r_[path + half * normal, (path - half * normal)[::-1]]


def temples(head: Head, look: dict, reach: float) -> tuple[Array, Array]:
    """The visible sides of the frame, float32 [S, S], and for each pixel the position 0..1 along their fade."""
    tall = 0.035 * look["temple"] if look["material"] in (METAL, GOLD) else 0.06 * look["temple"]
    visible = np.zeros((head.size, head.size), np.float32)
    across = head.project(np.array([(0.1, 0, 0)]))[0] - head.project(np.array([(-0.1, 0, 0)]))[0]
    across /= np.linalg.norm(across)
    for side in (-1, 1):
        start, height = side * reach, look["drop"] - 0.13 * look["height"]
        hinge = np.array([start, height, 0.24 - look["wrap"] * reach**2])
        ear = np.array([side * max(1.14, reach + 0.04), -0.05, -1.25])
        share = np.linspace(0, 1, 12)[:, None]
        line = head.project(hinge + share * (ear - hinge))
        out = float((line[-1] - line[0]) @ across) * side / head.unit
        if out < 0.02:
            continue  # behind the face
        temple = head.fill([band(line, tall * head.unit * min(1.0, 0.5 + out))])
        along = np.clip(((np.indices(temple.shape)[::-1].transpose(1, 2, 0) - line[0]) @ across) * side / (out * head.unit), 0, 1)
        under = np.maximum(head.skin, 1 - smoothstep(0.02, 0.15, along * out))  # hair lies over it
        visible = np.maximum(visible, temple * (1 - smoothstep(0.75, 1.0, along)) * under)
    return visible


def draw(kind: str, head: Head, look: dict) -> Drawing:
    sun = kind == "Sunglasses"
    inner = [head.project(place(look, outline(look, 0), side)) for side in (-1, 1)]
    outer = [head.project(place(look, outline(look, look["thick"]), side)) for side in (-1, 1)]
    edge = place(look, outline(look, look["thick"]), 1)
    lens, rims = head.fill(inner), head.fill(outer, inner)

    # bridge
    nose = edge[:, 0].min() + 0.03
    x = np.linspace(-nose, nose, 12)
    bars = [(look["bridge"], 0.07)] + ([(look["bridge"] - 0.13, 0.0)] if look["shape"] == AVIATOR else [])
    half = max(look["thick"] * (0.5 if look["shape"] != BROWLINE else 0.35), 0.016) * head.unit
    shapes = []
    for height, arch in bars:
        y = height + look["drop"] - arch * (1 - (x / nose) ** 2)
        shapes.append(band(head.project(np.c_[x, y, np.full(12, 0.27)]), half))
    frame = np.maximum(rims, head.fill(shapes, inner))
    frame = np.maximum(frame, temples(head, look, float(edge[:, 0].max()) - 0.02) * (1 - lens))
    rgb = head.rgb

    # shadow on the skin
    step = np.float32([[1, 0, 0], [0, 1, 0.07 * head.unit]])
    cast = cv2.warpAffine(np.maximum(frame, 0.6 * lens if sun else frame), step, (head.size, head.size))
    shadow = blur(cast, 0.05 * head.unit) * look["shadow"] * head.contour * head.skin
    rgb = rgb * (1 - shadow[..., None] * np.float32([0.85, 1, 1.05]))

    # lenses: tint, darker at the top, and a reflected band
    rows, columns = np.indices(lens.shape)
    middle = head.project(np.array([(0, look["drop"], 0.2)]))[0]
    u, v = (columns - middle[0]) / head.unit, (rows - middle[1]) / head.unit
    tint = lens * look["tint"] * (1 - look["fade"] * smoothstep(-0.25, 0.4, v))
    rgb = blend(rgb, head.lighting_of(look["lens"], 0.5), np.float32(tint))
    local = np.abs(u) - 0.5 if look["shine_tilt"] > 0 else u - np.sign(u) * 0.5
    beam = np.exp(-(((local + look["shine_tilt"] * v - 0.4 * look["shine_at"]) / look["shine_wide"]) ** 2)) * smoothstep(0.45, -0.35, v)
    shine = np.float32(lens * look["shine"] * beam)
    rgb = blend(rgb, head.lighting_of((0.95, 0.97, 1.0), 0.3), shine)

    # frame: its colour, spots of tortoise shell, an edge that catches the light
    colour = head.lighting_of(look["colour"], 0.7)
    if look["material"] == TORTOISE:
        spots = head.carry(noise_sheet(np.random.default_rng(look["seed"]), 0.09))
        colour = colour * (0.35 + 1.5 * smoothstep(0.1, 0.9, spots))[..., None]
    above = cv2.warpAffine(frame, np.float32([[1, 0, 0], [0, 1, 0.03 * head.unit]]), (head.size, head.size))
    gloss = np.clip(frame - above, 0, 1) * (0.3 if look["material"] in (METAL, GOLD) else 0.2)
    rgb = blend(rgb, colour + gloss[..., None] * head.lighting_of((1, 1, 1), 0.5), frame * 0.97)
    mask = np.maximum.reduce([frame, np.maximum(tint, shine), shadow])
    return head.finish(rgb, mask)
