"""The pictures of the training: `TrainingFrames`, aligned frames by number, in groups of one person (one video).

`synthesis.Variants` holds them in memory; `FrameFolder` and `Shards` read them from disk on access.

A shard is a tar file in WebDataset's layout: per frame `<group>/<number>.jpg` (or .png) and `<group>/<number>.json`, which other tools
read in a stream. Plain tars are memory-mapped here: every frame is accessible, so that batches are drawn from all groups
alike and a resumed run draws the same batches.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dva_core.errors import DVAError, MissingFileError
from dva_core.video.images import SUFFIXES, header, natural_key, read_rgb

HELD_OUT = 0.05  # share of the groups used for validation only


class TrainingFrames(Protocol):
    """Aligned frames 0..n-1. group int [n]: the group of each frame; the frames of a group are contiguous."""

    group: np.ndarray

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Those frames, uint8 RGB [k, S, S, 3]."""


def resize_square(picture: np.ndarray, size: int) -> np.ndarray:
    """Resize a picture [S, S, 3], averaging over areas if it shrinks."""
    if len(picture) == size:
        return picture
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA if len(picture) > size else cv2.INTER_LINEAR)


class FrameFolder:
    """A folder of aligned frames, `<group>/<frame>.jpg` or .png (or one folder more: `train/<group>/<frame>`), as `size` pixel squares.

    `groups`: the folders of some groups instead.
    """

    def __init__(self, folder: Path, size: int, groups: Sequence[Path] | None = None):
        self.size = size
        inner = folder / "train"
        groups = groups or [path for path in sorted((inner if inner.is_dir() else folder).iterdir()) if path.is_dir()]
        files = [sorted((p for p in group_name.iterdir() if p.suffix.lower() in SUFFIXES), key=natural_key) for group_name in groups]
        self.groups = [group_name.name for group_name, frames in zip(groups, files) if frames]
        self.files = [file for frames in files for file in frames]
        self.group = np.repeat(np.arange(len(self.groups)), [len(frames) for frames in files if frames])

    def side(self, row: int) -> int:
        """Pixels of the frame's shorter side, as it is stored."""
        return min(header(self.files[row]).size)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [k, size, size, 3]. Raises DVAError for a file that is no square picture."""
        pictures = []
        for row in rows:
            picture = read_rgb(self.files[row])
            if picture.shape[0] != picture.shape[1]:
                raise DVAError(f"{self.files[row]} is not square: align the frames first with `python -m dva_core train prepare`.")
            pictures.append(resize_square(picture, self.size))
        return np.stack(pictures)


class Shards:
    """The tar files of a folder, as `train prepare` writes them; frames as `size` pixel squares. `files` names some of them instead."""

    def __init__(self, folder: Path, size: int, files: Sequence[Path] | None = None):
        self.size, self.maps = size, []
        self.groups: list[str] = []
        self.places: list[tuple[int, int, int]] = []  # shard, first byte, length
        group = []
        for path in sorted(folder.glob("*.tar")) if files is None else files:
            if not path.stat().st_size:
                continue
            self.maps.append(np.memmap(path, np.uint8, "r"))
            for group_name, entry in frame_entries(path):
                if not self.groups or group_name != self.groups[-1]:
                    self.groups.append(group_name)
                group.append(len(self.groups) - 1)
                self.places.append((len(self.maps) - 1, entry.offset_data, entry.size))
        self.group = np.array(group, int)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [k, size, size, 3]. Raises DVAError for a picture that cannot be decoded."""
        pictures = []
        for row in rows:
            shard, start, length = self.places[row]
            picture = cv2.imdecode(np.asarray(self.maps[shard][start : start + length]), cv2.IMREAD_COLOR)
            if picture is None:
                raise DVAError(f"A frame of {self.groups[self.group[row]]} in {self.maps[shard].filename} is damaged: prepare it again.")
            pictures.append(resize_square(picture[..., ::-1], self.size))
        return np.stack(pictures)


def frame_entries(path: Path) -> list[tuple[str, tarfile.TarInfo]]:
    """Group and tar entry of each picture in a shard. DVAError if it is not a shard."""
    try:
        with tarfile.open(path, "r:") as tar:
            return [(entry.name.rpartition("/")[0], entry) for entry in tar if Path(entry.name).suffix in SUFFIXES]
    except (OSError, tarfile.TarError) as error:
        raise DVAError(f"{path} is no whole tar file ({error}): remove it and run `python -m dva_core train prepare` again.") from error


def facts(path: Path) -> dict[str, dict]:
    """Read a shard's metadata of each frame: name -> {"frame", "sharpness", "landmarks" [68][2] in 0..1 of the crop}."""
    with tarfile.open(path, "r:") as tar:
        return {entry.name[:-5]: json.load(tar.extractfile(entry)) for entry in tar if entry.name.endswith(".json")}


def open_frames(folder: Path, size: int) -> Shards | FrameFolder:
    """Open the shards of a folder, or else its aligned frames. DVAError if it has neither."""
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder}: make one with `python -m dva_core train prepare VIDEOS -o {folder}`.")
    frames = Shards(folder, size) if any(folder.glob("*.tar")) else FrameFolder(folder, size)
    if not len(frames.group):
        raise DVAError(f"{folder} holds neither shards nor folders of aligned frames: fill it with `python -m dva_core train prepare`.")
    return frames


def held_out_frames(frames: Shards | FrameFolder) -> np.ndarray:
    """Mark the frames, bool [n], of the groups for validation: HELD_OUT of them, and at least one if there are two or more.

    Chosen by a hash of the groups' names, so that adding a group changes few others.
    """
    count = min(max(1, round(HELD_OUT * len(frames.groups))), len(frames.groups) - 1)
    order = sorted(range(len(frames.groups)), key=lambda i: hashlib.sha256(frames.groups[i].encode()).hexdigest())
    return np.isin(frames.group, order[:count])
