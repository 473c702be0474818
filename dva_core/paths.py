"""Paths: what they name, where links lead, and that nothing that is read is written over; looked at before any work."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import DVAError, MissingFileError

PICTURES = (".png", ".jpg", ".jpeg")  # what is written as a picture


def named(path: str | os.PathLike, what: str = "file") -> Path:
    """`path` as a Path. DVAError where it is empty, which would stand for the current folder, or no name at all."""
    text = os.fspath(path)
    if not text:
        raise DVAError(f"The path of the {what} is empty; give the name of a file or a folder.")
    if "\0" in text:
        raise DVAError(f"The path of the {what} holds a null character; give the name of a file or a folder.")
    return Path(text)


def followed(path: str | Path) -> Path:
    """The place a link leads to, so that what takes its place leaves the link; any other path as it is. DVAError for a link to itself."""
    path = Path(path)
    joined = getattr(os.path, "isjunction", lambda _: False)  # Windows' links to folders; Python 3.12
    try:
        if not (path.is_symlink() or joined(path) or path.name in ("", "..")):
            return path
        place = path.resolve()
        loop = place.is_symlink()
    except RuntimeError:  # what resolve() says of a loop up to Python 3.12
        loop = True
    except OSError:  # not to be looked at: whoever writes there will say why
        return path
    if loop:
        raise DVAError(f"{path} is a link that leads back to itself; remove it or choose another name.")
    return place


def exists(path: str | Path) -> bool:
    """Whether there is something at `path`; DVAError where the system does not let one look."""
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
    """`path`, when there is a file or a folder; DVAError where there is nothing, or a pipe or device: what is read is read twice."""
    path = named(path)
    if not exists(path):
        raise MissingFileError(f"There is no file {path}; check the path.")
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DVAError(f"{path} is no file but a pipe, a device or the like, which cannot be read twice; save it as a file first.")
    return path


def check_spares(path: str | os.PathLike, what: str, inputs: Iterable[str | os.PathLike | None]) -> None:
    """DVAError where writing the file or folder `path` (`what`: "contact sheet") would destroy or change one of the `inputs`.

    That is where it is one of them, a picture put into a folder of pictures, or a folder one of them lies in. None is no input.
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
    """A file name for each of the names, which any file system takes and of which no two are one, whatever the case of letters."""
    taken: set[str] = set()
    found = []
    for name in names:
        plain = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", name).encode("utf-8", "ignore")[:200].decode("utf-8", "ignore")
        plain = plain.rstrip(". ") or "_"
        plain = f"_{plain}" if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", plain) else plain
        number, chosen = 1, plain
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{plain}_{number}"
        taken.add(chosen.casefold())
        found.append(chosen + suffix)
    return found


def same(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Whether both paths lead to one file or folder, whatever links, hard links and the case of letters lie between; False for none."""
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
