"""Conversion of native samples <-> 8-bit RGB, and of a frame to an encoder's format.

Chroma is not interpolated: each sample stands for its block of pixels. So a change of one block appears in that
block alone, and RGB taken from a frame and written back gives the same chroma.
"""

from __future__ import annotations

from functools import lru_cache

import av
import cv2
import numpy as np

from .color import RANGE_FULL, RANGE_LIMITED, ColorTags, Scale, rgb_to_yuv_matrix, yuv_to_rgb_matrix
from .layout import Layout, component_view, indices, layout_of, new_frame, relayout, samples


def is_full_range(layout: Layout, tags: ColorTags) -> bool:
    """Full range by format (yuvj*), by tag, or, for untagged gray and all RGB, by convention."""
    if layout.family == "rgb" or layout.full:
        return True
    return tags.range == RANGE_FULL or (layout.family == "gray" and tags.range != RANGE_LIMITED)


@lru_cache(maxsize=32)
def _to_8bit(bits: int, full: bool) -> np.ndarray:
    """Table from luma or RGB code values to 0..255, rounded and clipped."""
    scale = Scale.of(bits, full)
    value = (np.arange(1 << bits) - scale.luma_offset) / scale.luma_gain
    return np.clip(np.rint(255 * value), 0, 255).astype(np.uint8)


@lru_cache(maxsize=32)
def _luma_table(bits: int, full: bool) -> np.ndarray:
    scale = Scale.of(bits, full)
    return (255 * (np.arange(1 << bits) - scale.luma_offset) / scale.luma_gain).astype(np.float32)


def to_rgb(frame: av.VideoFrame, layout: Layout, tags: ColorTags) -> np.ndarray:
    """Convert a native frame to uint8 [H, W, 3] RGB; alpha is dropped, values out of gamut are clipped."""
    height, width = frame.height, frame.width
    full = is_full_range(layout, tags)
    out = np.empty((height, width, 3), np.uint8)
    if layout.family != "yuv":
        for i in range(3):
            values = samples(frame, layout, i if layout.family == "rgb" else 0)
            out[..., i] = values if layout.bits == 8 and full else _to_8bit(layout.bits, full)[values]
        return out
    scale = Scale.of(layout.bits, full)
    matrix = yuv_to_rgb_matrix(tags.resolve(width, height).matrix) * (255 / scale.chroma_gain)
    luma = _luma_table(layout.bits, full)[samples(frame, layout, 0)]
    cb, cr = (samples(frame, layout, i).astype(np.float32) - np.float32(scale.chroma_offset) for i in (1, 2))
    block_w, block_h = layout.block
    for i in range(3):
        chroma = cb * np.float32(matrix[i, 1]) + cr * np.float32(matrix[i, 2])
        if layout.block != (1, 1):
            size = (chroma.shape[1] * block_w, chroma.shape[0] * block_h)
            chroma = cv2.resize(chroma, size, interpolation=cv2.INTER_NEAREST)[:height, :width]
        out[..., i] = cv2.add(luma, np.ascontiguousarray(chroma), dtype=cv2.CV_8U)  # rounds and saturates
    return out


def thumbnail_rgb(frame: av.VideoFrame, layout: Layout, tags: ColorTags, size: tuple[int, int]) -> np.ndarray:
    """Shrink a native frame to `size`, (w, h), by area averages: float32 [h, w, 3], 0..255; without a full-size conversion."""
    if layout.family != "yuv":
        return cv2.resize(to_rgb(frame, layout, tags), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    scale = Scale.of(layout.bits, is_full_range(layout, tags))
    matrix = yuv_to_rgb_matrix(tags.resolve(frame.width, frame.height).matrix) * (255 / scale.chroma_gain)
    y, cb, cr = (cv2.resize(samples(frame, layout, i), size, interpolation=cv2.INTER_AREA).astype(np.float32) for i in range(3))
    chroma = np.stack([cb, cr], axis=-1) - np.float32(scale.chroma_offset)
    luma = (y - np.float32(scale.luma_offset)) * np.float32(255 / scale.luma_gain)
    return np.clip(luma[..., None] + chroma @ matrix[:, 1:].T.astype(np.float32), 0, 255)


def block_reduce(values: np.ndarray, block: tuple[int, int], how) -> np.ndarray:
    """[h, w, ...] reduced by `how(array, axis)` over blocks of (wide, high); partial blocks at the ends repeat their edge."""
    block_w, block_h = block
    height, width = values.shape[:2]
    pad = ((0, -height % block_h), (0, -width % block_w)) + ((0, 0),) * (values.ndim - 2)
    if any(after for _, after in pad):
        values = np.pad(values, pad, mode="edge")
    height, width = values.shape[:2]
    blocks = values.reshape(height // block_h, block_h, width // block_w, block_w, *values.shape[2:])
    return how(blocks, (1, 3))


def _codes(values: np.ndarray, layout: Layout) -> np.ndarray:
    codes = np.clip(np.rint(values), 0, layout.peak).astype(layout.dtype)
    return codes << layout.shift if layout.shift else codes


def _weighted_sum(rgb: np.ndarray, weights: np.ndarray, offset: float) -> np.ndarray:
    """offset + weights . rgb, term by term: the same for a pixel at any position (a matrix product may round differently)."""
    r, g, b = (rgb[..., i].astype(np.float32) * np.float32(weights[i]) for i in range(3))
    return r + g + b + np.float32(offset)


def luma_codes(rgb: np.ndarray, layout: Layout, tags: ColorTags, full: bool) -> np.ndarray:
    """Stored luma of uint8 [h, w, 3] RGB; `tags` resolved."""
    scale = Scale.of(layout.bits, full)
    weights = rgb_to_yuv_matrix(tags.matrix)[0] * scale.luma_gain / 255
    return _codes(_weighted_sum(rgb, weights, scale.luma_offset), layout)


def chroma_codes(rgb: np.ndarray, layout: Layout, tags: ColorTags, full: bool) -> tuple[np.ndarray, np.ndarray]:
    """Stored (Cb, Cr), one of each for a block: the chroma of the block's mean RGB. `tags` resolved."""
    scale = Scale.of(layout.bits, full)
    mean = block_reduce(rgb.astype(np.float32), layout.block, np.mean)
    weights = rgb_to_yuv_matrix(tags.matrix)[1:] * scale.chroma_gain / 255
    return tuple(_codes(_weighted_sum(mean, w, scale.chroma_offset), layout) for w in weights)


def rgb_codes(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Stored samples of an RGB format of any depth, from 8-bit values."""
    return values if layout.bits == 8 else _codes(values * np.float32(layout.peak / 255), layout)


def write_rgb(out: av.VideoFrame, layout: Layout, rgb: np.ndarray, tags: ColorTags) -> None:
    """Fill the colour components of a native frame from uint8 [H, W, 3]."""
    if layout.family == "rgb":
        for i in range(3):
            component_view(out, layout, i)[:] = rgb_codes(rgb[..., i], layout)
        return
    full, tags = is_full_range(layout, tags), tags.resolve(out.width, out.height)
    component_view(out, layout, 0)[:] = luma_codes(rgb, layout, tags, full)
    if layout.family == "yuv":
        for i, codes in enumerate(chroma_codes(rgb, layout, tags, full), start=1):
            component_view(out, layout, i)[:] = codes


def convert_frame(frame: av.VideoFrame, layout: Layout, tags: ColorTags, name: str, to_tags: ColorTags) -> av.VideoFrame:
    """Convert a native frame to pixel format `name` with `to_tags`. Sample for sample if family, range and matrix are the same."""
    target = layout_of(name)
    size = frame.width, frame.height
    same_codes = is_full_range(layout, tags) == is_full_range(target, to_tags) and (
        layout.family != "yuv" or tags.resolve(*size).matrix == to_tags.resolve(*size).matrix
    )
    finer = target.log2_w <= layout.log2_w and target.log2_h <= layout.log2_h
    if same_codes and ((layout.family == target.family and finer) or (layout.family, target.family) == ("gray", "yuv")):
        return relayout(frame, layout, name)[0]
    out = new_frame(*size, target)
    write_rgb(out, target, to_rgb(frame, layout, tags), to_tags)
    if 3 in indices(target):
        alpha = samples(frame, layout, 3) if layout.alpha else np.full((frame.height, frame.width), layout.peak)
        peak = (alpha.astype(np.float32) * (target.peak / layout.peak)).round()
        component_view(out, target, 3)[:] = peak.astype(target.dtype) << target.shift
    return out
