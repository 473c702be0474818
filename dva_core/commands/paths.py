"""Checks of outputs that need a certain suffix, before any work."""

from __future__ import annotations

from pathlib import Path

from ..errors import DVAError
from ..files import PICTURES, check_place


def check_picture(path: str | Path, what: str) -> Path:
    """Check an output path as `check_place` does, and that its suffix is an image format of Pillow."""
    check_place(path, what)
    if Path(path).suffix.lower() not in PICTURES:
        raise DVAError(f"The {what} {path} needs a name that ends in .png or .jpg.")
    return Path(path)


def check_tensors(path: str | Path, what: str) -> Path:
    """Check an output path as `check_place` does, and that `what` ("direction", "decomposition") ends in .safetensors."""
    check_place(path)
    path = Path(path)
    if path.suffix != ".safetensors":
        raise DVAError(f"A {what} needs a name that ends in .safetensors; call it {path.with_suffix('.safetensors')}.")
    return path
