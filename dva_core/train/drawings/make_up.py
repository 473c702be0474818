"""Lipstick and heavy make-up: colour over the skin's and lips' own shading."""

from __future__ import annotations

import numpy as np

from dva_core.faces.composite import smoothstep
from dva_core.train.drawings.common import Array, Drawing, blend, blur, luminance
from dva_core.train.drawings.head import Head
from dva_core.train.drawings.sheets import both, curve, polygon, sheet_grid

LIPSTICKS = (
    (0.72, 0.05, 0.1),
    (0.55, 0.03, 0.1),
    (0.82, 0.16, 0.3),
    (0.5, 0.1, 0.25),
    (0.36, 0.04, 0.1),
    (0.85, 0.2, 0.12),
    (0.62, 0.2, 0.2),
)
SHADOWS = ((0.12, 0.09, 0.09), (0.3, 0.17, 0.1), (0.3, 0.12, 0.3), (0.1, 0.2, 0.45), (0.1, 0.32, 0.28), (0.55, 0.25, 0.3), (0.5, 0.38, 0.2))


def style(kind: str, rng: np.random.Generator) -> dict:
    lip = np.array(LIPSTICKS[rng.integers(len(LIPSTICKS))]) * rng.uniform(0.85, 1.15)
    eye = np.array(SHADOWS[rng.choice(len(SHADOWS), p=(0.26, 0.2, 0.15, 0.13, 0.08, 0.1, 0.08))]) * rng.uniform(0.8, 1.2)
    return {
        "lip": [float(c) for c in lip], "lip_cover": float(rng.uniform(0.65, 0.92)), "gloss": float(rng.uniform(0, 0.35)),
        "eye": [float(c) for c in eye], "eye_cover": float(rng.uniform(0.5, 0.85)), "eye_high": float(rng.uniform(0.6, 1.0)),
        "liner": float(rng.uniform(0.6, 1.0)), "wing": float(rng.uniform(0, 1)), "blush": float(rng.uniform(0.2, 0.45)),
        "blush_hue": float(rng.uniform(0, 1)), "smooth": float(rng.uniform(0.2, 0.6)),
    }  # fmt: skip


def lips(head: Head) -> tuple[Array, Array]:
    """Lips and the open mouth between them, float32 [S, S] each."""
    outer, inner = head.points[48:60], head.points[60:68]
    middle = outer.mean(0)
    mouth = head.fill([inner])
    is_closed = np.linalg.norm(inner[[1, 2, 3]] - inner[[7, 6, 5]], axis=1).mean() < 0.09 * head.unit
    whole = head.fill([middle + (outer - middle) * 1.04])
    return blur(whole, 0.02 * head.unit), np.zeros_like(mouth) if is_closed else mouth


def lipstick(head: Head, rgb: Array, look: dict) -> tuple[Array, Array]:
    """The picture with painted lips, and where."""
    whole, mouth = lips(head)
    alpha = whole * (1 - blur(mouth, 0.015 * head.unit)) * look["lip_cover"]
    grey = luminance(head.rgb)
    weight = alpha > 0.3
    usual = float(np.median(grey[weight])) if weight.any() else 0.4
    shade = np.clip(grey / max(usual, 0.03), 0.3, 2.2) ** 0.85
    skin = float(luminance(head.skin_colour))
    paint = head.lighting_of(look["lip"], 0.0) * np.clip(usual / max(0.62 * skin, 0.03), 0.2, 1.4) ** 0.8
    limit = 0.62 * float(luminance(head.skin_colour)) * float(np.median(head.light[weight]) if weight.any() else 1.0)
    paint = paint * min(1.0, limit / max(float(luminance(paint).mean()), 1e-3))  # never a lamp in a dark face
    paint = paint * shade[..., None]
    gloss = alpha * look["gloss"] * smoothstep(1.15, 1.7, shade)
    return blend(blend(rgb, paint, alpha), head.lighting_of((1, 0.92, 0.92)), gloss), alpha


def eye_sheets(look: dict) -> tuple[Array, Array]:
    """Eye shadow and blush, sheets."""
    high = -0.06 - 0.2 * look["eye_high"]
    lid = [(0.27, 0.02), (0.36, -0.12), (0.5, high), (0.72, high + 0.03), (0.9, -0.12), (0.74, -0.02), (0.58, -0.05), (0.43, -0.05)]
    shadow = np.maximum.reduce([polygon(side, 0.035) for side in both(lid)])
    under = [(0.34, 0.04), (0.5, 0.07), (0.7, 0.02), (0.74, 0.05), (0.52, 0.13), (0.36, 0.09)]
    shadow = np.maximum(shadow, 0.5 * np.maximum.reduce([polygon(side, 0.03) for side in both(under)]))
    x, y = sheet_grid()
    u, v = np.abs(x) - 0.7, y - 0.62
    along, across = u * 0.85 - v * 0.5, u * 0.5 + v * 0.85
    return shadow, np.float32(np.exp(-((along / 0.28) ** 2) - (across / 0.17) ** 2))


def draw(kind: str, head: Head, look: dict) -> Drawing:
    rgb = head.rgb
    if kind == "Wearing_Lipstick":
        return head.finish(*lipstick(head, rgb, look))
    shadow, blush = eye_sheets(look)
    layers = head.carry(np.dstack([shadow, blush])) * head.skin[..., None]
    eyes = np.maximum(head.mask_of(36, 42), head.mask_of(42, 48))
    # a smooth ground: fine differences of the skin go
    face = head.contour * head.skin * (1 - lips(head)[0]) * (1 - blur(eyes, 0.05 * head.unit)) * (1 - layers[..., 0])
    ground = blur(face, 0.1 * head.unit) * look["smooth"] * face
    rgb = blend(rgb, blur(rgb, 0.05 * head.unit) * np.float32([1.03, 1.0, 0.98]), ground)
    # blush and shadow multiply, so the skin's shading shows through
    pink = np.float32([1.06, 0.6 + 0.12 * look["blush_hue"], 0.66 + 0.02 * look["blush_hue"]])
    rose = layers[..., 1] * look["blush"]
    rgb = rgb * (1 - rose[..., None] * (1 - pink))
    alpha = layers[..., 0] * look["eye_cover"] * (1 - eyes)
    rgb = blend(rgb, head.lighting_of(look["eye"]), alpha)
    # liner and lashes along the upper lid, thicker outside, and a thin one below
    line = liner(head, look)
    rgb = blend(rgb, head.lighting_of((0.03, 0.025, 0.025)), line)
    rgb, lip = lipstick(head, rgb, look)
    return head.finish(rgb, np.maximum.reduce([lip, line, alpha, rose, 0.5 * ground]))


def liner(head: Head, look: dict) -> Array:
    shapes = []
    for eye, outward in ((head.points[36:42], 0), (head.points[42:48], 3)):
        order = [3, 2, 1, 0] if outward == 0 else [0, 1, 2, 3]
        upper = curve(eye[order], 20)  # inner corner to outer
        tail = upper[-1] + (upper[-1] - upper[0]) * 0.16 + head.unit * np.array([0, -0.07 * look["wing"]])
        upper = np.r_[upper, [tail]]
        lift = np.linspace(0.2, 1.0, 21) * 0.055 * look["liner"] * head.unit
        lift[-1] = 0
        shapes.append(np.r_[upper + (0, 0.012 * head.unit), (upper - np.c_[np.zeros(21), lift])[::-1]])
        lower = curve(eye[[3, 4, 5, 0] if outward == 0 else [0, 5, 4, 3]], 12)
        shapes.append(np.r_[lower, (lower + (0, 0.018 * head.unit))[::-1]])
    return head.fill(shapes) * 0.92
