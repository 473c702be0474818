"""A folder of decompositions by content: what was taken apart there before, by anybody who shares the folder, is opened instead."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..decomposition import Decomposition
from ..decomposition.info import source_hash
from ..diffusion import solvers
from ..errors import DVAError
from ..progress import Progress, silent
from .encoding import encode

KEY_DIGITS = 32
SPEED_ONLY = ("batch_size", "progress", "clock", "scratch")  # settings that change no result


def encode_kept(source: str | Path, model, folder: str | Path, *, progress: Progress | None = None, **settings: Any) -> Decomposition:
    """As `encode` with the same settings, kept in `folder` under a name made of the video's content, the settings and the model.

    While one encodes a video, others that want it wait and then open what was made. The clip's source is `source` in any case. Raises
    DVAError as `encode`, and where the folder cannot be made or written to. A file there that is damaged is made again.
    """
    folder, progress = Path(folder), progress or silent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DVAError(f"The folder of decompositions {folder} cannot be made ({error.strerror}); choose another.") from error
    path = folder / f"{kept_name(source, model, settings)}.safetensors"
    with only_one(path.with_suffix(".lock"), progress):
        clip = opened(path)
        if clip is None:
            clip = encode(source, model, path=path, progress=progress, **settings)
    return replace(clip, info=replace(clip.info, source=str(Path(source).resolve())))


def opened(path: Path) -> Decomposition | None:
    """What is kept; None where there is nothing, or nothing that can be read."""
    try:
        return Decomposition.load(path) if path.is_file() else None
    except DVAError:
        return None


def kept_name(source: str | Path, model, settings: dict[str, Any]) -> str:
    """All that a decomposition hangs on, as hex digits."""
    said = {"steps": solvers.STEPS, "solver": solvers.SOLVER, "power": None, "clamp": True, "start": 0.0, "every": 1, "detector": "own"}
    said |= {name: value for name, value in settings.items() if name not in SPEED_ONLY and value is not None}
    said["power"] = solvers.power_of(said["solver"], said["power"], model)
    face = said.get("face", "largest")
    if not isinstance(face, str) and face[0] == "reference":
        face = ("reference", source_hash(face[1]))  # the picture, whatever it is called
    said["face"] = list(face) if not isinstance(face, str) else [face]
    said |= {"model": model.fingerprint, "precision": str(model.host.dtype), "source": source_hash(source)}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:KEY_DIGITS]


@contextmanager
def only_one(place: Path, progress: Progress) -> Iterator[None]:
    """Nobody else is here while the block lasts; waits for that, and lets the user cancel meanwhile. Disks without locks have none."""
    lock = FileLock(place, thread_local=False)
    while True:
        try:
            lock.acquire(timeout=1.0)
            break
        except Timeout:
            progress("encode", 0, 1)
        except (OSError, NotImplementedError):
            break
    try:
        yield
    finally:
        lock.release()
