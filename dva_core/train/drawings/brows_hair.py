"""Bushy eyebrows, and grey hair with greyer brows."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from dva_core.faces.composite import smoothstep
from dva_core.train.drawings.common import Array, Drawing, blend, blur, luminance
from dva_core.train.drawings.head import FRONTAL, Head
from dva_core.train.drawings.sheets import curve, noise_sheet, polygon, scatter, strokes

# from the right temple over the forehead to the left one, face units
_ARCH = np.array([(1.0, -0.3, -0.45), (0.88, -0.75, -0.3), (0.52, -1.0, -0.2), (0, -1.1, -0.15)])
FOREHEAD = np.r_[_ARCH, _ARCH[-2::-1] * (-1, 1, 1)]


def style(kind: str, rng: np.random.Generator) -> dict:
    return {
        "thick": float(rng.uniform(0.85, 1.35)), "dark": float(rng.uniform(0.5, 0.95)), "long": float(rng.uniform(0.9, 1.15)),
        "unkempt": float(rng.uniform(0.15, 0.45)), "silver": float(rng.uniform(0.45, 0.8)), "cover": float(rng.uniform(0.8, 1.0)),
        "blue": float(rng.uniform(-0.02, 0.04)), "seed": int(rng.integers(2**31)),
    }  # fmt: skip


def brow_shift(head: Head) -> list[float]:
    """Distance of each brow below its landmarks, in face units: where the picture is darkest nearby."""
    down = head.unit * head.axes[:, 1]
    steps = np.linspace(-0.08, 0.2, 15)
    grey = luminance(blur(head.rgb, 0.02 * head.unit))
    values = []
    for low, high in ((17, 22), (22, 27)):
        places = head.points[low:high][None] + steps[:, None, None] * down
        row, column = np.clip(np.round(places[..., ::-1]).astype(int), 0, head.size - 1).transpose(2, 0, 1)
        dark = grey[row, column]
        dark = np.clip(np.quantile(dark, 0.7) - dark, 0, None).mean(1) * np.exp(-(((steps - 0.07) / 0.09) ** 2))
        values.append(float((dark * steps).sum() / dark.sum()) if dark.sum() > 1e-4 else 0.05)
    return values


def brow_shape(look: dict, side: int, shift: float) -> tuple[Array, Array]:
    """Middle line [n, 2] and half thickness [n] of a brow in face units."""
    share = np.linspace(0, 1, 24)
    half = 0.095 * look["thick"] * (1 - 0.72 * share**2.2) * smoothstep(-0.25, 0.15, share)
    low = np.maximum(shift, half - 0.035)  # the landmarks lie on the upper edge: it grows down, not into the forehead
    middle = curve(FRONTAL[22:27] * (look["long"] ** 0.5, 1), 24) + np.c_[0 * low, low]
    return middle * (side, 1), half


def bushy(head: Head, look: dict) -> Drawing:
    rng = np.random.default_rng(look["seed"])
    cover, shade = np.zeros_like(noise_sheet(rng, 1.0)), 0.0
    for side, shift in zip((-1, 1), brow_shift(head)):
        middle, half = brow_shape(look, side, shift)
        hair_area = polygon(np.r_[middle - np.c_[0 * half, half], (middle + np.c_[0 * half, half])[::-1]], 0.02)
        starts = scatter(rng, hair_area, 230)
        share = np.clip((np.abs(starts[:, 0]) - 0.29) / 0.6, 0, 1)
        angle = -(1.0 - 1.25 * share) + rng.normal(0, look["unkempt"], len(starts))  # up at the nose, outwards at the temple
        hair, tone = strokes(rng, starts, np.c_[side * np.cos(angle), np.sin(angle)], rng.uniform(0.06, 0.11, len(starts)))
        cover = np.maximum(cover, np.maximum(0.88 * smoothstep(0.15, 0.75, hair_area), 0.85 * hair * smoothstep(0.05, 0.3, hair_area)))
        shade = shade + tone * (hair > 0)
    layers = head.carry(np.dstack([cover, cover * np.exp(0.22 * np.float32(shade))]))
    eyes = np.maximum(head.mask_of(36, 42), head.mask_of(42, 48))
    alpha = layers[..., 0] * look["dark"] ** 0.4 * head.skin * (1 - eyes)
    shine = layers[..., 1] / np.maximum(layers[..., 0], 1e-3)
    colour = head.hair_colour * (1.15 - 0.6 * look["dark"])
    return head.finish(blend(head.rgb, colour * (shine * head.light)[..., None] + 0.01, alpha), alpha)


def hair_mask(head: Head, side: int = 64, rounds: int = 3) -> Array:
    """Hair on and around the head, float32 [S, S]: the usual place of hair, corrected by the colours found there, on a small copy."""
    skull = head.project(np.array([(0, -0.35, -0.7)]))[0]
    rows, columns = (np.indices((side, side)) + 0.5) * (head.size / side)
    wide, high = np.moveaxis((np.stack([columns, rows], -1) - skull) @ head.axes / head.unit, -1, 0)
    around = np.hypot(wide / 1.25, high / 1.25)
    front, back = head.project(FOREHEAD), head.project(FOREHEAD - (0, 0, 0.25))
    oval = head.fill([np.r_[head.points[1:16], front], np.r_[front, back[::-1]]])
    oval = cv2.resize(oval, (side, side), interpolation=cv2.INTER_AREA)
    core = cv2.resize(np.float32(head.core), (side, side), interpolation=cv2.INTER_AREA)
    falls = smoothstep(2.0, 1.4, np.abs(wide)) * smoothstep(0.0, 0.5, high) * smoothstep(2.6, 1.8, high)
    falls = falls * smoothstep(0.5, 0.9, np.abs(wide))  # long hair
    # what lies where before its colour is known: hair, skin, anything else
    cap = smoothstep(1.8, 0.95, around) * smoothstep(1.0, 0.5, high)
    yaw = float(head.rotation[0, 2])  # beside the far cheek of a turned head there is no hair to see
    beside = smoothstep(0.1, 0.35, abs(yaw)) * smoothstep(0.6, 0.9, wide * np.sign(yaw)) * smoothstep(-0.5, 0.0, high)
    cap, falls = cap * (1 - beside), falls * (1 - beside) * (1 - 0.8 * smoothstep(0.1, 0.35, abs(yaw)))  # nor can the neck be told
    pixels = side * head.unit / head.size  # a face unit
    hair = np.maximum(0.9 * cap, 0.5 * falls) * (1 - 0.75 * blur(oval, 0.12 * pixels)) * (1 - oval * smoothstep(-0.5, 0.0, high))
    skin = np.maximum(smoothstep(0, 0.5, blur(oval, 0.35 * pixels)), 0.5 * smoothstep(0.3, 0.9, high) * smoothstep(1.4, 0.9, np.abs(wide)))
    other = smoothstep(0.7, 1.25, around) * 0.9 + 0.05
    prior = np.stack([hair + 1e-3, 0.8 * skin + 0.02, other])
    prior /= prior.sum(0)
    seed = smoothstep(0.72, 0.9, around) * smoothstep(1.1, 1.0, around) * smoothstep(0.5, 0.2, high) * (1 - oval)
    like_skin = cv2.resize(head.skin_distance, (side, side), interpolation=cv2.INTER_AREA) < 16
    values = np.stack([seed, core + 0.6 * oval * like_skin, smoothstep(1.2, 1.5, around) * (1 - oval) * smoothstep(1.5, 1.0, high) + 0.02])
    lab = cv2.cvtColor(np.float32(cv2.resize(head.picture, (side, side), interpolation=cv2.INTER_AREA)) / 255, cv2.COLOR_RGB2LAB)
    lab[..., 0] *= 100 / max(float(np.quantile(lab[..., 0], 0.97)), 25.0)  # a dark picture's tones apart
    bins = np.int32(np.clip((lab + (0, 60, 60)) / (5, 6, 6), 0, 19))
    index = (bins[..., 0] * 20 + bins[..., 1]) * 20 + bins[..., 2]
    for _ in range(rounds):
        histograms = [gaussian_filter(np.bincount(index.ravel(), part.ravel(), 8000).reshape(20, 20, 20), 0.8) for part in values]
        like = np.stack([(count / max(count.sum(), 1e-3) + 1e-4).ravel()[index] for count in histograms]) ** 1.6  # colour before place
        values = prior * like
        values /= values.sum(0)
    values = values[0]
    mask = cv2.resize(blur(np.float32(values), 0.7), (head.size, head.size), interpolation=cv2.INTER_LINEAR)
    return smoothstep(0.35, 0.75, guided_filter(luminance(head.rgb), np.float32(mask), max(int(0.12 * head.unit), 1), 2e-3))


def guided_filter(guide: Array, mask: Array, radius: int, floor: float) -> Array:
    """Align the edges of the mask to those of the guide (guided filter, He et al. 2010), 0..1."""

    def mean(values):
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1))

    g, m = mean(guide), mean(mask)
    slope = (mean(guide * mask) - g * m) / (mean(guide * guide) - g * g + floor)
    return np.clip(mean(slope) * guide + mean(m - slope * g), 0, 1)


def grey(head: Head, look: dict) -> Drawing:
    tone = luminance(head.rgb)
    mask = np.float32(hair_mask(head))
    brows = np.maximum.reduce(
        [polygon(np.r_[m - np.c_[0 * h, h], (m + np.c_[0 * h, h])[::-1]], 0.03) for m, h in
         (brow_shape({"long": 1.0, "thick": 1.1}, side, shift) for side, shift in zip((-1, 1), brow_shift(head)))]
    )  # fmt: skip
    dark = smoothstep(0.95, 0.6, tone / np.maximum(head.light * float(luminance(head.skin_colour)), 0.02))
    brow = head.carry(np.float32(brows)) * dark * 0.75
    alpha = np.maximum(mask, brow) * look["cover"]
    in_mask = mask > 0.5
    usual = float(np.median(tone[in_mask])) if in_mask.sum() > 20 else 0.2
    level = np.clip(head.level / 0.62, 0.3, 1.3)
    aim = min(look["silver"] * level, 8 * usual + 0.15)  # what lies in the dark stays there
    silver = aim * np.clip((tone + 0.012) / (usual + 0.012), 0.25, 1.7) ** 0.55
    silver = np.maximum(silver, tone * 0.9)
    cast = head.lighting_of((1, 1, 1), 0)[0, 0]  # grey in the picture's own light
    cast = (cast / float(luminance(cast))) ** 0.5
    colour = silver[..., None] * cast * np.float32([1 - look["blue"], 1.0, 1 + look["blue"]])
    brow_colour = (0.6 * silver + 0.4 * tone)[..., None] * np.float32([1, 0.99, 0.98])
    colour = np.where((mask >= brow)[..., None], colour, brow_colour)
    return head.finish(blend(head.rgb, np.clip(colour, 0, 1), alpha), alpha)


def draw(kind: str, head: Head, look: dict) -> Drawing:
    return bushy(head, look) if kind == "Bushy_Eyebrows" else grey(head, look)
