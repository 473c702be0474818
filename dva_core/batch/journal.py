"""The journal of a run in its folder of results, one line per event: a run that was killed at any moment can be resumed.

A line is JSON: {"event": "sent" | "done" | "failed" | "dropped", "job": name, "time": seconds, ...}. What is sent to a server is
recorded before it is sent. An incomplete last line is ignored.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import DVAError

FILE, LOCK = "journal.jsonl", "lock"


class DiskError(DVAError):
    """Results or the journal cannot be written, because the disk is full or gone; the job itself did not fail."""


class NameRefused(DVAError):
    """The disk refuses the name of a result, so that room does not help."""


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Context manager for writing a result: an OSError becomes a DiskError or NameRefused."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise NameRefused(f"{place} is a name that its disk refuses ({error.strerror}); give the video another `name`.") from error
        raise DiskError(f"{place} cannot be written ({error.strerror}); make room there, or check the disk.") from error


@dataclass
class Record:
    """Last entry of a job: state ("done" or "failed"), worker, seconds, message."""

    state: str
    where: str = ""
    prompt: str = ""
    seconds: float | None = None
    error: str = ""
    fingerprint: str = ""
    time: float = 0.0


@dataclass
class Journal:
    """The journal of a folder of results.

    records  last record of each job when the journal was read
    prompts  (server, prompt) -> (job, its fingerprint) of prompts that may still be on a server; kept up to date
    """

    folder: Path
    records: dict[str, Record] = field(default_factory=dict)
    prompts: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Journal:
        """Read the journal of earlier runs; empty if there is none."""
        journal = cls(folder)
        for entry in journal._lines():
            journal._follow(entry)
            if entry["event"] not in ("sent", "dropped"):
                values = {name: entry[name] for name in Record.__dataclass_fields__ if name in entry and name != "state"}
                journal.records[entry["job"]] = Record(entry["event"], **values)
        return journal

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with open(self.folder / FILE, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    try:
                        entry = json.loads(line)
                    except (ValueError, RecursionError):
                        continue  # it was being written when the machine stopped
                    if isinstance(entry, dict) and isinstance(entry.get("event"), str) and isinstance(entry.get("job"), str):
                        yield entry
        except FileNotFoundError:
            return
        except OSError as error:
            raise DVAError(f"The journal in {self.folder} cannot be read ({error.strerror}); check its permissions.") from error

    def _follow(self, entry: dict[str, Any]) -> None:
        key = (str(entry.get("where", "")), str(entry.get("prompt", "")))
        if entry["event"] == "sent":
            self.prompts[key] = (entry["job"], str(entry.get("fingerprint", "")))
        else:
            self.prompts.pop(key, None)

    def note(self, event: str, job: str, **about: Any) -> None:
        """Append an event and flush it to disk. DVAError if that fails."""
        entry = {"event": event, "job": job, "time": round(time.time(), 3), **about}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / FILE, "ab+") as lines:
                if lines.tell() and (lines.seek(-1, os.SEEK_END), lines.read(1))[1] != b"\n":
                    lines.write(b"\n")  # the last one was cut off
                lines.write(json.dumps(entry).encode() + b"\n")
                lines.flush()
                os.fsync(lines.fileno())
        except OSError as error:
            raise DiskError(f"The journal in {self.folder} cannot be written ({error.strerror}); make room there.") from error
        self._follow(entry)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Context manager that locks the folder of a run; DVAError if another run holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DVAError(f"The folder {folder} cannot be made ({error.strerror}); choose another place for the results.") from error
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DVAError(f"Another run is at work on {folder.parent} just now; wait for that, or choose another place.") from None
    except OSError as error:
        raise DVAError(f"The folder {folder} cannot be used ({error.strerror}); choose another place for the results.") from error
    try:
        yield
    finally:
        lock.release()
