"""Memory layout of a pixel format's samples, and lossless conversions between formats.

Everything here works on strided numpy views of the planes of an `av.VideoFrame`, so one description serves
planar, semi-planar and packed formats of 8 to 16 bits.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cache

import av
import numpy as np

log = logging.getLogger(__name__)

_SUBSAMPLING = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}


@dataclass(frozen=True)
class Component:
    """Samples of one component: `plane[:, offset::step]`, counted in samples."""

    plane: int
    offset: int = 0
    step: int = 1


@dataclass(frozen=True)
class Layout:
    """A pixel format. `components` are (Y,), (Y, U, V) or (R, G, B); a sample is `memory >> shift`, `bits` wide.

    `log2_w`, `log2_h`: how much coarser chroma is; `full`: the format itself says full range (yuvj*).
    """

    name: str
    family: str  # "yuv", "gray" or "rgb"
    bits: int
    components: tuple[Component, ...]
    alpha: Component | None = None
    log2_w: int = 0
    log2_h: int = 0
    shift: int = 0
    full: bool = False

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("<u2" if self.bits > 8 else "u1")

    @property
    def block(self) -> tuple[int, int]:
        """Pixels (wide, high) that share one chroma sample."""
        return 1 << self.log2_w, 1 << self.log2_h

    @property
    def peak(self) -> int:
        return (1 << self.bits) - 1

    def fits(self, width: int, height: int) -> bool:
        """Whether whole chroma blocks tile the picture."""
        return width % self.block[0] == 0 and height % self.block[1] == 0


def _packed(order: str, suffix: str = "", bits: int = 8) -> dict[str, Layout]:
    at = {letter: Component(0, i, len(order)) for i, letter in enumerate(order)}
    name = order + suffix
    return {name: Layout(name, "rgb", bits, (at["r"], at["g"], at["b"]), at.get("a"))}


def _semi_planar(name: str, sub: str, bits: int = 8, shift: int = 0, swapped: bool = False) -> dict[str, Layout]:
    lw, lh = _SUBSAMPLING[sub]
    u, v = Component(1, 0, 2), Component(1, 1, 2)
    return {name: Layout(name, "yuv", bits, (Component(0), *((v, u) if swapped else (u, v))), None, lw, lh, shift)}


_TABLE: dict[str, Layout] = {
    **_packed("rgb", "24"),
    **_packed("bgr", "24"),
    **{k: v for order in ("rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr") for k, v in _packed(order).items()},
    **_packed("rgb", "48le", 16),
    **_packed("bgr", "48le", 16),
    **_packed("rgba", "64le", 16),
    **_packed("bgra", "64le", 16),
    "gray": Layout("gray", "gray", 8, (Component(0),)),
    "ya8": Layout("ya8", "gray", 8, (Component(0, 0, 2),), Component(0, 1, 2)),
    "ya16le": Layout("ya16le", "gray", 16, (Component(0, 0, 2),), Component(0, 1, 2)),
    "yuyv422": Layout("yuyv422", "yuv", 8, (Component(0, 0, 2), Component(0, 1, 4), Component(0, 3, 4)), None, 1, 0),
    "uyvy422": Layout("uyvy422", "yuv", 8, (Component(0, 1, 2), Component(0, 0, 4), Component(0, 2, 4)), None, 1, 0),
    **_semi_planar("nv12", "420"),
    **_semi_planar("nv21", "420", swapped=True),
    **_semi_planar("nv16", "422"),
    **_semi_planar("nv24", "444"),
    **_semi_planar("p010le", "420", 10, 6),
    **_semi_planar("p012le", "420", 12, 4),
    **_semi_planar("p016le", "420", 16),
    **_semi_planar("p210le", "422", 10, 6),
    **_semi_planar("p410le", "444", 10, 6),
}


@cache
def layout_of(name: str) -> Layout | None:
    """Layout of FFmpeg's pixel format `name`, or None if the format is not handled natively."""
    if name in _TABLE:
        return _TABLE[name]
    if m := re.fullmatch(r"yuv([aj]?)(4\d\d)p(?:(\d+)le)?", name):
        lw, lh = _SUBSAMPLING[m[2]]
        alpha = Component(3) if m[1] == "a" else None
        return Layout(name, "yuv", int(m[3] or 8), (Component(0), Component(1), Component(2)), alpha, lw, lh, full=m[1] == "j")
    if m := re.fullmatch(r"gbr(a?)p(?:(\d+)le)?", name):
        return Layout(name, "rgb", int(m[2] or 8), (Component(2), Component(0), Component(1)), Component(3) if m[1] else None)
    if m := re.fullmatch(r"gray(\d+)le", name):
        return Layout(name, "gray", int(m[1]), (Component(0),))
    return None


def planar_yuv(bits: int, log2_w: int, log2_h: int, alpha: bool = False) -> str:
    """Name of the planar little-endian YUV format with these properties."""
    sub = next(k for k, v in _SUBSAMPLING.items() if v == (log2_w, log2_h))
    return f"yuv{'a' if alpha else ''}{sub}p" + (f"{bits}le" if bits > 8 else "")


def plane_array(frame: av.VideoFrame, index: int, dtype: np.dtype) -> np.ndarray:
    """[rows, samples] view of a plane, padding included, top row first. Never write into a frame a decoder made."""
    plane = frame.planes[index]
    array = np.frombuffer(plane, np.uint8).reshape(plane.height, -1).view(dtype)
    return array[::-1] if plane.line_size < 0 else array


def component_view(frame: av.VideoFrame, layout: Layout, index: int) -> np.ndarray:
    """[h, w] view of component `index` (0..2, or 3 for alpha) as stored, that is still shifted by `layout.shift`."""
    component = layout.alpha if index == 3 else layout.components[index]
    width, height = frame.width, frame.height
    if layout.family == "yuv" and index in (1, 2):
        width, height = -(-width >> layout.log2_w), -(-height >> layout.log2_h)
    return plane_array(frame, component.plane, layout.dtype)[:height, component.offset :: component.step][:, :width]


def samples(frame: av.VideoFrame, layout: Layout, index: int) -> np.ndarray:
    """[h, w] sample values of a component, 0..2**bits-1."""
    view = component_view(frame, layout, index)
    return view >> layout.shift if layout.shift else view


def indices(layout: Layout) -> tuple[int, ...]:
    """Component indices present, alpha as 3."""
    return tuple(range(len(layout.components))) + ((3,) if layout.alpha else ())


def new_frame(width: int, height: int, layout: Layout) -> av.VideoFrame:
    """A writable frame whose padding bytes are zero where samples leave holes (bgr0)."""
    frame = av.VideoFrame(width, height, layout.name)
    if layout.family == "rgb" and layout.components[0].step == 4 and layout.alpha is None:
        plane_array(frame, 0, layout.dtype)[:] = 0
    return frame


def copy_frame(frame: av.VideoFrame, layout: Layout) -> av.VideoFrame:
    """A deep copy that may be written to; sample for sample the same."""
    out = new_frame(frame.width, frame.height, layout)
    for i in indices(layout):
        component_view(out, layout, i)[:] = component_view(frame, layout, i)
    return out


def even_frame(frame: av.VideoFrame, layout: Layout) -> av.VideoFrame:
    """Repeat the last column or row of a frame once if their number is odd."""
    if frame.width % 2 == frame.height % 2 == 0:
        return frame
    out = new_frame(frame.width + frame.width % 2, frame.height + frame.height % 2, layout)
    for i in indices(layout):
        view, target = component_view(frame, layout, i), component_view(out, layout, i)
        target[:] = np.pad(view, [(0, a - b) for a, b in zip(target.shape, view.shape, strict=True)], mode="edge")
    return out


def to_known_format(frame: av.VideoFrame) -> tuple[av.VideoFrame, Layout]:
    """Convert the frame to a format that `layout_of` knows, if necessary: to the nearest one that holds all its bits."""
    layout = layout_of(frame.format.name)
    if layout is not None:
        return frame, layout
    name = _nearest_format(frame.format.name)
    log.debug("pixel format %s is converted to %s", frame.format.name, name)
    return frame.reformat(format=name), layout_of(name)


@cache
def _nearest_format(name: str) -> str:
    fmt = av.VideoFormat(name)
    little = re.sub(r"be$", "le", name)
    if little != name and layout_of(little) is not None:
        return little
    deep = max(c.bits for c in fmt.components) > 8
    alpha = any(c.is_alpha for c in fmt.components) or fmt.has_palette
    if fmt.is_rgb or fmt.has_palette or fmt.is_bayer:
        return ("rgba64le" if alpha else "rgb48le") if deep else ("rgba" if alpha else "rgb24")
    if len(fmt.components) == 1:
        return "gray16le" if deep else "gray"
    return planar_yuv(16 if deep else 8, 0, 0, alpha)


@dataclass(frozen=True)
class Turn:
    """Conversion of stored pixels to upright ones: transpose first, then flip columns and rows of the result."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @staticmethod
    def of_matrix(matrix: np.ndarray) -> Turn:
        """From a display matrix (9 int32, ISO 14496-12: x' = a x + c y, y' = b x + d y), to the nearest quarter turn."""
        a, b, _, c, d = (int(v) for v in matrix[:5])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return Turn(False, a < 0, d < 0)
        return Turn(True, c < 0, b < 0)

    @property
    def degrees(self) -> int:
        """Clockwise degrees of the turn; for a mirrored picture, of the turn that remains after mirroring columns."""
        table = {(False, False, False): 0, (True, True, False): 90, (False, True, True): 180, (True, False, True): 270}
        key = (self.transpose, self.flip_x, self.flip_y)
        return table[key] if key in table else table[(key[0], not key[1], key[2])]

    def apply(self, array: np.ndarray) -> np.ndarray:
        array = array.T if self.transpose else array
        return array[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def turn_frame(frame: av.VideoFrame, layout: Layout, turn: Turn) -> tuple[av.VideoFrame, Layout]:
    """Rotate a frame upright. The format stays unless the chroma grid cannot be rotated; then chroma is repeated to 4:4:4.

    That is so for 4:2:2 rotated by 90 degrees, and for odd sizes whose partial chroma block would come first.
    """
    if turn == Turn():
        return frame, layout
    block_w, block_h = layout.block
    flips_w, flips_h = (turn.flip_y, turn.flip_x) if turn.transpose else (turn.flip_x, turn.flip_y)
    misaligned = (flips_w and frame.width % block_w) or (flips_h and frame.height % block_h) or (turn.transpose and block_w != block_h)
    if misaligned:
        frame, layout = relayout(frame, layout, planar_yuv(layout.bits, 0, 0, layout.alpha is not None))
    size = (frame.height, frame.width) if turn.transpose else (frame.width, frame.height)
    out = new_frame(*size, layout)
    for i in indices(layout):
        component_view(out, layout, i)[:] = turn.apply(component_view(frame, layout, i))
    return out, layout


def rescale_bits(values: np.ndarray, source: int, target: int, expand: bool) -> np.ndarray:
    """Samples of `source` bits as `target` bits. YUV codes scale by powers of two; RGB and alpha (`expand`) by peak ratio."""
    if source == target:
        return values
    if expand:
        return (values.astype(np.uint32) * ((1 << target) - 1) + ((1 << source) - 1) // 2) // ((1 << source) - 1)
    if target > source:
        return values.astype(np.uint32) << (target - source)
    return np.minimum((values.astype(np.uint32) + (1 << (source - target - 1))) >> (source - target), (1 << target) - 1)


def relayout(frame: av.VideoFrame, layout: Layout, name: str) -> tuple[av.VideoFrame, Layout]:
    """Convert the samples to another format of the same family (or gray as YUV): lossless except for fewer bits or a dropped alpha.

    Chroma may only become finer; each sample is repeated over its block.
    """
    if name == layout.name:
        return frame, layout
    target = layout_of(name)
    if layout.family == "yuv" and (target.log2_w > layout.log2_w or target.log2_h > layout.log2_h):
        raise ValueError(f"{layout.name} -> {name} would lose chroma")
    out = new_frame(frame.width, frame.height, target)
    rgb = layout.family == "rgb"
    for i in indices(target):
        view = component_view(out, target, i)
        if i == 3 and layout.alpha is None:
            view[:] = target.peak << target.shift
        elif i in (1, 2) and layout.family == "gray":
            view[:] = (1 << (target.bits - 1)) << target.shift
        else:
            values = rescale_bits(samples(frame, layout, i), layout.bits, target.bits, rgb or i == 3)
            if i in (1, 2) and not rgb:
                values = np.repeat(np.repeat(values, 1 << (layout.log2_h - target.log2_h), 0), 1 << (layout.log2_w - target.log2_w), 1)
            view[:] = values[: view.shape[0], : view.shape[1]].astype(target.dtype) << target.shift
    return out, target
