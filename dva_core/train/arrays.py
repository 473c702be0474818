"""Dataclasses of arrays as .npz files, in the folder of a run."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TypeVar

import numpy as np

from dva_core.errors import DVAError, MissingFileError
from dva_core.files import atomic_write

T = TypeVar("T", bound="Arrays")


class Arrays:
    """A dataclass whose fields are all arrays."""

    def save(self, path: Path) -> None:
        with atomic_write(path) as partial, open(partial, "wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls: type[T], path: Path) -> T:
        with np.load(path, allow_pickle=False) as file:
            return cls(**{key: file[key] for key in file.files})


def load_of_run(kind: type[T], run: Path, name: str, step: str = "") -> T:
    """Load `<name>.npz` from a run's folder, written by `train <step>` (default: name). DVAError if it is missing or damaged."""
    step = step or name
    path = run / f"{name}.npz"
    if not path.is_file():
        raise MissingFileError(f"{run} holds no {path.name}: run `python -m dva_core train {step}` first.")
    try:
        return kind.load(path)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DVAError(f"{path} is damaged or cut short: run `python -m dva_core train {step}` again.") from error
