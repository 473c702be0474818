"""A cache of decompositions by content: if a video was encoded before, by anybody sharing the folder, its file is opened instead."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..decomposition import load_decomposition
from ..decomposition.info import source_hash
from ..decomposition.people import AnyDecomposition, with_info
from ..errors import DVAError
from ..progress import Progress, Stopwatch, silent
from .encoding import encode_video
from .settings import EncodeSettings

KEY_DIGITS = 32


def encode_cached(
    source: str | Path,
    model,
    folder: str | Path,
    *,
    batch_size: int | None = None,
    scratch: str | Path | None = None,
    progress: Progress | None = None,
    clock: Stopwatch | None = None,
    surveys: str | Path | None = None,
    survey_hash: str | None = None,
    **settings: Any,
) -> AnyDecomposition:
    """As `encode`, cached in `folder` under a hash of the video's content, the settings and the model.

    While one process encodes a video, others that need the same decomposition wait and then open it. The `info.source` of the result is
    `source` in any case. A damaged file in the cache is replaced. Raises DVAError as `encode`, and where the folder cannot be made or
    written to.
    """
    folder, progress = Path(folder), progress or silent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DVAError(f"The folder of decompositions {folder} cannot be made ({error.strerror}); choose another.") from error
    resolved, sha256 = EncodeSettings(**settings).resolve(model), source_hash(source)
    path = folder / f"{cache_key(sha256, model, resolved)}.safetensors"
    with only_one(path.with_suffix(".lock"), progress):
        decomposition = open_cached(path)
        if decomposition is None:
            speed = {"batch_size": batch_size, "scratch": scratch, "progress": progress, "clock": clock}
            surveyed = {"surveys": surveys, "survey_hash": survey_hash}
            decomposition = encode_video(source, model, resolved, sha256=sha256, path=path, **speed, **surveyed)
    return with_info(decomposition, source=str(Path(source).resolve()))


def open_cached(path: Path) -> AnyDecomposition | None:
    """Open a cached decomposition; None if it does not exist or cannot be read."""
    try:
        return load_decomposition(path) if path.is_file() else None
    except DVAError:
        return None


def cache_key(sha256: str, model, settings: EncodeSettings) -> str:
    """Hash everything that a decomposition depends on, as hex digits: the source's `sha256`, the resolved settings and the model."""
    values = {name: value for name, value in asdict(settings).items() if value is not None}
    face: Any = (settings.face,) if isinstance(settings.face, str) else tuple(settings.face)
    if face[0] == "reference":
        face = ("reference", source_hash(face[1]))  # by content, not by name
    if face[0] == "people":
        face = ("people", replace(settings.face[1], survey="").to_json())
    values |= {"face": list(face), "model": model.fingerprint, "precision": str(model.host.dtype), "source": sha256}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:KEY_DIGITS]


@contextmanager
def only_one(place: Path, progress: Progress) -> Iterator[None]:
    """Context manager that holds the lock file `place`; the user may cancel while waiting. Without effect on disks without locks."""
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
