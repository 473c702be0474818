"""Checks of an output before any work starts, and the encoder settings for a codec."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import av

from ..errors import DVAError
from ..files import check_place, check_spares, to_path
from ..leftovers import MARKER
from .color import BT709, RANGE_FULL, RANGE_LIMITED, UNSPECIFIED, ColorTags
from .convert import is_full_range
from .layout import Layout, layout_of, planar_yuv

log = logging.getLogger(__name__)

_FILMS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
CONTAINERS = {"h264": _FILMS, "h265": _FILMS, "ffv1": {".mkv": "matroska"}}
ENCODERS = {"h264": "libx264", "h265": "libx265", "ffv1": "ffv1"}
WITH_QUALITY = ("h264", "h265")  # lossy codecs; they also keep a pixel shape
LEAST_H265 = 64  # pixels: libx265 can abort the whole program on smaller pictures
_MOST_BITS = {"h264": 10, "h265": 12}
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
CODECS = (*CONTAINERS, "png")
FRAME_PATTERN = "frame_{:06d}.png"


def check_output(path: str | os.PathLike, codec: str = "h264", source: str | os.PathLike | None = None) -> Path:
    """Check that the output path can be written and return it; DVAError if not.

    Call it before the work starts. `source`: the input, which must not be the output.
    """
    path = to_path(path, "output")
    if codec not in CODECS:
        raise DVAError(f"The codec {codec!r} is not known; choose {', '.join(CODECS[:-1])} or {CODECS[-1]}.")
    if codec == "png":
        _check_folder_name(path)
    else:
        container_format(path, codec)
    check_spares(path, "output", [source])
    place = check_place(path, folder=codec == "png")
    if place.is_dir() and not owns_folder(place) and any(place.iterdir()):
        raise DVAError(f"The folder {path} is not empty and was not written by this program; choose a new or an empty one.")
    return path


def container_format(path: Path, codec: str) -> str:
    """FFmpeg's name of the container of a suffix; DVAError if it cannot hold the codec."""
    suffixes = CONTAINERS[codec]
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise DVAError(f"{codec} cannot be written to {path.name!r}; end the name in {' or '.join(suffixes)}.")
    return suffixes[suffix]


def _check_folder_name(path: Path) -> None:
    if path.suffix.lower() in {s for table in CONTAINERS.values() for s in table} | {".avi", ".webm", ".png"}:
        raise DVAError(f"png writes a folder of images, but {path.name!r} looks like a file; name a folder.")


def owns_folder(path: Path) -> bool:
    """Whether a folder contains only an earlier PNG output."""
    names = {p.name for p in path.iterdir()}
    frames = (n for n in names if n != MARKER)
    return MARKER in names and all(n.startswith("frame_") and n.endswith(".png") and n[6:-4].isdigit() for n in frames)


@cache
def encoder_formats(encoder: str) -> frozenset[str]:
    """Pixel formats of an encoder; DVAError if this FFmpeg lacks it."""
    try:
        return frozenset(f.name for f in av.Codec(encoder, "w").video_formats or ())
    except av.codec.codec.UnknownCodecError as error:
        raise DVAError(f"This FFmpeg has no {encoder} encoder; install PyAV from its wheel (pip install av).") from error


def check_encoding(codec: str, quality: float, preset: str = "medium", compatible: bool = False) -> None:
    """DVAError for invalid settings of an encoder; like `check_output`, to be called before the work starts."""
    if not 0 <= quality <= 51:
        raise DVAError(f"quality must lie between 0 and 51 (crf; 18 is near lossless), not {quality}.")
    if preset not in PRESETS:
        raise DVAError(f"The preset {preset!r} is not known; choose one of {', '.join(PRESETS)}.")
    if compatible and codec != "h264":
        raise DVAError(f"Output that every player shows is h264, not {codec}; leave out one of the two.")
    if compatible and quality == 0:
        raise DVAError("Lossless h264 (quality 0) is not what every player shows; take quality 1 or more, or not the compatible output.")


def encoder_format(codec: str, layout: Layout, width: int, height: int, compatible: bool = False) -> str:
    """The encoder's pixel format nearest to the native one, never of another size.

    ffv1 keeps every sample. h264 and h265: chroma subsampling is kept, but an odd size is not possible with it, so such pictures
    become 4:4:4 (chroma repeated); more than 10 bits (12 of h265) become 10 (12); RGB and gray become 4:2:0; alpha is dropped.
    compatible: always 8 bits of 4:2:0, for a size made even.
    """
    if codec == "ffv1":
        return _ffv1_format(layout)
    if codec == "h265" and min(width, height) < LEAST_H265:
        raise DVAError(f"h265 is for pictures of at least {LEAST_H265} pixels a side, not {width}x{height}; use h264.")
    if layout.alpha is not None:
        log.warning("%s holds no transparency: it is dropped", codec)
    return "yuv420p" if compatible else _film_format(codec, layout, width, height)


def warn_of_players(name: str, width: int, height: int, lossless: bool) -> None:
    """Warn if h264 in the pixel format `name` is of a profile that many players do not support."""
    layout, kinds = layout_of(name), ["lossless"] if lossless else []
    if layout.bits > 8:
        kinds.append(f"of {layout.bits} bits")
    if (layout.log2_w, layout.log2_h) != (1, 1):
        odd = f" for its odd size {width}x{height}" if width % 2 or height % 2 else ""
        kinds.append(f"of full chroma ({'4:2:2' if layout.log2_w else '4:4:4'}{odd})")
    if kinds:
        log.warning(
            "the h264 is %s, which many players refuse: ask for compatible output (--compatible) if yours does", " and ".join(kinds)
        )


def warn_of_bits(codec: str, source: int, bits: int) -> None:
    """Warn if fewer bits per sample are written than the source has."""
    if source > bits:
        log.warning("%s is written with %d of %d bits", codec, bits, source)


def encoder_options(codec: str, quality: float, preset: str, variable_rate: bool = False) -> dict[str, str]:
    """Options of a codec's encoder. Quality 0 is lossless at any depth, which a crf of 0 is not at 10 bits.

    variable_rate: pictures are stored in the order in which they are shown, without B-frames: mp4 adds up the steps of decoding time,
    and only without B-frames these equal the steps of presentation time, whose sum is the length of the video.
    """
    if codec == "ffv1":
        return {"level": "3", "slicecrc": "1", "g": "1"}
    if codec == "h265":
        more = (":lossless=1" if quality == 0 else "") + (":bframes=0" if variable_rate else "")
        return {"preset": preset, "crf": f"{quality:g}", "x265-params": "log-level=error" + more}
    return {"preset": preset, **({"qp": "0"} if quality == 0 else {"crf": f"{quality:g}"}), **({"bf": "0"} if variable_rate else {})}


def _ffv1_format(layout: Layout) -> str:
    formats = encoder_formats("ffv1")
    if layout.name in formats:
        return layout.name
    if layout.family == "yuv":
        name = planar_yuv(layout.bits, layout.log2_w, layout.log2_h, layout.alpha is not None)
    elif layout.family == "rgb" and layout.bits == 8:
        name = "bgra" if layout.alpha else "bgr0"
    elif layout.family == "rgb":
        name = "rgba64le" if layout.alpha else "rgb48le"
    else:
        name = "rgba64le" if layout.bits > 8 else "bgra"  # gray with alpha
    if name not in formats:
        raise DVAError(f"ffv1 here cannot hold the pixel format {layout.name}; use h264 or png.")
    return name


def _film_format(codec: str, layout: Layout, width: int, height: int) -> str:
    shape = (layout.log2_w, layout.log2_h) if layout.family == "yuv" else (1, 1)
    if shape not in ((1, 1), (1, 0)):
        shape = (0, 0)
    if width % (1 << shape[0]) or height % (1 << shape[1]):
        shape = (0, 0)
    # YUV has 8, 10, 12 or more; RGB of 16 bits is written with the usual 10
    bits = 8 if layout.bits == 8 else 12 if _MOST_BITS[codec] == 12 == layout.bits else 10
    if bits > 8 and planar_yuv(bits, *shape) not in encoder_formats(ENCODERS[codec]):
        log.warning("this %s has no %d bits: 8 are written", ENCODERS[codec], bits)
        bits = 8
    warn_of_bits(codec, layout.bits, bits)
    return planar_yuv(bits, *shape)


def output_tags(source: Layout, tags: ColorTags, target: str) -> ColorTags:
    """Tags of the output: those of the source, if its samples are kept; RGB converted to YUV is BT.709 limited."""
    to = layout_of(target)
    if source.family == "rgb" and to.family == "yuv":
        primaries, trc = (BT709.primaries if t == UNSPECIFIED else t for t in (tags.primaries, tags.trc))
        return replace(BT709, primaries=primaries, trc=trc)
    if source.family == "yuv" and to.family == "yuv" and not source.full:
        return tags
    if to.family == "rgb":
        return tags
    return replace(tags, range=RANGE_FULL if is_full_range(source, tags) else RANGE_LIMITED)
