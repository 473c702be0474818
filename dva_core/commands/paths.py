"""Outputs of the commands that must end in some suffix: checked before any work."""

from __future__ import annotations

from pathlib import Path

from ..errors import DVAError
from ..files import PICTURES, check_place


def check_picture(path: str | Path, what: str) -> Path:
    """The path, checked as by `check_place`, for a picture: its name must end in what Pillow is asked to write."""
    check_place(path, what)
    if Path(path).suffix.lower() not in PICTURES:
        raise DVAError(f"The {what} {path} needs a name that ends in .png or .jpg.")
    return Path(path)


def check_tensors(path: str | Path, what: str) -> Path:
    """The path, checked as by `check_place`, for `what` ("direction", "decomposition") is kept in a .safetensors file."""
    check_place(path)
    path = Path(path)
    if path.suffix != ".safetensors":
        raise DVAError(f"A {what} needs a name that ends in .safetensors; call it {path.with_suffix('.safetensors')}.")
    return path
