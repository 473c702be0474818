"""The header of a safetensors file: names, types, shapes and offsets of its arrays, and its metadata."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DVAError

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}
LONGEST_HEADER = 16_000_000  # bytes; a hostile header can take 25 times as much memory when parsed
SPARE = 4096  # bytes of spaces kept in the header, so that metadata may still grow before the file is closed
MOST_AXES = 32


@dataclass(frozen=True)
class Spec:
    """Dtype and shape of an array; rows run along the first axis."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, dtype, *shape: int) -> Spec:
        return cls(np.dtype(dtype), tuple(int(n) for n in shape))

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def array_offsets(specs: Mapping[str, Spec]) -> dict[str, int]:
    """Offset of each array, in bytes after the header."""
    offsets, end = {}, 0
    for name, spec in specs.items():
        offsets[name] = end
        end += spec.bytes
    return offsets


def build_header(specs: Mapping[str, Spec], metadata: Mapping[str, str], spare: int = 0, length: int | None = None) -> bytes:
    """Build the length prefix and JSON header, padded with spaces to a multiple of 8 or to `length` bytes in all."""
    offsets = array_offsets(specs)
    entries: dict = {"__metadata__": dict(metadata)}
    for name, spec in specs.items():
        span = [offsets[name], offsets[name] + spec.bytes]
        entries[name] = {"dtype": CODES[spec.dtype], "shape": list(spec.shape), "data_offsets": span}
    text = json.dumps(entries, separators=(",", ":")).encode()
    size = (len(text) + spare + 7) // 8 * 8 if length is None else length - 8
    if len(text) > size:
        raise DVAError(f"The metadata grew by more than the {SPARE} bytes kept for it.")
    return size.to_bytes(8, "little") + text.ljust(size)


def read_header(file, path: Path) -> tuple[dict[str, Spec], dict[str, str], int]:
    """Read specs, metadata and the offset of the first array, in bytes; DVAError for a truncated file or another format."""
    size = os.fstat(file.fileno()).st_size
    foreign = DVAError(f"{path} is not a safetensors file; give one that `encode` wrote.")
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or length > LONGEST_HEADER or length > size - 8:
        raise foreign
    try:
        entries = json.loads(file.read(length))
        metadata = {str(key): str(value) for key, value in entries.pop("__metadata__", {}).items()}
        spans = {name: _numbers(entry["data_offsets"]) for name, entry in entries.items()}
        order = sorted(entries, key=lambda name: spans[name])
        specs = {name: Spec.of(DTYPES[entries[name]["dtype"]], *_numbers(entries[name]["shape"])) for name in order}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise foreign from error
    if any(math.prod(max(1, n) for n in spec.shape) >= 1 << 48 for spec in specs.values()):  # more than numpy can address, even if empty
        raise foreign
    offsets, data = array_offsets(specs), size - 8 - length
    if any(spans[name] != [offsets[name], offsets[name] + specs[name].bytes] for name in specs):
        raise foreign
    data_size = sum(spec.bytes for spec in specs.values())
    if data < data_size:
        raise DVAError(f"{path} is truncated: {data} of {data_size} bytes of data are there; copy or encode it again.")
    if data > data_size:
        raise foreign
    return specs, metadata, 8 + length


def _numbers(values) -> list[int]:
    """Check a list of non-negative integers of a header; ValueError for anything else."""
    if not isinstance(values, list) or len(values) > MOST_AXES or not all(type(n) is int and 0 <= n < 1 << 48 for n in values):
        raise ValueError("no list of sizes")
    return values
