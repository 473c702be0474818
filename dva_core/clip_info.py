"""Where a decomposed clip came from and how it was taken apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from .errors import DVAError

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

    def to_metadata(self) -> dict[str, str]:
        """Strings for a safetensors header; each value is JSON."""
        values = {**self.__dict__, "rate": str(self.rate)}
        return {"format": FORMAT, "version": str(VERSION), **{key: json.dumps(value) for key, value in values.items()}}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ClipInfo:
        values = {key: json.loads(metadata[key]) for key in cls.__dataclass_fields__ if key in metadata}
        return cls(**{**values, "rate": Fraction(values["rate"])})


def source_hash(path: str | Path) -> str:
    """SHA-256 of a file, read in blocks, or of a folder: over the names and contents of its files in order."""
    path, digest = Path(path), hashlib.sha256()
    folder = path.is_dir()
    try:
        for file in sorted(p for p in path.iterdir() if p.is_file()) if folder else [path]:
            if folder:
                digest.update(file.name.encode() + b"\0")
            with open(file, "rb") as stream:
                while block := stream.read(1 << 16):
                    digest.update(block)
    except OSError as error:
        raise DVAError(f"Cannot read {path}: {error.strerror}.") from error
    return digest.hexdigest()
