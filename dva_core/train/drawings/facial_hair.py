"""Beards, goatees, moustaches and stubble: hairs on a sheet of the face, in a colour related to that of the brows."""

from __future__ import annotations

import numpy as np

from dva_core.faces.composite import smoothstep
from dva_core.train.drawings.common import Array, Drawing, blend, blur, luminance
from dva_core.train.drawings.head import FRONTAL, Head
from dva_core.train.drawings.sheets import both, curve, noise_sheet, polygon, scatter, sheet_grid, strokes

LIPS = FRONTAL[48:60]
TONES = ((0.055, 0.045, 0.04), (0.13, 0.085, 0.055), (0.24, 0.15, 0.09), (0.36, 0.2, 0.1), (0.5, 0.38, 0.22), (0.55, 0.54, 0.53))
CHEVRON, HANDLEBAR, PENCIL, WALRUS = range(4)


def style(kind: str, rng: np.random.Generator) -> dict:
    own = rng.random() < 0.6
    tones = (0.5, 0.35, 0.13, 0.02, 0, 0) if kind == "5_o_Clock_Shadow" else (0.38, 0.3, 0.16, 0.07, 0.03, 0.06)
    return {
        "own": float(rng.uniform(0.5, 0.95) if own else 0.1), "tone": int(rng.choice(6, p=tones)),
        "shade": float(rng.uniform(0.7, 1.15)), "cheek": float(rng.uniform(0, 1)), "long": float(rng.uniform(0, 1) ** 1.3),
        "full": float(rng.uniform(0.8, 0.97)), "soft": float(rng.uniform(0.04, 0.09)), "curl": float(rng.uniform(0.1, 0.5)),
        "moustache": int(rng.choice(4, p=(0.5, 0.18, 0.08, 0.24))), "wide": float(rng.uniform(0.88, 1.12)),
        "thick": float(rng.uniform(0.8, 1.25)),
        "ring": int(rng.random() < 0.7), "contrast": float(rng.uniform(0.3, 0.6)), "seed": int(rng.integers(2**31)),
    }  # fmt: skip


def moustache(look: dict) -> list[Array]:
    """Right half and its mirror image [n, 2] in face units."""
    w, t, kind = look["wide"], look["thick"], look["moustache"]
    if kind == PENCIL:
        half = [(0.02, 0.93), (0.2 * w, 0.93), (0.42 * w, 1.04), (0.43 * w, 1.07), (0.2 * w, 0.99), (0.02, 0.98)]
    elif kind == HANDLEBAR:
        half = [(0.0, 0.86), (0.18 * w, 0.86), (0.4 * w, 0.99), (0.58 * w, 0.98), (0.66 * w, 0.9), (0.66 * w, 0.98), (0.56 * w, 1.08),
                (0.4 * w, 1.1), (0.2 * w, 1.02), (0.0, 0.99)]  # fmt: skip
    elif kind == WALRUS:
        half = [(0.0, 0.83), (0.2 * w, 0.82), (0.4 * w, 0.94), (0.53 * w, 1.12), (0.52 * w, 1.27), (0.43 * w, 1.26), (0.37 * w, 1.12),
                (0.2 * w, 1.06), (0.0, 1.05)]  # fmt: skip
    else:
        half = [
            (0.0, 0.85),
            (0.18 * w, 0.84),
            (0.36 * w, 0.93),
            (0.5 * w, 1.08),
            (0.47 * w, 1.14),
            (0.36 * w, 1.1),
            (0.2 * w, 1.03),
            (0.0, 1.02),
        ]
    half = np.array(half)
    middle = np.array([0, 0.96])
    return both((half - middle) * (1, 0.6 + 0.4 * t) + middle)


def region(kind: str, look: dict) -> Array:
    """The area where hair grows, a sheet 0..1."""
    below = 0.03 + 0.3 * look["long"] ** 1.5
    if kind == "Mustache":
        area_map = np.maximum.reduce([polygon(half, 0.02) for half in moustache(look)])
    elif kind == "Goatee":
        w = 0.8 + 0.3 * look["wide"]
        chin = [(-0.34 * w, 1.45), (-0.14, 1.36), (0.14, 1.36), (0.34 * w, 1.45), (0.38 * w, 1.68), (0.24, 1.82 + below), (0, 1.86 + below)]
        chin += [(-0.24, 1.82 + below), (-0.38 * w, 1.68)]
        area_map = polygon(chin, 0.035)
        if look["ring"]:
            for half in moustache({**look, "moustache": CHEVRON}):
                area_map = np.maximum(area_map, polygon(half, 0.025))
            for half in both([(0.36, 0.95), (0.5 * w, 1.1), (0.52 * w, 1.3), (0.36 * w, 1.5), (0.26, 1.4), (0.4, 1.26), (0.42, 1.1)]):
                area_map = np.maximum(area_map, polygon(half, 0.025))
    else:
        out = 1.0 + 0.03 * look["thick"]
        lift = 0.16 * (look["cheek"] - 0.5)
        jaw = FRONTAL[8:17] * (out, 1) + np.c_[np.zeros(9), np.linspace(below, 0.0, 9)]
        cheek = curve(
            [(1.0, 0.05), (0.94, 0.42 - lift), (0.78, 0.84 - lift), (0.58, 1.0 - 0.6 * lift), (0.4, 0.96), (0.17, 0.85), (0.0, 0.87)]
        )
        half = np.r_[jaw, cheek]
        half[:, 0] -= 0.15 * (half[:, 0] < 0.01)  # the soft edges of both sides lie over each other in the middle, without a seam
        soft = look["soft"] if kind == "Beard" else 0.1
        area_map = np.maximum.reduce([polygon(side, soft) for side in both(half)])
        x, y = sheet_grid()
        # thinner at the sideburns, bare under the corners of the mouth
        area_map = area_map * (0.45 + 0.55 * smoothstep(0.1, 0.75, y + 0 * x))
        bare = np.exp(-(((np.abs(x) - 0.3) / 0.12) ** 2) - ((y - 1.38) / 0.06) ** 2)
        area_map = area_map * (1 - 0.45 * bare)
    reach = 1.03 if kind == "Mustache" or look["moustache"] == WALRUS else 1.06
    free = polygon((LIPS - LIPS.mean(0)) * (reach, 1.04) + LIPS.mean(0) + (0, 0.01), 0.012)
    return area_map * (1 - free)


def hairs(kind: str, look: dict, rng: np.random.Generator, area_map: Array) -> tuple[Array, Array]:
    """Hairs over the region: cover 0..1 and shade -1..1, sheets."""
    area = float((area_map > 0.3).mean())
    starts = scatter(rng, np.clip(area_map, 0, 1) ** 1.5, int(300 + 18000 * area))
    x, y = starts.T
    lip = np.exp(-(((y - 0.95) / 0.16) ** 2)) * (np.abs(x) < 0.6)
    angle = np.arctan2(1.0 - 0.45 * lip, lip * 1.5 * np.sign(x) * smoothstep(0, 0.15, np.abs(x)) - 0.35 * x * (1 - lip))
    angle = angle + rng.normal(0, look["curl"], len(x))
    length = rng.uniform(0.06, 0.13, len(x)) * (1 + look["long"])
    return strokes(rng, starts, np.c_[np.cos(angle), np.sin(angle)], length)


def hair_colour(head: Head, look: dict) -> Array:
    """Colour [3] in this picture's light: between that of the brows and a tone, darker than the skin unless it is grey."""
    level = float(np.clip(head.level / 0.62, 0.25, 1.35))
    tone = np.array(TONES[look["tone"]]) * level
    own = look["own"] if look["tone"] < 4 else 0.0
    colour = (own * head.hair_colour + (1 - own) * tone) * look["shade"]
    skin = float(luminance(head.skin_colour))
    limit = (0.5 if look["tone"] < 4 else 0.95) * skin
    return np.float32(colour * min(1.0, limit / max(float(luminance(np.float32(colour))), 1e-3)))


def on_face(head: Head, cover: Array) -> Array:
    """Restrict a sheet of hair to the visible face; hair may hang below the chin."""
    x, y = sheet_grid()
    hangs = smoothstep(0.75, 0.5, np.abs(x)) * smoothstep(1.45, 1.6, y)
    sides = head.carry(np.float32(smoothstep(0.75, 0.5, y) + 0 * x))  # sideburns: none on the scraps of skin between strands of hair
    bare = 1 - sides * (1 - smoothstep(0.55, 0.9, blur(head.skin, 0.12 * head.unit)))
    return cover * np.maximum(head.skin, head.carry(hangs)) * bare


def draw(kind: str, head: Head, look: dict) -> Drawing:
    rng = np.random.default_rng(look["seed"])
    area_map = region(kind, look)
    colour = hair_colour(head, look)
    if kind == "5_o_Clock_Shadow":
        return stubble(head, look, rng, area_map, colour)
    cover, shade = hairs(kind, look, rng, area_map)
    edge = smoothstep(0.25, 0.6, area_map + 0.12 * noise_sheet(rng, 0.12) * smoothstep(0, 0.2, area_map) * (area_map < 0.9))
    density = np.maximum(edge * (0.62 + 0.38 * cover), cover * smoothstep(0.12, 0.4, area_map)) * look["full"]
    tone = np.exp((1.0 if look["tone"] < 4 else 0.6) * look["contrast"] * (shade + 0.35 * noise_sheet(rng, 0.15)))
    layers = head.carry(np.float32(np.dstack([density, density * tone])))
    alpha = on_face(head, layers[..., 0])
    shine = layers[..., 1] / np.maximum(layers[..., 0], 1e-3)
    light = head.light**0.9
    rgb = head.rgb
    under = np.clip(blur(alpha, 0.06 * head.unit) - alpha, 0, 1) * 0.25 * head.contour  # it throws a little shadow
    rgb = rgb * (1 - under[..., None])
    strand = colour * (shine * light)[..., None] + 0.015
    rgb = blend(rgb, strand, alpha)
    return head.finish(rgb, np.maximum(alpha, under))


def stubble(head: Head, look: dict, rng: np.random.Generator, area_map: Array, colour: Array) -> Drawing:
    """Short dark hairs: a shade of the skin and fine specks, never bluer than the skin."""
    starts = scatter(rng, np.clip(area_map, 0, 1), 5200)
    angle = rng.normal(np.pi / 2, 0.5, len(starts))
    specks, _ = strokes(rng, starts, np.c_[np.cos(angle), np.sin(angle)], np.full(len(starts), 0.028))
    depth = 0.22 + 0.3 * look["long"] ** 0.5 * look["full"]
    cover = area_map * (depth * (0.8 + 0.15 * noise_sheet(rng, 0.3)) + 0.42 * blur(specks, 0.6))
    alpha = on_face(head, head.carry(np.float32(np.clip(cover, 0, 0.85))))
    skin = head.skin_colour
    dark = 0.6 * colour + 0.4 * skin * np.float32([0.3, 0.29, 0.28])
    rgb = blend(head.rgb, dark * head.light[..., None], alpha)
    return head.finish(rgb, alpha)
