"""What an edit of the motion shows that no pixel of the frame did: the inside of a mouth that it opens, lashes of eyes that it closes.

Landmarks are those of warp.py. Layers are an opacity [S, S] in 0..1 and a colour [3, S, S] or [3, 1, 1] in 0..255.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from dva_core.faces.composite import blur, smoothstep
from dva_core.faces.warp import LEFT_EYE, MOUTH, RIGHT_EYE, smooth, uncrossed
from dva_core.networks.hull import FRACTION_BITS

SHUT = 0.1  # gap of closed lips, in widths of the mouth, as landmarks say
OPENED = (0.03, 0.1)  # of that width, by which the gap grows: from nothing of the inside drawn to all
SMILE_OPENED = (0.005, 0.03)  # the same of a smile
OWN_TEETH = (0.02, 0.08)  # of that width, by which a mouth was open before: from which teeth are seen themselves
INSIDE, TEETH, SMILE, TONGUE, LASHES = (44, 18, 17), (172, 156, 144), (208, 198, 188), (150, 78, 76), (40, 28, 24)  # colours in full light
TEETH_HEIGHT, TEETH_SHARE = 0.12, 0.4  # of the upper teeth: most, in widths of the mouth, and as a share of the gap
TONGUE_WIDE, TONGUE_HIGH, TONGUE_EDGE = 0.34, 0.55, 0.5  # half its width, in widths of the mouth; its height, of the gap; its soft share
TEETH_FADE = (0.1, 0.45)  # of that width: distance from its middle at which teeth grow dark
SMILE_FADE = (0.3, 0.55)  # the same in a smile
TEETH_EDGES, BETWEEN, BETWEEN_WIDE = (0.0, 0.115, 0.205, 0.285, 0.35), 0.13, 0.009  # of the same width; how dark it is between teeth
PARTED, CORNERS_OUT, CORNERS_UP = 0.13, 0.05, 0.06  # of a mouth's width: how far a wide smile parts the lips, and where the corners go
CLOSED, OPACITY = (0.35, 0.15), 0.8  # share of an eye's height to which it closes: from no lashes drawn to all; their opacity
THICK = 0.075  # of an eye's width: thickness of the lashes
EDGE = 0.006  # of the crop: blur of the edge of the mouth


def draw_motion(
    before: np.ndarray, after: np.ndarray, size: int, light: np.ndarray | float = 1.0, smile: bool = False
) -> np.ndarray | None:
    """A and B [6, size, size], as of `composite.Drawing`, of an edit that moves landmarks from `before` to `after`; None: nothing.

    light: of the face, 0..1, or [3] of red, green and blue. smile: teeth fill the mouth that opens.
    """
    after = uncrossed(before, after)
    layers = [*mouth_layers(before, after, size, smile), *eye_layers(before, after, size)]
    if not layers:
        return None
    opacity = sum(opacity for opacity, _ in layers)  # they lie apart
    shade = sum(opacity * colour for opacity, colour in layers)
    light = np.reshape(light, (-1, 1, 1))
    return np.concatenate([light * shade / 127.5 - opacity, -np.stack(3 * [opacity])]).astype(np.float32)


def mouth_layers(before: np.ndarray, after: np.ndarray, size: int, smile: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A hollow with a tongue, below what was seen of the inside before, and the upper teeth of a mouth that was closed."""
    old, new = np.maximum(gaps(np.stack([before, after])) - SHUT, 0)
    opacity = smoothstep(*(SMILE_OPENED if smile else OPENED), np.float32(new - old))
    if opacity:
        upper, lower = smooth(after[list(MOUTH.upper)]), smooth(after[list(MOUTH.lower)])
        seen = upper + np.minimum(old / max(new + SHUT, 1e-6), 1) * (lower - upper)
        dark, white, red = (np.float32(colour)[:, None, None] for colour in (INSIDE, SMILE if smile else TEETH, TONGUE))
        inside = dark + tongue(upper, lower, size) * (red - dark)
        shown = teeth(upper, lower, size, smile) * smoothstep(*OWN_TEETH[::-1], np.float32(old))
        yield opacity * fill(seen, lower, size, EDGE), inside + shown * (white - inside)


def teeth(upper: np.ndarray, lower: np.ndarray, size: int, smile: bool = False) -> np.ndarray:
    """How far upper teeth are seen, and lit, between curves [n, 2] of the inner lips: [size, size] in 0..1."""
    width, middle = max(np.linalg.norm(upper[-1] - upper[0]), 1e-6), upper[len(upper) // 2]
    height = np.maximum(np.linalg.norm(lower - upper, axis=1, keepdims=True), 1e-6)
    share, fade = (1.0, SMILE_FADE) if smile else (np.minimum(TEETH_SHARE, TEETH_HEIGHT * width / height), TEETH_FADE)
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    across, down = np.abs(at - middle[0]) / width, (at[:, None] - middle[1]) / (TEETH_HEIGHT * width)
    gap = sum(np.exp(-(((across - edge) / BETWEEN_WIDE) ** 2)) for edge in TEETH_EDGES)
    lit = (1 - smoothstep(*fade, across)) * (1 - BETWEEN * gap) * (0.7 + 0.3 * smoothstep(0, 0.4, down))  # less in the shadow of the lip
    return fill(upper, upper + share * (lower - upper), size, EDGE) * lit


def tongue(upper: np.ndarray, lower: np.ndarray, size: int) -> np.ndarray:
    """How far a tongue is seen, and lit, over the lower one of the curves [n, 2] of the inner lips: [size, size] in 0..1."""
    width, height = (max(np.linalg.norm(way, axis=-1).max(), 1e-6) for way in (upper[-1] - upper[0], lower - upper))
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    across, up = (at - upper[len(upper) // 2, 0]) / width / TONGUE_WIDE, (lower[len(lower) // 2, 1] - at[:, None]) / height / TONGUE_HIGH
    return smoothstep(1, 1 - TONGUE_EDGE, np.hypot(across, up)) * (1 - 0.5 * np.clip(up, 0, 1))  # darker at the back


def eye_layers(before: np.ndarray, after: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The dark line of lashes where the lids of an eye meet that was open."""
    for eye in (RIGHT_EYE, LEFT_EYE):
        old, new = (np.mean([points[lower, 1] - points[upper, 1] for upper, lower in eye.pairs]) for points in (before, after))
        opacity = OPACITY * smoothstep(*CLOSED, np.float32(new / max(old, 1e-6)))
        if opacity:
            line = smooth((after[list(eye.upper)] + after[list(eye.lower)]) / 2)
            thick = THICK * np.linalg.norm(line[-1] - line[0])
            yield opacity * fill(line - (0, thick / 2), line + (0, thick / 2), size, thick / 2.5), np.float32(LASHES)[:, None, None]


def part_lips(face: np.ndarray, amount: float) -> np.ndarray:
    """Landmarks of a closed mouth that parts its lips, as in a wide smile, by `amount` in 0..1; the corners go outwards and up."""
    parted = face.copy()
    left, right = face[[MOUTH.upper[0], MOUTH.upper[-1]]]
    across = amount * (right - left)
    down = np.array([-across[1], across[0]])
    for rows, side in (((31, 43), -1), ((37, 47), 1)):
        parted[list(rows)] += side * CORNERS_OUT * across - CORNERS_UP * down
    parted[list(MOUTH.lower[1:-1])] += PARTED * np.array([[0.85], [1.0], [0.85]]) * down
    parted[38:43] += PARTED * np.array([[0.45], [0.85], [0.95], [0.85], [0.45]]) * down
    return parted


def gaps(points: np.ndarray) -> np.ndarray:
    """Height of the gap between the lips of each face [n], in widths of its mouth, from landmarks [n, 51, 2]."""
    upper, lower = (points[:, list(rows)].mean(1) for rows in zip(*MOUTH.pairs))
    left, right = points[:, MOUTH.upper[0]], points[:, MOUTH.upper[-1]]
    return np.linalg.norm(lower - upper, axis=1) / np.maximum(np.linalg.norm(right - left, axis=1), 1e-6)


def fill(top: np.ndarray, bottom: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """A mask [size, size] of what lies between two curves from left to right, blurred by `sigma` of the crop."""
    image, polygon = np.zeros((size, size), np.float32), np.concatenate([top, bottom[::-1]])
    fixed = np.round((polygon * size - 0.5) * 2**FRACTION_BITS).astype(np.int32)
    cv2.fillPoly(image, [fixed], 1.0, cv2.LINE_AA, FRACTION_BITS)
    return blur(image, sigma * size)
