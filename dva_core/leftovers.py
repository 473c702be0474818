"""Locked folders for partially written outputs, and the removal of what killed processes leave behind.

A partial output lies in a folder of its own beside its place, `.dva-<hash of the name>-<random>.partial`, whose name is short
however long the output's is. The writing process holds a lock file in it: if it was killed, the next writer in the same
folder finds the lock free and removes the leftover.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path

from filelock import FileLock

PREFIX, SUFFIX = ".dva-", ".partial"
LOCK, OLD, GONE = "lock", "old", "gone"
MARKER = ".dva_frames"  # marks folders of frames written by this program: no other folder is ever replaced
TRIES = 20
DAY = 86_400  # seconds


def clear(folder: Path) -> None:
    """Remove the leftovers of killed processes from `folder`."""
    for name in _names(folder):
        if name.startswith(PREFIX):
            _clear_ours(folder / name)


def clear_for(place: Path) -> None:
    """Remove the leftovers of killed processes from the folder of `place`, and those of older versions for `place`.

    The folder is listed once, and only names of this program are examined, as it may hold all results of a long batch.
    """
    older = _OlderNames(place)
    for name in _names(place.parent):
        if name.startswith(PREFIX):
            _clear_ours(place.parent / name)
        elif name.startswith(older.start) or name in older.plain:
            with contextlib.suppress(OSError):
                older.clear(place.parent / name)


def _names(folder: Path) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [entry.name for entry in entries]
    return []


def _clear_ours(path: Path) -> None:
    if path.name.endswith(SUFFIX):
        with contextlib.suppress(OSError):
            clear_unless_used(path)


class _OlderNames:
    """Names of the partial outputs of an older version for `place`; they are removed unless written to in the last day.

    Only files with that version's names and content: `.<name>.<number>.partial` and `.part`, a decomposition or a training state
    `<name>.partial`, a folder of frames `.<name>.<number>.part`, or `.old` if `place` exists.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.start = place, f".{place.name}."
        self.number = re.compile(re.escape(self.start) + r"([0-9a-f]{8}|[0-9]+)\.(partial|part|old)")
        self.plain = (f"{place.name}.partial", "state.partial" if place.name == "state.safetensors" else "")

    def clear(self, path: Path) -> None:
        match = self.number.fullmatch(path.name)
        if not (match or path.name in self.plain) or path.is_symlink() or time.time() - path.stat().st_mtime < DAY:
            return
        if match and path.is_dir():
            if (path / MARKER).is_file() and (match[2] != "old" or self.place.is_dir()):
                shutil.rmtree(path, ignore_errors=True)
        elif path.is_file() and (_is_ours(path) if match is None else match[2] != "old"):
            path.unlink()


def _is_ours(path: Path) -> bool:
    """Tell whether a file, perhaps truncated, begins like a decomposition or a training state."""
    with open(path, "rb") as file:
        head = file.read(1 << 20)
    return head[8:9] == b"{" and (b'"dva-decomposition"' in head or b'"optimiser.' in head)


def make_locked_folder(parent: Path, key: str) -> tuple[Path, FileLock]:
    """Make a new folder with a lock in it; tries again if another process clears it in between."""
    for _ in range(TRIES):
        folder = parent / f"{PREFIX}{key}-{secrets.token_hex(4)}{SUFFIX}"
        folder.mkdir()
        lock = _lock(folder)
        if lock is not None and (folder / LOCK).exists():
            return folder, lock
    raise OSError(None, "its folder cannot hold a lock")


def _lock(folder: Path) -> FileLock | None:
    """Lock `folder`; None if another process holds the lock."""
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError):  # filelock's Timeout is one
        return None
    return lock


def clear_unless_used(folder: Path) -> bool:
    """Tell whether a process still holds the folder's lock; if not, put back what it had moved away and remove the folder."""
    lock = _lock(folder)
    if lock is not None:
        for old in (folder / OLD).glob("*"):
            if not (folder.parent / old.name).exists():
                old.rename(folder.parent / old.name)
        remove_folder(folder, lock)
    return lock is None


def remove_folder(folder: Path, lock: FileLock) -> None:
    """Release the lock of `folder` and remove it."""
    lock.release()  # first: Windows removes no file that is open
    shutil.rmtree(folder, ignore_errors=True)
