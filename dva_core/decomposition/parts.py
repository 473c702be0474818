"""The stores of several people combined in one, and each person's part of it: a prefix per person precedes the names of the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .header import Spec
from .tensorfile import TensorStore


def prefix_of(number: int) -> str:
    """Prefix of the names of a person's arrays."""
    return f"person.{number}."


class PartStore(TensorStore):
    """The arrays of one person in the store `whole`, under their usual names. Closing it closes `whole`."""

    def __init__(self, whole: TensorStore, number: int, metadata: Mapping[str, str]) -> None:
        self.whole, self.prefix, self.metadata = whole, prefix_of(number), dict(metadata)
        self.specs = {name.removeprefix(self.prefix): spec for name, spec in whole.specs.items() if name.startswith(self.prefix)}
        self.path, self.files = getattr(whole, "path", None), whole.files

    @property
    def own_files(self) -> tuple[Path, ...]:
        return ()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        return self.whole.read(self.prefix + name, start, stop)

    def write(self, name: str, start: int, rows: np.ndarray) -> None:
        self.whole.write(self.prefix + name, start, rows)

    def in_memory(self, prefix: str = "") -> list[np.ndarray]:
        return self.whole.in_memory(self.prefix + prefix)

    def close(self) -> None:
        self.whole.close()


class JoinedStore(TensorStore):
    """The stores of several people, by number, as one store for saving."""

    def __init__(self, parts: Mapping[int, TensorStore]) -> None:
        self.parts = {prefix_of(number): store for number, store in parts.items()}
        self.specs = join({prefix: store.specs for prefix, store in self.parts.items()})
        self.metadata = {}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        prefix = next(prefix for prefix in self.parts if name.startswith(prefix))
        return self.parts[prefix].read(name.removeprefix(prefix), start, stop)


def join(parts: Mapping[str, Mapping[str, Spec]]) -> dict[str, Spec]:
    """Join mappings, one for each prefix, in one."""
    return {prefix + name: spec for prefix, specs in parts.items() for name, spec in specs.items()}
