"""Named arrays in a safetensors file that is written and read in place, row by row.

The safetensors library writes a file from arrays that are all in memory and reads it through a memory map, whose
touched pages count as resident memory. The noise maps of a long video would not fit: here the header is written first and
rows are written and read by plain file calls, so that memory stays bounded. The result is an ordinary .safetensors file:
8 bytes header length (little endian), a JSON header padded with spaces, then the arrays end to end.
"""
# ruff: noqa: SIM115 (a store keeps its file open as long as it lives)

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import DVAError, MissingFileError
from ..files import Partial, check_input, check_place, to_path
from .header import SPARE, Spec, array_offsets, build_header, read_header

COPY_BYTES = 1 << 24
OTHER_FOLDER, OTHER_SCRATCH = "choose another folder", "choose another folder for temporary files (--scratch, or the variable TMPDIR)"


class TensorStore:
    """The interface of TensorMemory and TensorFile: `specs`, `metadata`, `read`, `write`, `commit`, `close`."""

    specs: dict[str, Spec]
    metadata: dict[str, str]
    files: tuple[Path, ...] = ()  # files that are read

    @property
    def own_files(self) -> tuple[Path, ...]:
        """Those of `files` that hold only this store, so that a save may replace them."""
        return self.files

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read rows start..stop (all without `stop`) of array `name` into a new array."""
        raise NotImplementedError

    def write(self, name: str, start: int, rows: np.ndarray) -> None:
        """Write `rows` [n, ...] at row `start` of array `name`, converted to its dtype."""
        raise NotImplementedError

    def in_memory(self, prefix: str = "") -> list[np.ndarray]:
        """Arrays held in main memory as long as the store exists, of those whose names begin with `prefix`; none for a file."""
        return []

    def commit(self) -> None:
        """Finish the store: nothing can be written afterwards."""

    def close(self) -> None:
        """Close the file; anything not committed is removed."""

    def save(
        self,
        path: str | Path,
        metadata: Mapping[str, str] | None = None,
        replace: Mapping[str, np.ndarray] | None = None,
        drop: Iterable[str] = (),
    ) -> None:
        """Copy the store to a new file in blocks of rows, with other metadata, some arrays replaced or added, and without `drop`."""
        replace, dropped_names = replace or {}, set(drop)
        specs = {name: self.specs.get(name, Spec.of(rows.dtype, *rows.shape)) for name, rows in replace.items()}
        specs = {name: spec for name, spec in {**self.specs, **specs}.items() if name not in dropped_names}
        with TensorFile.create(path, specs, self.metadata if metadata is None else metadata) as copy:
            for name, spec in specs.items():
                if name in replace:
                    copy.write(name, 0, replace[name])
                    continue
                for start, stop in row_blocks(spec):
                    copy.write(name, start, self.read(name, start, stop))
            copy.commit()

    def _rows(self, name: str, start: int, stop: int | None) -> tuple[Spec, int, int]:
        spec = self.specs[name]
        stop = spec.shape[0] if stop is None else stop
        if not 0 <= start <= stop <= spec.shape[0]:
            raise IndexError(f"rows {start}..{stop} of {name}, which has {spec.shape[0]}")
        return spec, start, stop

    def _as_rows(self, name: str, start: int, rows: np.ndarray) -> np.ndarray:
        spec = self.specs[name]
        rows = np.ascontiguousarray(rows, dtype=spec.dtype)
        if rows.shape[1:] != spec.shape[1:] or start + len(rows) > spec.shape[0]:
            raise IndexError(f"rows {rows.shape} at {start} do not fit {name} {spec.shape}")
        return rows

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


class TensorMemory(TensorStore):
    """In-memory counterpart of TensorFile, for short videos."""

    def __init__(self, specs: Mapping[str, Spec], metadata: Mapping[str, str]):
        self.specs, self.metadata = dict(specs), dict(metadata)
        self._arrays = {name: np.zeros(spec.shape, spec.dtype) for name, spec in self.specs.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        _, start, stop = self._rows(name, start, stop)
        return self._arrays[name][start:stop].copy()

    def in_memory(self, prefix: str = "") -> list[np.ndarray]:
        return [array for name, array in self._arrays.items() if name.startswith(prefix)]

    def write(self, name: str, start: int, rows: np.ndarray) -> None:
        rows = self._as_rows(name, start, rows)
        self._arrays[name][start : start + len(rows)] = rows


class TensorFile(TensorStore):
    """A .safetensors file, either being written (`create` .. `commit`) or read (`open`).

    While it is written it has a temporary name (see files.Partial); `commit` renames it, `close` without
    `commit` removes it. A committed file can be read through the same object.
    """

    def __init__(self, path: Path, file, specs: dict[str, Spec], metadata: dict[str, str], data_start: int, partial: Partial | None):
        self.path, self.specs, self.metadata, self.files = path, specs, metadata, (path,)
        self._file, self._data_start, self._partial = file, data_start, partial
        self._offsets, self._cure = array_offsets(specs), OTHER_FOLDER
        self._lock = threading.Lock()  # makes seek and read one operation

    @classmethod
    def create(cls, path: str | Path, specs: Mapping[str, Spec], metadata: Mapping[str, str]) -> TensorFile:
        """Start a file of arrays that are zero until written.

        Raises DVAError when the folder is missing or cannot be written, another run is writing the same file, or the disk has too
        little room.
        """
        path = check_place(path)
        specs = {name: specs[name] for name in sorted(specs, key=lambda n: -specs[n].dtype.itemsize)}  # keeps every array aligned
        header = build_header(specs, dict(metadata), spare=SPARE)
        total = len(header) + sum(spec.bytes for spec in specs.values())
        _need_room(path.parent, total, OTHER_FOLDER)
        partial = None
        try:
            partial = Partial(path, alone=True)
            file = open(partial.path, "w+b", buffering=0)
        except OSError as error:
            if partial:
                partial.close()
            raise DVAError(f"Cannot write {path}: {error.strerror}; choose a folder you may write to.") from error
        store = cls(path, file, specs, dict(metadata), len(header), partial)
        try:
            store._write_at(0, header)
            file.truncate(total)
        except OSError as error:
            store.close()
            raise store._disk_error(error) from error
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def scratch(cls, specs: Mapping[str, Spec], metadata: Mapping[str, str], folder: str | Path | None = None) -> TensorFile:
        """Make a nameless file in `folder` (default: the system's temporary one) that vanishes with the object, even on a crash."""
        folder = check_scratch(folder or tempfile.gettempdir())
        total = sum(spec.bytes for spec in specs.values())
        _need_room(folder, total, OTHER_SCRATCH)
        store = cls(folder / "scratch", None, dict(specs), dict(metadata), 0, None)
        store._cure, store.files = OTHER_SCRATCH, ()
        try:
            store._file = tempfile.TemporaryFile(buffering=0, dir=folder)
            store._file.truncate(total)
        except OSError as error:
            raise store._disk_error(error) from error
        return store

    @classmethod
    def open(cls, path: str | Path) -> TensorFile:
        """Open a finished file for reading; DVAError if it is missing, truncated or not a safetensors file."""
        path = check_input(path)
        try:
            file = open(path, "rb", buffering=0)
        except OSError as error:
            raise DVAError(f"Cannot read {path}: {error.strerror}.") from error
        try:
            specs, metadata, data_start = read_header(file, path)
        except BaseException:
            file.close()
            raise
        return cls(path, file, specs, metadata, data_start, None)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        spec, start, stop = self._rows(name, start, stop)
        rows = np.empty((stop - start, *spec.shape[1:]), spec.dtype)
        view = memoryview(rows).cast("B") if rows.size else memoryview(b"")
        with self._lock:
            if self._file.closed:
                raise DVAError(f"{self.path} has been closed; load it again.")
            self._file.seek(self._data_start + self._offsets[name] + start * spec.row_bytes)
            done = 0
            while done < len(view):
                count = self._file.readinto(view[done:])
                if not count:
                    raise DVAError(f"{self.path} has become shorter than its header says; copy or encode it again.")
                done += count
        return rows

    def write(self, name: str, start: int, rows: np.ndarray) -> None:
        rows = self._as_rows(name, start, rows)
        try:
            self._write_at(self._data_start + self._offsets[name] + start * self.specs[name].row_bytes, memoryview(rows).cast("B"))
        except OSError as error:
            self.close()
            raise self._disk_error(error) from error

    def commit(self) -> None:
        """Write the current metadata, flush, and rename the file to its final name."""
        if self._partial is None:
            return
        try:
            header = build_header(self.specs, self.metadata, length=self._data_start)
            self._write_at(0, header)
            os.fsync(self._file.fileno())
            self._file.close()  # Windows renames closed files only
            self._partial.put()
        except OSError as error:
            self.close()
            raise self._disk_error(error) from error
        self._partial.close()
        self._partial = None
        self._file = open(self.path, "rb", buffering=0)

    def close(self) -> None:
        self._file.close()
        if self._partial is not None:
            self._partial.close()
            self._partial = None

    def _write_at(self, offset: int, data) -> None:
        view = memoryview(data)
        with self._lock:
            self._file.seek(offset)
            done = 0
            while done < len(view):
                done += self._file.write(view[done:])

    def _disk_error(self, error: OSError) -> DVAError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DVAError(f"The disk of {self.path.parent} is full; free some space or {self._cure}.")
        return DVAError(f"Writing {self.path} failed: {error.strerror}; {self._cure}.")


def check_scratch(folder: str | Path) -> Path:
    """Return the folder for temporary files, if it exists."""
    folder = to_path(folder, "folder for temporary files")
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder} for the temporary file; {OTHER_SCRATCH}.")
    return folder


def row_blocks(spec: Spec) -> Iterator[tuple[int, int]]:
    """Split the rows of an array into ranges of at most about COPY_BYTES."""
    step = max(1, COPY_BYTES // max(1, spec.row_bytes))
    for start in range(0, spec.shape[0], step):
        yield start, min(start + step, spec.shape[0])


def _need_room(folder: Path, total: int, cure: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < total:
        raise DVAError(f"{folder} has {free / 1e6:.0f} MB free and this needs {total / 1e6:.0f} MB; free some space or {cure}.")


@contextlib.contextmanager
def close_on_error(store: TensorStore):
    """Context manager that closes the store, which removes its partial file, if the block fails or is cancelled."""
    try:
        yield store
    except BaseException:
        store.close()
        raise
