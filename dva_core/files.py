"""Paths and files: checks of inputs and outputs, and atomic writing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .errors import DVAError, MissingFileError
from .leftovers import GONE, OLD, PREFIX, SUFFIX, clear_for, clear_unless_used, make_locked_folder, remove_folder

PICTURES = (".png", ".jpg", ".jpeg")  # suffixes of pictures that are written
# suffixes of the videos in a folder; a file that is named itself may have any
VIDEOS = frozenset({".mp4", ".mpg", ".mpeg", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".ogv", ".wmv"})


# -- paths -------------------------------------------------------------------------------------------------


def to_path(path: str | os.PathLike, what: str = "file") -> Path:
    """Convert to a Path. DVAError for an empty one, which would mean the current folder, or one with a null character."""
    text = os.fspath(path)
    if not text:
        raise DVAError(f"The path of the {what} is empty; give the name of a file or a folder.")
    if "\0" in text:
        raise DVAError(f"The path of the {what} holds a null character; give the name of a file or a folder.")
    return Path(text)


def resolve_link(path: str | Path) -> Path:
    """Resolve a link, so that replacing its target leaves the link; any other path is returned as it is. DVAError for a circular link."""
    path = Path(path)
    joined = getattr(os.path, "isjunction", lambda _: False)  # Windows' links to folders; Python 3.12
    try:
        if not (path.is_symlink() or joined(path) or path.name in ("", "..")):
            return path
        place = path.resolve()
        loop = place.is_symlink()
    except RuntimeError:  # raised by resolve() for a loop, up to Python 3.12
        loop = True
    except OSError:  # cannot be examined: writing there reports the reason
        return path
    if loop:
        raise DVAError(f"{path} is a link that leads back to itself; remove it or choose another name.")
    return place


def exists(path: str | Path) -> bool:
    """Whether there is something at `path`; DVAError where the system does not allow the check."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DVAError(f"The name {Path(path).name[:40]}... is too long for its disk; choose a shorter one.") from error
        if error.errno == errno.ELOOP:
            raise DVAError(f"{path} is a link that leads back to itself; remove it or choose another name.") from error
        raise DVAError(f"{path} cannot be looked at ({error.strerror}); check the path and its permissions.") from error
    return True


def check_input(path: str | os.PathLike) -> Path:
    """Return `path` as a Path; DVAError where there is no file or folder. Pipes and devices are refused: inputs are read twice."""
    path = to_path(path)
    if not exists(path):
        raise MissingFileError(f"There is no file {path}; check the path.")
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DVAError(f"{path} is no file but a pipe, a device or the like, which cannot be read twice; save it as a file first.")
    return path


def check_spares(path: str | os.PathLike, what: str, inputs: Iterable[str | os.PathLike | None]) -> None:
    """DVAError if writing the file or folder `path` (`what`: "contact sheet") would overwrite or change one of the `inputs`.

    That is so if it is one of them, a picture in a folder of input pictures, or a folder that contains one. None is ignored.
    """
    for read in filter(None, inputs):
        if not exists(read):
            continue
        if same(path, read):
            raise DVAError(f"The {what} {path} would overwrite {read}, which is read; choose another name.")
        whole, place = Path(read).resolve(), Path(path).resolve()
        if whole.is_dir() and same(place.parent, whole) and place.suffix.lower() in PICTURES:
            raise DVAError(f"The {what} {path} would become one of the pictures of {read}, which are read; choose another folder.")
        if place.is_dir() and any(same(place, parent) for parent in whole.parents):
            raise DVAError(f"The {what} {path} would replace the folder that {read} lies in; choose another name.")


def file_names(names: Sequence[str], suffix: str) -> list[str]:
    """Make a file name for each of the names: valid on every file system, and unique even where letter case is ignored."""
    lower_names: set[str] = set()
    files = []
    for name in names:
        plain = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", name).encode("utf-8", "ignore")[:200].decode("utf-8", "ignore")
        plain = plain.rstrip(". ") or "_"
        plain = f"_{plain}" if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", plain) else plain
        number, stem = 1, plain
        while stem.casefold() in lower_names:
            number += 1
            stem = f"{plain}_{number}"
        lower_names.add(stem.casefold())
        files.append(stem + suffix)
    return files


def same(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Whether both paths are the same file or folder, through symbolic and hard links and letter case; False if one does not exist."""
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


# -- writing -----------------------------------------------------------------------------------------------


class Partial:
    """A partially written file or folder for `place`: write it to `path`, then call `put` and `close`.

    alone: DVAError if another process is writing the same place. A link at `place` is resolved. Raises OSError if the folder
    cannot be written to.
    """

    def __init__(self, place: str | Path, alone: bool = False) -> None:
        self.place = resolve_link(place).absolute()
        parent, key = self.place.parent, hashlib.sha256(os.fsencode(self.place.name)).hexdigest()[:8]
        clear_for(self.place)
        self.folder, lock = make_locked_folder(parent, key)
        self.path = self.folder / f"_{self.place.suffix}"
        self._close = weakref.finalize(self, remove_folder, self.folder, lock)
        if alone and any(map(clear_unless_used, (entry for entry in parent.glob(f"{PREFIX}{key}-*{SUFFIX}") if entry != self.folder))):
            self.close()
            raise DVAError(f"{place} is being written by another run just now; wait for that, or choose another name.")

    def put(self) -> None:
        """Move `path` to `place`, replacing what was there. Raises OSError."""
        if not self.path.is_dir() or not self.place.exists():
            self.path.replace(self.place)
            return
        (self.folder / OLD).mkdir()
        old = self.place.rename(self.folder / OLD / self.place.name)
        try:
            self.path.rename(self.place)
        except BaseException:
            old.rename(self.place)
            raise
        (self.folder / OLD).rename(self.folder / GONE)

    def close(self) -> None:
        """Remove the file or folder at `path` unless `put` has moved it."""
        self._close()


def check_place(path: str | os.PathLike, what: str = "output", folder: bool = False) -> Path:
    """Check that the file (or the `folder`) `path` can be written, and return it with links resolved. Call it before the work starts.

    DVAError if it has no name, its folder is missing or cannot be written to, something else exists there, or another run is
    writing it.
    """
    place = resolve_link(to_path(path, what))
    parent = place.absolute().parent
    if not exists(parent) or not parent.is_dir():
        raise DVAError(f"The folder {parent} for the {what} does not exist; make it first or choose another.")
    if exists(place):
        if place.is_dir() and not folder:
            raise DVAError(f"The {what} {path} is a folder; name a file in it.")
        if not place.is_dir() and folder:
            raise DVAError(f"The {what} {path} is a file; name a folder.")
        if not (place.is_dir() or place.is_file()):
            raise DVAError(f"The {what} {path} is no file but a pipe, a device or the like; choose another name.")
        if os.path.ismount(place):
            raise DVAError(f"The {what} {path} is a whole disk; name a folder on it.")
        if not os.access(place, os.W_OK):
            raise DVAError(f"The {what} {path} may not be written there; choose another folder or change its permissions.")
    try:
        Partial(place, alone=True).close()
    except OSError as error:
        cure = "choose another folder or change its permissions"
        raise DVAError(f"The {what} {path} may not be written there ({error.strerror}); {cure}.") from error
    return place


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Context manager: a temporary path to write to, renamed to `path` if the block succeeds and removed if it fails.

    The file gets the permissions of a new file: safetensors itself makes files that only their owner can read. Raises OSError.
    """
    partial = Partial(path)
    try:
        partial.path.touch()
        mode = partial.path.stat().st_mode
        yield partial.path
        partial.path.chmod(mode)
        partial.put()
    finally:
        partial.close()


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, UTF-8, atomically."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Context manager: a temporary folder, removed after the block, or, if the process was killed, by the next call."""
    partial = Partial(Path(tempfile.gettempdir()) / "scratch")
    try:
        yield partial.folder
    finally:
        partial.close()
