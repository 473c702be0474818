"""Where a decomposed clip came from and how it was taken apart."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from .errors import DVAError
from .video.images import list_images

FORMAT, VERSION = "dva-decomposition", 1


@dataclass(frozen=True)
class ClipInfo:
    """Where the frames came from and how they were taken apart; everything needed to find and read them again.

    `frames` counts the frames read (with and without a face), `rate` is frames a second, `start` and `length` are
    seconds, `track` is the face track's report, `model_fingerprint` ties the numbers to one model. `power` and `clamp` belong to
    `solver`; files written before there were such settings have the paper's, 1 and True.
    """

    source: str
    sha256: str
    width: int
    height: int
    rate: Fraction
    frames: int
    start: float = 0.0
    length: float | None = None
    every: int = 1
    max_frames: int | None = None
    track: dict[str, Any] = field(default_factory=dict)
    model_name: str = ""
    model_fingerprint: str = ""
    image_size: int = 0
    steps: int = 0
    solver: str = ""
    precision: str = ""
    dva_version: str = ""
    power: float = 1.0
    clamp: bool = True

    @property
    def solving(self) -> str:
        """How it was inverted and is decoded, for a person: "20 steps of order2, power 1.5, no clamp"."""
        power = "" if self.power == 1 else f", power {self.power:g}"
        return f"{self.steps} steps of {self.solver}{power}{'' if self.clamp else ', no clamp'}"

    @property
    def source_name(self) -> str:
        """The source without its folders, also where the clip comes from a system that writes paths another way."""
        return (PurePosixPath if self.source.startswith("/") else PureWindowsPath)(self.source).name

    def to_metadata(self) -> dict[str, str]:
        """Strings for a safetensors header; each value is JSON."""
        values = {**self.__dict__, "rate": str(self.rate)}
        return {"format": FORMAT, "version": str(VERSION), **{key: json.dumps(value) for key, value in values.items()}}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ClipInfo:
        values = {key: json.loads(metadata[key]) for key in cls.__dataclass_fields__ if key in metadata}
        return cls(**{**values, "rate": Fraction(values["rate"])})


def source_hash(path: str | Path) -> str:
    """SHA-256 of a file, read in blocks, or of a folder: over the names and contents of its pictures in the order they are shown.

    Other files in the folder do not count. DVAError where something cannot be read, or a folder holds no pictures.
    """
    path = Path(path)
    return _digest(path, _listed(path, list_images) if path.is_dir() else None)


def is_source(path: str | Path, sha256: str) -> bool:
    """Whether `path` is the file or the folder that `sha256` was made of, by `source_hash` or, of a folder, as clips once kept it."""
    path = Path(path)
    if source_hash(path) == sha256:
        return True
    # once all files of a folder counted, in the order of their names
    return path.is_dir() and _digest(path, _listed(path, lambda folder: sorted(p for p in folder.iterdir() if p.is_file()))) == sha256


def _listed(folder: Path, files: Callable[[Path], list[Path]]) -> list[Path]:
    try:
        return files(folder)
    except OSError as error:
        raise DVAError(f"Cannot read {folder}: {error.strerror}; check its permissions.") from error


def _digest(path: Path, files: list[Path] | None) -> str:
    """Over the contents of the file `path`, or over names and contents of `files`."""
    digest = hashlib.sha256()
    for file in [path] if files is None else files:
        if files is not None:
            digest.update(os.fsencode(file.name) + b"\0")  # a name need not be UTF-8
        try:
            with open(file, "rb") as stream:
                while block := stream.read(1 << 16):
                    digest.update(block)
        except OSError as error:
            raise DVAError(f"Cannot read {file}: {error.strerror}; check its permissions.") from error
    return digest.hexdigest()
