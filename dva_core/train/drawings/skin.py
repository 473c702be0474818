"""Freckles and older skin: factors of the skin's own colour, with light and dark together at folds."""

from __future__ import annotations

import cv2
import numpy as np

from dva_core.faces.composite import smoothstep
from dva_core.train.drawings.common import Array, Drawing, blur, luminance
from dva_core.train.drawings.head import Head
from dva_core.train.drawings.sheets import SHEET, SHEET_SPAN, both, curve, noise_sheet, polygon, scatter, sheet_grid, to_sheet

SAMPLES = SHEET / SHEET_SPAN  # samples of a sheet in a face unit


def style(kind: str, rng: np.random.Generator) -> dict:
    return {
        "strength": float(rng.uniform(0.85, 1.5)), "count": int(rng.integers(260, 620)), "size": float(rng.uniform(0.8, 1.3)),
        "forehead": int(rng.integers(2, 5)), "crow": int(rng.integers(2, 5)), "cheek": float(rng.uniform(0.5, 1.0)),
        "bags": float(rng.uniform(0.5, 1.2)), "mottle": float(rng.uniform(0.5, 1.2)), "wide": float(rng.uniform(0, 1)),
        "seed": int(rng.integers(2**31)),
    }  # fmt: skip


def eyes_and_mouth(head: Head) -> Array:
    """Parts of the face that are not skin, float32 [S, S]."""
    parts = np.maximum.reduce([head.mask_of(36, 42), head.mask_of(42, 48), head.mask_of(48, 60)])
    return blur(parts, 0.03 * head.unit)


def freckles(head: Head, look: dict) -> Drawing:
    rng = np.random.default_rng(look["seed"])
    x, y = sheet_grid()
    cheeks = np.exp(-(((np.abs(x) - 0.5) / 0.36) ** 2) - ((y - 0.55) / 0.26) ** 2)
    nose = np.exp(-((x / 0.25) ** 2) - ((y - 0.45) / 0.28) ** 2)
    rest = 0.05 * look["wide"] * np.exp(-((x / 0.9) ** 2) - ((y - 0.4) / 0.9) ** 2)
    eyes = np.maximum.reduce([polygon(side, 0.02) for side in both([(0.75, 0.1), (0.5, -0.12), (0.22, 0.06), (0.5, 0.12)])])
    density = np.float32(cheeks + 0.9 * nose + rest) * (1 - eyes)
    spots = np.zeros((SHEET, SHEET), np.uint8)
    for place in np.int32(np.round(to_sheet(scatter(rng, density, look["count"])) * 16)):
        radius = rng.uniform(0.006, 0.018) * look["size"] * SAMPLES
        depth = int(rng.uniform(60, 200))
        cv2.circle(spots, tuple(int(v) for v in place), max(int(radius * 16), 8), depth, -1, cv2.LINE_AA, 4)
    tan = smoothstep(0.1, 0.9, density)
    sheet = np.dstack([blur(np.float32(spots) / 255, 0.9), tan])
    layers = head.carry(np.float32(sheet)) * (head.skin * (1 - eyes_and_mouth(head)))[..., None]
    deep = np.clip(layers[..., 0] * 1.15 * look["strength"], 0, 1)
    warm = layers[..., 1] * 0.12
    fade = np.float32([0.34, 0.5, 0.6]) * (1 if luminance(head.skin_colour) > 0.3 else 1.25)
    rgb = head.rgb * (1 - deep[..., None] * fade) * (1 - warm[..., None] * np.float32([0.1, 0.35, 0.5]))
    return head.finish(rgb, np.maximum(deep, warm))


def fold(height: Array, points: Array, wide: float, deep: float) -> None:
    """Add a furrow along a path [n, 2] in face units to a sheet of heights, thinner at its ends."""
    samples = np.int32(np.round(to_sheet(points) * 16)).tolist()
    taper = np.sin(np.pi * (np.arange(len(samples)) + 0.8) / (len(samples) + 0.6)) ** 0.7
    for start, end, share in zip(samples, samples[1:], taper.tolist()):
        cv2.line(height, start, end, -deep * share, max(round(wide * SAMPLES * (0.5 + 0.5 * share)), 1), cv2.LINE_8, 4)


def furrows(look: dict, rng: np.random.Generator) -> tuple[Array, Array]:
    """Heights of narrow and of wide folds, sheets (below 0: deeper)."""
    narrow, wide = np.zeros((SHEET, SHEET), np.float32), np.zeros((SHEET, SHEET), np.float32)

    def shaken(points, by=0.009):
        return curve(np.asarray(points) + rng.normal(0, by, (len(points), 2)), 12)

    for i in range(look["forehead"]):  # follow the brows' arch
        y = -0.52 - 0.14 * i + rng.normal(0, 0.01)
        reach = rng.uniform(0.55, 0.72) - 0.05 * i
        arch = [(-reach, y + 0.05), (-0.3, y - 0.02), (0, y + 0.02), (0.3, y - 0.02), (reach, y + 0.05)]
        fold(narrow, shaken(arch), 0.02, rng.uniform(0.6, 1))
    for side in (-1, 1):
        flip = np.array([side, 1])
        for i in range(look["crow"]):
            a = -0.35 + 0.33 * i + rng.normal(0, 0.06)
            start = np.array([0.76, -0.02 + 0.035 * i])
            end = start + rng.uniform(0.16, 0.28) * np.array([np.cos(a), np.sin(a)])
            fold(narrow, shaken([start * flip, ((start + end) / 2 + (0, 0.01)) * flip, end * flip], 0.006), 0.014, rng.uniform(0.5, 0.9))
        fold(narrow, shaken([p * flip for p in np.array([(0.05, -0.26), (0.06, -0.14), (0.055, -0.06)])], 0.006), 0.016, 0.7)  # frown
        naso = np.array([(0.2, 0.7), (0.3, 0.8), (0.41, 0.95), (0.5, 1.14), (0.53, 1.28)])
        fold(narrow, shaken([p * flip for p in naso], 0.008), 0.022, 0.85 * look["cheek"])
        fold(wide, shaken([p * flip for p in naso + (-0.02, 0.01)], 0.008), 0.08, 0.75 * look["cheek"])
        marion = np.array([(0.45, 1.2), (0.5, 1.32), (0.49, 1.48)])
        fold(narrow, shaken([p * flip for p in marion], 0.006), 0.02, 0.5 * look["cheek"])
        fold(wide, shaken([p * flip for p in marion], 0.006), 0.06, 0.35 * look["cheek"])
        bag = np.array([(0.24, 0.1), (0.34, 0.2), (0.5, 0.25), (0.66, 0.2), (0.74, 0.1)])
        fold(narrow, shaken([p * flip for p in bag], 0.006), 0.018, 0.75 * look["bags"])
        fold(wide, shaken([p * flip for p in bag + (0, 0.01)], 0.006), 0.06, 0.8 * look["bags"])
        lower = np.array([(0.3, 0.12), (0.45, 0.15), (0.62, 0.11)])
        fold(narrow, shaken([p * flip for p in lower], 0.005), 0.012, 0.5 * look["bags"])
        hollow = np.array([(0.72, 0.85), (0.66, 1.05), (0.64, 1.2)])
        fold(wide, shaken([p * flip for p in hollow]), 0.16, 0.55 * look["cheek"])
        lid = np.array([(0.3, -0.08), (0.48, -0.15), (0.7, -0.07), (0.8, 0.02)])
        fold(wide, shaken([p * flip for p in lid], 0.005), 0.05, 0.5)
    return blur(narrow, 1.5), blur(wide, 4.5)


def older(head: Head, look: dict) -> Drawing:
    rng = np.random.default_rng(look["seed"])
    narrow, wide = furrows(look, rng)
    x, y = sheet_grid()
    fine = noise_sheet(rng, 0.05, stretch=0.6) * 0.6 + noise_sheet(rng, 0.03) * 0.4
    patches = noise_sheet(rng, 0.22)
    # light falls from above: a slope that faces up is lighter, the furrow itself dark, its rim a little lighter
    slope = cv2.Sobel(narrow, cv2.CV_32F, 0, 1, ksize=3) / 8 * 1.2 + cv2.Sobel(wide, cv2.CV_32F, 0, 1, ksize=3) / 8 * 3.0
    rim = blur(-narrow, 3.5)
    shade = np.float32(-slope * 0.8 + narrow * 0.6 + wide * 0.68 + rim * 0.3)
    shade = shade + look["mottle"] * np.float32(0.035 * fine + 0.02 * patches)
    cheeks = np.exp(-(((np.abs(x) - 0.6) / 0.3) ** 2) - ((y - 0.6) / 0.25) ** 2)
    red = np.float32(look["mottle"] * 0.018 * np.clip(noise_sheet(rng, 0.3), 0, 2) + 0.04 * cheeks)
    spots = np.float32(smoothstep(1.9, 2.4, noise_sheet(rng, 0.09))) * 0.25 * look["mottle"]
    where = np.exp(-((x / 1.05) ** 6) - np.abs((y - 0.5) / 1.5) ** 6)
    layers = head.carry(np.dstack([np.float32(shade), red, spots, np.float32(where)]))
    skin = head.skin * (1 - eyes_and_mouth(head)) * layers[..., 3]
    brows = blur(np.maximum(head.mask_of(17, 22), head.mask_of(22, 27)), 0.04 * head.unit)
    skin = skin * (1 - 0.7 * brows)
    s = look["strength"]
    factor = np.exp(np.clip(s * layers[..., 0], -0.9, 0.35))
    warm = np.stack([1 + s * layers[..., 1] * 0.6, 1 - s * layers[..., 1], 1 - s * layers[..., 1]], -1)
    sallow = np.float32([0.985, 0.965, 0.94])
    spot = 1 - layers[..., 2:3] * np.float32([0.3, 0.45, 0.55])
    old = head.rgb * factor[..., None] * warm * spot * (1 - 0.7 * s * (1 - sallow))
    rgb = head.rgb + (old - head.rgb) * skin[..., None]
    return head.finish(rgb, skin * np.clip(0.25 + 1.5 * np.abs(factor - 1), 0, 1))


def draw(kind: str, head: Head, look: dict) -> Drawing:
    return freckles(head, look) if kind == "Freckles" else older(head, look)
