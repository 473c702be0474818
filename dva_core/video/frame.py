"""A frame of a video: native samples, and RGB computed from them."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from .color import ColorTags
from .convert import block_reduce, chroma_codes, is_full_range, luma_codes, rgb_codes, thumbnail_rgb, to_rgb
from .layout import Layout, component_view, copy_frame, indices, layout_of, new_frame, samples


class Frame:
    """A frame as decoded, upright.

    `index` counts the frames given out, from 0; `pts` and `duration` are in units of `time_base` seconds, as in the source.
    `shift`: seconds that were added to the source's timestamps because files were joined there.
    `rgb` is uint8 [H, W, 3], read-only: change a copy and pass it to `with_rgb`.
    """

    def __init__(
        self,
        native: av.VideoFrame,
        layout: Layout,
        color: ColorTags,
        index: int,
        pts: int,
        time_base: Fraction,
        duration: int = 0,
        shift: Fraction = Fraction(0),
    ) -> None:
        self.native, self.layout, self.color = native, layout, color
        self.index, self.pts, self.time_base, self.duration, self.shift = index, pts, time_base, duration, shift
        self._rgb: np.ndarray | None = None

    @classmethod
    def from_rgb(cls, array: np.ndarray, index: int, pts: int | None = None, time_base: Fraction = Fraction(1, 25)) -> Frame:
        """Make a frame from uint8 [H, W, 3] RGB or [H, W, 4] RGBA. `pts` defaults to `index`."""
        array = np.asarray(array)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4):
            raise ValueError(f"an RGB frame is uint8 [H, W, 3] or [H, W, 4], got {array.dtype} {list(array.shape)}")
        layout = layout_of("rgb24" if array.shape[2] == 3 else "rgba")
        native = new_frame(array.shape[1], array.shape[0], layout)
        for i in indices(layout):
            component_view(native, layout, i)[:] = array[..., i]
        return cls(native, layout, ColorTags(), index, index if pts is None else pts, time_base, 1)

    @property
    def width(self) -> int:
        return self.native.width

    @property
    def height(self) -> int:
        return self.native.height

    @property
    def time(self) -> Fraction:
        """Presentation time in seconds, on the source's clock."""
        return self.pts * self.time_base

    @property
    def rgb(self) -> np.ndarray:
        if self._rgb is None:
            rgb = to_rgb(self.native, self.layout, self.color)
            rgb.flags.writeable = False
            self._rgb = rgb
        return self._rgb

    def thumbnail(self, size: int) -> np.ndarray:
        """The picture shrunk to float32 [size, size, 3], equal to that of `rgb` except for rounding; faster if `rgb` is not needed."""
        return thumbnail_rgb(self.native, self.layout, self.color, (size, size))

    @property
    def alpha(self) -> np.ndarray | None:
        """uint8 [H, W], or None if the source has no alpha."""
        if self.layout.alpha is None:
            return None
        values = samples(self.native, self.layout, 3)
        return values.copy() if self.layout.bits == 8 else np.rint(values * (255 / self.layout.peak)).astype(np.uint8)

    def planes(self) -> list[np.ndarray]:
        """Copies of the native sample values: (Y, U, V), (Y,) or (R, G, B), then alpha if there is one."""
        return [samples(self.native, self.layout, i).copy() for i in indices(self.layout)]

    def with_rgb(self, rgb: np.ndarray, mask: np.ndarray | None = None) -> Frame:
        """Replace the pixels of `rgb` (uint8 [H, W, 3]) that differ from `self.rgb`; everything else is bit-exact.

        Luma is replaced where a pixel differs. A chroma sample is replaced where any pixel of its block differs and
        all of them are in `mask` (bool [H, W]; None = everywhere). RGB formats have no chroma: each pixel that differs
        is replaced. Alpha stays.
        """
        shape = (self.height, self.width)
        rgb = np.asarray(rgb)
        if rgb.dtype != np.uint8 or rgb.shape != (*shape, 3):
            raise ValueError(f"rgb must be uint8 {[*shape, 3]}, got {rgb.dtype} {list(rgb.shape)}")
        if mask is not None and mask.shape != shape:
            raise ValueError(f"mask must be {list(shape)}, got {list(mask.shape)}")
        rect = _changed_rectangle(rgb, self.rgb, self.layout.block)
        if rect is None:
            return self
        native = copy_frame(self.native, self.layout)
        patch = rgb[rect]
        differs = (patch != self.rgb[rect]).any(axis=2)
        _write_pixels(native, self.layout, self.color.resolve(self.width, self.height), rect, patch, differs, mask)
        return Frame(native, self.layout, self.color, self.index, self.pts, self.time_base, self.duration, self.shift)


def _changed_rectangle(new: np.ndarray, old: np.ndarray, block: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of the bounding box of all differences, extended to whole chroma blocks; None if there are none."""
    differs = new != old
    rows = np.flatnonzero(differs.reshape(len(differs), -1).any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(differs[rows[0] : rows[-1] + 1].any(axis=(0, 2)))
    return _align(rows[0], rows[-1] + 1, block[1], new.shape[0]), _align(columns[0], columns[-1] + 1, block[0], new.shape[1])


def _align(start: int, stop: int, step: int, limit: int) -> slice:
    return slice(int(start) // step * step, min(-(-int(stop) // step) * step, limit))


def _write_pixels(
    native: av.VideoFrame,
    layout: Layout,
    tags: ColorTags,
    rect: tuple[slice, slice],
    patch: np.ndarray,
    differs: np.ndarray,
    mask: np.ndarray | None,
) -> None:
    """Write the pixels of `patch` that differ into `native`, luma by pixel and chroma by block."""
    if layout.family == "rgb":
        for i in range(3):
            component_view(native, layout, i)[rect][differs] = rgb_codes(patch[..., i], layout)[differs]
        return
    full = is_full_range(layout, tags)
    component_view(native, layout, 0)[rect][differs] = luma_codes(patch, layout, tags, full)[differs]
    if layout.family == "gray":
        return
    blocks = block_reduce(differs, layout.block, np.any)
    if mask is not None:
        blocks &= block_reduce(np.ascontiguousarray(mask[rect], bool), layout.block, np.all)
    block_w, block_h = layout.block
    rows, columns = rect
    for i, codes in enumerate(chroma_codes(patch, layout, tags, full), start=1):
        view = component_view(native, layout, i)[rows.start // block_h :, columns.start // block_w :]
        view[: codes.shape[0], : codes.shape[1]][blocks] = codes[blocks]
