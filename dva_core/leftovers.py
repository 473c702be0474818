"""Locked folders for unfinished outputs, and the removal of what killed programs leave behind.

An unfinished output lies in a folder of its own beside its place, `.dva-<hash of the name>-<random>.partial`, so that the name is short
however long the output's is. A lock file in it is held while the writing process lives: if it was killed, the next writer in the same
folder finds the lock free and removes the leftover.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import time
from pathlib import Path

from filelock import FileLock

PREFIX, SUFFIX = ".dva-", ".partial"
LOCK, OLD, GONE = "lock", "old", "gone"
MARKER = ".dva_frames"  # a file in every folder of frames written here: only such a folder is ever replaced
TRIES = 20
DAY = 86_400  # seconds


def clear(folder: Path) -> None:
    """Remove the leftovers of killed programs from `folder`."""
    with contextlib.suppress(OSError):
        for leftover in folder.glob(f"{PREFIX}*{SUFFIX}"):
            clear_unless_used(leftover)


def clear_older(place: Path) -> None:
    """Remove the leftovers of a killed program of an older version for `place`, unless they were written to in the last day.

    Only files with that version's names and content: `.<name>.<number>.partial` and `.part`, a decomposition or a training state
    `<name>.partial`, a folder of frames `.<name>.<number>.part`, or `.old` where `place` exists.
    """
    number = re.compile(rf"\.{re.escape(place.name)}\.([0-9a-f]{{8}}|[0-9]+)\.(partial|part|old)")
    plain = (f"{place.name}.partial", "state.partial" if place.name == "state.safetensors" else "")
    with contextlib.suppress(OSError):
        for leftover in place.parent.iterdir():
            match = number.fullmatch(leftover.name)
            if not (match or leftover.name in plain) or leftover.is_symlink() or time.time() - leftover.stat().st_mtime < DAY:
                continue
            if match and leftover.is_dir():
                if (leftover / MARKER).is_file() and (match[2] != "old" or place.is_dir()):
                    shutil.rmtree(leftover, ignore_errors=True)
            elif leftover.is_file() and (_is_ours(leftover) if match is None else match[2] != "old"):
                leftover.unlink()


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
    """Tell whether a process still holds the folder's lock; if not, restore what it had moved away and remove the folder."""
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
