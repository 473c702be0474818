"""Masks of what stays in front of the face, one for a video or one per frame, from arrays, a picture, a folder of pictures or a video.

They are read one at a time, in the order of the frames, so that memory never holds those of a long video.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..decomposition.info import DecompositionInfo
from ..decomposition.people import AnyDecomposition, people_of
from ..errors import DVAError
from ..faces.front import FrontMask, is_of_square
from ..files import check_input
from ..video import open_video
from ..video.images import SUFFIXES, read_image
from ..video.threads import read_ahead
from ..video.webp import is_animated_webp

Keep = str | PathLike | np.ndarray | torch.Tensor | Sequence
SLACK = 1e-3  # tolerance for values below 0 and above 1, from rounding


class FrontMasks:
    """The masks of the frames of a decomposition; a context manager that closes their file.

    keep    masks [h, w] or [n, h, w] (or [n, 1, h, w]) in 0..1 or bool, or the path of a picture, a folder of pictures or a video, in
            which white is kept
    source  returns the path of the source; called only if the number of masks matches nothing else, to count the source's frames
    """

    def __init__(self, keep: Keep, decomposition: AnyDecomposition, source: Callable[[], Path]) -> None:
        self._masks = open_masks(keep)
        people = people_of(decomposition)
        info, square = decomposition.info, people[0].crops.shape[1]
        try:
            self.of_square = is_of_square(self._masks.size, (info.width, info.height), square)
            if self.of_square and len(people) > 1:
                raise DVAError(
                    f"The masks of what stays in front are of face crops, and here are {len(people)} faces; give masks of the frames."
                )
            faces = people[0].faces if self.of_square else None
            part = None if is_whole(info) else lambda: part_of_source(source(), info)
            self._number = numbers(self._masks.count, info.frames, faces, part, info.every)
        except BaseException:
            self._masks.close()
            raise

    def at(self, index: int, row: int) -> FrontMask:
        """Read the mask of the frame `index`, whose row is `row`. Fastest for ascending indices."""
        return FrontMask(self._masks[self._number(index, row)], self.of_square)

    def __enter__(self) -> FrontMasks:
        return self

    def __exit__(self, *_) -> None:
        self._masks.close()


def check_keep(path: str | PathLike, source: str | PathLike, square: int, **part: Any) -> None:
    """Check that the file or folder `path` can be the masks of a video before it is encoded; DVAError if not.

    square: width of the model's face crops; part: `start`, `length`, `every`, `max_frames` and `rate`, as of `encode`.
    """
    most, rate = part.pop("max_frames", None), part.pop("rate", None)
    rate = {} if rate is None else {"rate": rate}
    with closing(open_masks(path)) as masks:
        with open_video(source, **part, **rate) as reader:
            is_of_square(masks.size, (reader.info.width, reader.info.height), square)
            frames = 1 if masks.count == 1 else min(reader.count_frames(), most or 1 << 40)

        def whole() -> tuple[int, int]:
            return 0, count_of(source, **rate)

        numbers(masks.count, frames, None, whole, 1)


def numbers(
    count: int, frames: int, faces: int | None, part: Callable[[], tuple[int, int]] | None, every: int
) -> Callable[[int, int], int]:
    """Make the function (frame, row) -> number of its mask, for one mask in all, one per frame, per row, or per frame of the source.

    faces: number of rows, or None if masks cannot be one per row; part: returns (number of the first frame in the source, frames of the
    source), or None if the whole source was encoded. DVAError if `count` is none of these numbers.
    """
    if count == 1:
        return lambda index, row: 0
    if count == frames:
        return lambda index, row: index
    if count == faces:
        return lambda index, row: row
    first, whole = (0, frames) if part is None else part()
    if count == whole:
        return lambda index, row: first + every * index
    others = [f"its {faces} with the face"] * (faces not in (None, frames)) + [f"the {whole} of its source"] * (whole != frames)
    raise DVAError(
        f"There are {count} masks of what stays in front, and the video has {frames} frames; give one mask, or one for each of "
        f"{' or '.join([f'the {frames} frames', *others])}."
    )


def is_whole(info: DecompositionInfo) -> bool:
    """Tell whether the whole source was encoded."""
    return not info.start and info.length is None and info.every == 1 and info.max_frames is None


def part_of_source(source: Path, info: DecompositionInfo) -> tuple[int, int]:
    """Count in the source: (number of the first frame encoded, number of frames)."""
    rate = {"rate": info.rate * info.every} if source.is_dir() else {}
    return count_of(source, length=info.start, **rate) if info.start else 0, count_of(source, **rate)


def count_of(source: str | PathLike, **part: Any) -> int:
    with open_video(source, **part) as reader:
        return reader.count_frames()


# -- where masks come from -----------------------------------------------------------------------------------


def open_masks(keep: Keep) -> _Stack | _Film:
    """Open `keep` of FrontMasks: `count` masks of `size` (width, height), indexed by number. DVAError for anything else."""
    if not isinstance(keep, (str, PathLike)):
        return _Stack(keep)
    path = check_input(keep)
    if path.is_file() and path.suffix.lower() in SUFFIXES and not is_animated_webp(path):
        picture = read_image(path)
        return _Stack(grey(picture[..., :3], picture[..., 3] if picture.shape[2] == 4 else None))
    return _Film(path)


class _Stack:
    """Masks in memory or in any sequence; each is converted to float32 on access."""

    def __init__(self, masks: Any) -> None:
        shape = tuple(getattr(masks, "shape", ())) or _shape(masks)
        if len(shape) == 2:
            masks, shape = [masks], (1, *shape)
        if len(shape) == 4 and shape[1] == 1:
            shape = (shape[0], *shape[2:])
        if len(shape) != 3 or 0 in shape:
            raise DVAError(f"The masks of what stays in front are {list(shape)}; give [height, width], or one for each frame.")
        self._masks, self.count, self.size = masks, shape[0], (shape[2], shape[1])
        self._last: tuple[int, np.ndarray] | None = None

    def __getitem__(self, number: int) -> np.ndarray:
        if self._last is None or self._last[0] != number:
            mask = self._masks[number]
            mask = mask.detach().float().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
            self._last = number, _check_values(np.asarray(mask, np.float32).reshape(self.size[::-1]), number)
        return self._last[1]

    def close(self) -> None:
        self._last = None


class _Film:
    """Masks of a video or a folder of pictures, read in order, a few frames ahead."""

    def __init__(self, path: Path) -> None:
        self._reader = open_video(path)
        self.size = self._reader.info.width, self._reader.info.height
        self.count = self._reader.count_frames()
        self._frames = self._last = None
        self._next = 0

    def __getitem__(self, number: int) -> np.ndarray:
        if self._last is None or self._last[0] != number:
            if self._frames is None or number < self._next:
                self.close()
                self._frames, self._next = read_ahead(iter(self._reader)), 0
            frame = next(islice(self._frames, number - self._next, None), None)
            if frame is None:
                raise DVAError(f"{self._reader.path} holds fewer masks than the {self.count} it states; write it again.")
            self._next = number + 1
            self._last = number, grey(frame.rgb, frame.alpha)
        return self._last[1]

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()
        self._reader.close()
        self._frames = self._last = None


def grey(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Convert a picture uint8 [H, W, 3] to a mask [H, W] float32 in 0..1: white is 1, black or transparent 0."""
    mask = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return mask if alpha is None else mask * (alpha.astype(np.float32) / 255)


def _shape(masks: Any) -> tuple[int, ...]:
    try:
        return np.shape(masks)
    except ValueError as error:
        raise DVAError("The masks of what stays in front differ in size; give all of them one size.") from error


def _check_values(mask: np.ndarray, number: int) -> np.ndarray:
    """Clip the mask to 0..1; DVAError for values outside."""
    low, high = float(mask.min()), float(mask.max())
    if not (low >= -SLACK and high <= 1 + SLACK):
        raise DVAError(f"Mask {number} of what stays in front has values from {low:g} to {high:g}; give 0 for nothing to 1 for all.")
    return np.clip(mask, 0, 1)
