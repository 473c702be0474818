"""Writing a file all or nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def followed(path: str | Path) -> Path:
    """The place a link leads to, so that a file that takes its place leaves the link; any other path as it is."""
    path = Path(path)
    try:
        return path.resolve() if path.is_symlink() else path
    except OSError:  # not to be looked at: whoever writes there will say why
        return path


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which takes its name when the block succeeds and is removed when it does not.

    With the permissions that a new file usually gets: safetensors makes files that nobody else may read. OSErrors go through.
    """
    path = followed(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
