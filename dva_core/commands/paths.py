"""What is read and what is written: checked before any work, so that nothing that is read is ever overwritten."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import DVAError


def exists(path: str | Path) -> bool:
    """Whether there is something at `path`; DVAError where the system does not let one look."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DVAError(f"{path} cannot be looked at ({error.strerror}); check the path and its permissions.") from error
    return True


def check_input(path: str | Path) -> Path:
    """`path`, when there is something; DVAError otherwise."""
    if not exists(path):
        raise DVAError(f"There is no file {path}; check the path.")
    return Path(path)


def check_writable(path: str | Path, what: str = "output") -> Path:
    """The file `path`, when its folder is there and may be written to; DVAError before any work is done otherwise."""
    path = Path(path)
    folder = path.absolute().parent
    if not exists(folder) or not folder.is_dir():
        raise DVAError(f"The folder {folder} for the {what} does not exist; make it first or choose another.")
    if not os.access(folder, os.W_OK | os.X_OK) or (exists(path) and not os.access(path, os.W_OK)):
        raise DVAError(f"The {what} {path} may not be written there; choose another folder or change its permissions.")
    if path.is_dir():
        raise DVAError(f"The {what} {path} is a folder; name a file in it.")
    return path


def check_picture(path: str | Path, what: str) -> Path:
    """As `check_writable`, for a picture: its name must end in what Pillow is asked to write."""
    path = check_writable(path, what)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise DVAError(f"The {what} {path} needs a name that ends in .png or .jpg.")
    return path


def check_tensors(path: str | Path, what: str) -> Path:
    """As `check_writable`, for `what` ("direction", "decomposed clip") is kept in a .safetensors file."""
    path = check_writable(path)
    if path.suffix != ".safetensors":
        raise DVAError(f"A {what} needs a name that ends in .safetensors; call it {path.with_suffix('.safetensors')}.")
    return path


def check_spares(path: str | Path, what: str, inputs: Iterable[str | Path | None]) -> None:
    """DVAError where writing the file or folder `path` (`what`: "contact sheet") would destroy or change one of the `inputs`.

    That is where it is one of them, a picture put into a folder of pictures, or a folder one of them lies in. None is no input.
    """
    for read in filter(None, inputs):
        if not exists(read):
            continue
        if exists(path) and Path(path).samefile(read):
            raise DVAError(f"The {what} {path} would overwrite {read}, which is read; choose another name.")
        whole, place = Path(read).resolve(), Path(path).resolve()
        if whole.is_dir() and place.parent == whole and place.suffix.lower() in (".png", ".jpg", ".jpeg"):
            raise DVAError(f"The {what} {path} would become one of the pictures of {read}, which are read; choose another folder.")
        if place.is_dir() and place in whole.parents:
            raise DVAError(f"The {what} {path} would replace the folder that {read} lies in; choose another name.")
