"""A folder of images as a video."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import DVAError
from ..files import atomic_write
from .frame import Frame
from .info import VideoInfo

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
NO_FRACTION = 100  # floats from here on are counts of some depth, not fractions with a highlight above 1
_EXIF_ORIENTATION = 274
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError)


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Sort key under which frame_2 comes before frame_10."""
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d+)", path.name) if part]


def list_images(folder: Path) -> list[Path]:
    """Image files of a folder in natural order."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()]
    if not files:
        raise DVAError(f"The folder {folder} holds no images ({', '.join(sorted(SUFFIXES))}); name a folder that does.")
    return sorted(files, key=natural_key)


def read_image(path: Path) -> np.ndarray:
    """Read uint8 [H, W, 3] RGB, or [H, W, 4] of an image with transparency; EXIF orientation applied."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")):
                return _deep_grey(upright, path)
            return np.asarray(upright.convert("RGBA" if has_alpha(upright) else "RGB"))
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def read_rgb(path: str | Path) -> np.ndarray:
    """Read uint8 [H, W, 3] RGB of a picture, without transparency; DVAError if it cannot be read."""
    path = Path(path)
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.is_file() and path.stat().st_size else None
    if picture is None:
        raise DVAError(f"{path} cannot be read as a picture; leave it out or save it anew.")
    return np.ascontiguousarray(picture[..., ::-1])


@dataclass(frozen=True)
class Header:
    """Properties of an image known before it is read: size (width, height) after rotation, transparency, more than 8 bits per colour."""

    size: tuple[int, int]
    alpha: bool
    deep: bool


def header(path: Path) -> Header:
    """Read the header of an image."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            formats = [str(part) for tile in image.tile for part in (tile[3] if isinstance(tile[3], tuple) else (tile[3],))]
            # Pillow reads colours of 16 bits as 8; the name of the form they are stored in gives them away
            deep = image.mode.startswith(("I", "F")) or any(";16" in part for part in formats)
            transposed = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5  # may read the image, and forget how it was stored
            return Header((height, width) if transposed else (width, height), has_alpha(image), deep)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def has_alpha(image: Image.Image) -> bool:
    """Whether an image has transparency."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _deep_grey(image: Image.Image, path: Path) -> np.ndarray:
    """uint8 [H, W, 3] of a grey image of 16 bits, or of floats 0..1: Pillow's conversion would clip instead of scaling."""
    grey = np.nan_to_num(np.asarray(image).astype(np.float64))
    floats = image.mode.startswith("F")
    if floats and grey.max() >= NO_FRACTION:
        raise DVAError(f"{path} holds decimal numbers up to {grey.max():g}, not 0 to 1; save it with 8 or 16 bits.")
    codes = np.clip(np.rint(grey * 255 if floats else grey / 257), 0, 255).astype(np.uint8)
    return np.repeat(codes[..., None], 3, axis=2)


def unreadable(path: Path, error: Exception) -> DVAError:
    """One sentence for an `error` of UNREADABLE."""
    if isinstance(error, Image.DecompressionBombError):
        return DVAError(f"{path} has more pixels than an image is trusted with ({2 * Image.MAX_IMAGE_PIXELS // 10**6} million); shrink it.")
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return DVAError(f"{path} may not be read; change its permissions.")
    if number is not None:
        return DVAError(f"{path} cannot be read ({error.strerror}); check that its disk is still there and whole.")
    return DVAError(f"{path} cannot be read as an image ({error}); remove or replace it.")


class ImageFolder:
    """Streams the images of a folder, with the interface of a video source (`info`, `frames`, `count`)."""

    def __init__(self, folder: Path, rate: Fraction, start: Fraction, length: Fraction | None, every: int) -> None:
        files = list_images(folder)
        headers = [header(path) for path in files]
        size = headers[0].size
        for path, other in zip(files, headers, strict=True):
            if other.size != size:
                raise DVAError(
                    f"{path} is {other.size[0]}x{other.size[1]} but {files[0].name} is {size[0]}x{size[1]}; "
                    "give all images of the folder one size."
                )
        first = -(-start * rate // 1)  # the first image shown at or after `start`
        last = len(files) if length is None else min(len(files), -(-(start + length) * rate // 1))
        self._files = list(enumerate(files))[first:last:every]
        if not self._files:
            seconds = float(len(files) / rate)
            raise DVAError(f"No image of {folder} lies in the part asked for: it lasts {seconds:g} s at {rate} images a second.")
        self._last = last
        info = VideoInfo.for_images(*size, rate, alpha=any(item.alpha for item in headers))
        self.info = replace(
            info,
            rate=rate / every,
            frames=len(self._files),
            duration=(last - first) / rate,
            start=start,
            length=length,
            every=every,
            losses=("more than 8 bits a colour",) if any(item.deep for item in headers) else (),
        )

    def frames(self) -> Iterator[Frame]:
        for index, (number, path) in enumerate(self._files):
            array = read_image(path)
            if self.info.pix_fmt == "rgba" and array.shape[2] == 3:
                array = np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])
            frame = Frame.from_rgb(array[..., : 4 if self.info.pix_fmt == "rgba" else 3], index, number, self.info.time_base)
            frame.duration = min(self.info.every, self._last - number)
            yield frame

    def count(self) -> int:
        return len(self._files)


def save_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write RGB uint8 [H, W, 3] atomically, through Pillow, in the format of the suffix."""
    try:
        with atomic_write(path) as partial:
            Image.fromarray(picture).save(partial)
    except (OSError, ValueError) as error:
        raise DVAError(
            f"The picture {path} cannot be written ({error}); give a writable place and a name ending in .png or .jpg."
        ) from error
