"""Retouch of a face in its frame: the frame's own pixels are moved, and the texture of the skin is smoothed or made stronger.

Pictures are float32 [H, W, 3] in [-1, 1], quads as in align.py.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from dva_core.faces.align import frame_to_crop, side, to_pixel_indices

FINE, BROAD = 0.0035, 0.02  # of the crop: the grain that stays, a Gaussian's sigma; the radius beyond which a tone is no texture
GUIDED = 256.0  # pixels of a crop at which tones are told from texture
EDGE = 0.15  # of -1..1: standard deviation around a pixel from which it is an edge, which stays


def retouch_face(picture: np.ndarray, quad: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Move and smooth the face in the square `quad` of a picture by `maps` [3, n, n] of the crop, as of networks.retouch.FaceRetouch."""
    maps, shape = maps.astype(np.float32), picture.shape[:2]
    if maps[:2].any():
        axes = np.float32([quad[3] - quad[0], quad[1] - quad[0]])  # to the right and down
        shift = draw_to_frame(np.einsum("ihw,ij->jhw", maps[:2], axes), quad, shape)
        columns, rows = np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32)[:, None]
        picture = cv2.remap(picture, columns + shift[..., 0], rows + shift[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if maps[2].any():
        picture = picture - draw_to_frame(maps[2:], quad, shape).reshape(*shape, 1) * skin_texture(picture, side(quad))
    return picture


def compose(shift: np.ndarray, maps: np.ndarray | None) -> np.ndarray:
    """The maps [3, n, n] that do what `maps` [3, m, m] do to a face moved by `shift` [2, n, n] before; None: nothing."""
    if maps is None:
        return compose_after(None, shift)
    second = resize_map(maps, shift.shape[-1])
    second[:2] += move_map(shift, second[:2])
    return second


def compose_after(maps: np.ndarray | None, shift: np.ndarray) -> np.ndarray:
    """The maps [3, n, n] that move a face by `shift` [2, n, n] after `maps` [3, m, m], which None says do nothing."""
    if maps is None:
        return np.concatenate([shift, np.zeros_like(shift[:1])]).astype(np.float32)
    moved = move_map(resize_map(maps, shift.shape[-1]), shift)
    moved[:2] += shift
    return moved


def resize_map(maps: np.ndarray, size: int) -> np.ndarray:
    """Maps [C, m, m] as [C, size, size], float32."""
    return np.stack([cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC) for part in maps.astype(np.float32)])


def move_map(maps: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Maps [C, n, n], float32, of which each place p shows what is at p + shift, `shift` [2, m, m] in widths of the map."""
    size = maps.shape[-1]
    pixel, (right, down) = np.arange(size, dtype=np.float32), resize_map(shift, size) * size
    at = pixel + right, pixel[:, None] + down
    return np.stack([cv2.remap(part, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in maps.astype(np.float32)])


def skin_texture(picture: np.ndarray, width: float) -> np.ndarray:
    """Wrinkles, pores and spots of a face whose crop is `width` pixels wide: what is coarser than grain, finer than its tone, and no edge.

    The difference of a Gaussian and a fast guided filter (He and Sun 2015), which is guided by the picture's luma.
    """
    fine, luma = cv2.GaussianBlur(picture, (0, 0), max(FINE * width, 0.3)), cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, GUIDED / width)
    small, guide = (
        cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else part for part in (picture, luma)
    )
    size = 2 * max(1, round(BROAD * width * scale)) + 1

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (size, size), borderType=cv2.BORDER_REFLECT)

    of_guide, of_small = mean(guide), mean(small)
    variance = np.maximum(mean(guide * guide) - of_guide**2, 0) + EDGE**2
    slope = (mean(guide[..., None] * small) - of_guide[..., None] * of_small) / variance[..., None]
    offset = of_small - slope * of_guide[..., None]
    slope, offset = (cv2.resize(mean(part), luma.shape[::-1]) for part in (slope, offset))
    return fine - slope * luma[..., None] - offset


def draw_to_frame(image: np.ndarray, quad: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Warp a map [C, S, S] of the crop, about as fine as the frame, to a window of it: float32 [H, W, C].

    quad is in the window's coordinates. Bicubic, and averaged first if the map is much finer.
    """
    image, width = np.ascontiguousarray(np.moveaxis(image, 0, -1)), math.ceil(side(quad))
    if width < image.shape[0] / 1.5:
        image = cv2.resize(image, (width, width), interpolation=cv2.INTER_AREA)
    affine = to_pixel_indices(frame_to_crop(quad, image.shape[0]))
    return cv2.warpAffine(image, affine, shape[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
