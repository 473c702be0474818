"""The record of a decomposition's source and encoding settings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..errors import DVAError
from ..files import check_input
from ..video.frames import Frames
from ..video.images import list_images

FORMAT, VERSION = "dva-decomposition", 1
VERSION_OVER_TIME = 2  # of files with edits that change over time, which readers of version 1 would leave out
VERSION_PEOPLE = 3  # of files with several people


@dataclass(frozen=True)
class DecompositionInfo:
    """Source and encoding settings of a decomposition: all that is needed to find and read its frames again.

    `frames` counts the frames read (with and without a face), `rate` is frames a second, `start` and `length` are
    seconds, `track` is the face track's report, `model_fingerprint` identifies the model. `power` and `clamp` are settings of
    `solver`; files written before these settings existed have the paper's, 1 and True. `person` is the person's number, from 1,
    if several people of the video are numbered (else 0), and `person_name` the name that the user gave them.
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
    person: int = 0
    person_name: str = ""

    @property
    def who(self) -> str:
        """Describe the person: "Anna (2)", "2", or "" without a number."""
        return f"{self.person_name} ({self.person})" if self.person_name else str(self.person or "")

    @property
    def solving(self) -> str:
        """Describe steps and solver: "20 steps of order2, power 1.5, no clamp"."""
        power = "" if self.power == 1 else f", power {self.power:g}"
        return f"{self.steps} steps of {self.solver}{power}{'' if self.clamp else ', no clamp'}"

    @property
    def source_name(self) -> str:
        """The source's file name, also of a path from another system (Windows or POSIX)."""
        return (PurePosixPath if self.source.startswith("/") else PureWindowsPath)(self.source).name

    def to_metadata(self) -> dict[str, str]:
        """Convert to strings for a safetensors header; each value is JSON."""
        values = {**self.__dict__, "rate": str(self.rate)}
        values = {key: value for key, value in values.items() if value or key not in ("person", "person_name")}  # as earlier files
        return {"format": FORMAT, "version": str(VERSION), **{key: json.dumps(value) for key, value in values.items()}}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> DecompositionInfo:
        """Read the record from a file's metadata; ValueError, TypeError or KeyError if invalid."""
        values = {key: json.loads(metadata[key]) for key in cls.__dataclass_fields__ if key in metadata}
        if not isinstance(values["rate"], str) or "/0" in values["rate"]:
            raise ValueError("no frame rate")
        info = cls(**{**values, "rate": Fraction(values["rate"])})
        info.check()
        return info

    def check(self) -> None:
        """ValueError for a value of the wrong type or out of range."""
        texts = (self.source, self.sha256, self.model_name, self.model_fingerprint, self.solver, self.precision, self.dva_version)
        counts = (self.width, self.height, self.frames, self.every, *([] if self.max_frames is None else [self.max_frames]))
        numbers = (self.start, self.power, *([] if self.length is None else [self.length]))
        if not (
            all(isinstance(text, str) for text in (*texts, self.person_name))
            and all(type(count) is int and 0 < count < 1 << 40 for count in counts)
            and all(type(size) is int and 0 <= size < 1 << 20 for size in (self.image_size, self.steps, self.person))
            and all(type(number) in (int, float) and 0 <= number < 1e9 for number in numbers)
            and 0 < self.rate < 1e6
            and isinstance(self.track, dict)
            and isinstance(self.clamp, bool)
        ):
            raise ValueError("a value is out of range")


def source_frames(source: Path, info: DecompositionInfo) -> Frames:
    """Open the frames that were encoded."""
    rate = info.rate * info.every if source.is_dir() else None
    return Frames(source, info.start, info.length, info.every, info.max_frames, rate)


def source_hash(path: str | Path) -> str:
    """SHA-256 of a file, read in blocks, or of a folder: of the names and contents of its pictures in display order.

    Other files in the folder do not count. DVAError where something cannot be read, or a folder holds no pictures.
    """
    path = check_input(path)
    return _digest(path, _list_files(path, list_images) if path.is_dir() else None)


def is_source(path: str | Path, sha256: str) -> bool:
    """Tell whether `path` has this `source_hash`, or, for a folder, the hash recorded by older versions."""
    path = Path(path)
    if source_hash(path) == sha256:
        return True
    # older versions hashed all files of a folder, in the order of their names
    return path.is_dir() and _digest(path, _list_files(path, lambda folder: sorted(p for p in folder.iterdir() if p.is_file()))) == sha256


def _list_files(folder: Path, files: Callable[[Path], list[Path]]) -> list[Path]:
    try:
        return files(folder)
    except OSError as error:
        raise DVAError(f"Cannot read {folder}: {error.strerror}; check its permissions.") from error


def _digest(path: Path, files: list[Path] | None) -> str:
    """Hash the contents of the file `path`, or names and contents of `files`."""
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
