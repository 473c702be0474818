"""The worker on a machine of a cluster: it holds the model, encodes videos and decodes their edits. It does not import Ray."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DVAError

EncodedVideo = dict[str, Any]
"""A decomposition on its way: {"key", and "path" of its file that all see, or "content" uint8 [n]}; or {"error": sentence}."""


class Worker:
    """Ray actor with one model. Arguments and results are plain values and arrays, for the object store."""

    def __init__(self, settings: Mapping[str, Any], device: str | None = None, threads: int | None = None) -> None:
        import torch

        from ..model.loader import load_model

        if threads:
            torch.set_num_threads(threads)
        self.settings = dict(settings)
        self.model = load_model(self.settings["model"], device=device, dtype=self.settings["precision"])
        self.scratch = tempfile.TemporaryDirectory(prefix="dva-batch-")
        self.state: dict[str, Any] = {}
        self._cache: tuple[str, Any] | None = None

    def progress(self) -> dict[str, Any]:
        """Current progress: {"phase", "done", "total"}."""
        return dict(self.state)

    def encode(self, video: str, size: int, content: list, face: str, folder: str | None) -> EncodedVideo:
        """Encode a video, or find its decomposition in `folder`. `content` returns the video's bytes if its file is not visible here."""
        try:
            source = self.place(video, size, content)
            return self._encode(source, face, folder)
        except DVAError as error:
            return {"error": str(error)}

    def _encode(self, source: Path, face: str, folder: str | None) -> EncodedVideo:
        from ..decomposition.people import people_of
        from ..faces.finder import parse_face
        from ..pipeline.cache import encode_cached

        settings = {**encode_settings(self.settings), "face": parse_face(face)}
        encoded = encode_cached(source, self.model, folder or self.scratch.name, progress=self._tell, **settings)
        path = people_of(encoded)[0].store.path
        return {"key": path.stem, "path": str(path)} if folder else {"key": path.stem, "content": np.fromfile(path, np.uint8)}

    def edit(self, encoded: EncodedVideo, video: str, size: int, content: list, spec: Mapping[str, Any], suffix: str) -> dict[str, Any]:
        """Edit and decode a video: {"content": the file, uint8 [n], "seconds", "frames"}, or {"error": message}."""
        began = time.monotonic()
        if "error" in encoded:
            return dict(encoded)
        try:
            place, out = self.place(video, size, content), Path(self.scratch.name) / f"result{suffix}"
            frames = self._edit(encoded, place, spec, out)
            return {"content": np.fromfile(out, np.uint8), "seconds": time.monotonic() - began, "frames": frames}
        except DVAError as error:
            return {"error": str(error)}
        finally:
            self.state = {}

    def _edit(self, encoded: EncodedVideo, video: Path, spec: Mapping[str, Any], out: Path) -> int:
        from ..edit import Direction, apply_attributes, apply_direction, apply_text
        from ..pipeline import decode

        result, whom = self._open(encoded), spec["whom"] or None
        if spec["text"]:
            result = apply_text(result, self.model, **spec["text"], progress=self._tell, person=whom)
        if spec["attributes"]:
            result = apply_attributes(result, self.model, spec["attributes"], normalize=spec["normalize"], person=whom)
        for path, scale in spec["directions"].items():
            result = apply_direction(result, self.model, Direction.load(path), scale, person=whom)
        look = {name: spec[name] for name in ("guidance", "tone", "region")}
        output = {name: self.settings[name] for name in ("detail", "codec", "quality", "compatible", "batch_size")}
        return decode(result, self.model, out, video=video, progress=self._tell, keep=spec["keep"], **output, **look).frames

    def _open(self, encoded: EncodedVideo) -> Any:
        """Open a decomposition and keep it open until another one is needed."""
        from ..decomposition import load_decomposition

        if self._cache is None or self._cache[0] != encoded["key"]:
            self._cache = None
            path = Path(encoded["path"]) if "path" in encoded else Path(self.scratch.name) / f"{encoded['key']}.safetensors"
            if not path.is_file():
                np.asarray(encoded["content"]).tofile(path)
            self._cache = (encoded["key"], load_decomposition(path))
            for old in Path(self.scratch.name).glob("*.safetensors"):
                if old != path:
                    with suppress(OSError):
                        old.unlink()
        return self._cache[1]

    def place(self, video: str, size: int, content: list) -> Path:
        """Path of the video here: the original if it is visible, otherwise a local copy of its content."""
        path = Path(video)
        if path.is_file() and path.stat().st_size == size:
            return path
        if not content:
            raise DVAError(f"{video} is missing on the worker's machine; share its folder, under the same path on all machines.")
        copy = Path(self.scratch.name) / f"{hashlib.sha256(video.encode()).hexdigest()[:16]}{path.suffix}"
        if not copy.is_file() or copy.stat().st_size != size:
            for old in Path(self.scratch.name).glob(f"*{path.suffix}"):
                old.unlink()
            np.asarray(content[0]()).tofile(copy)
        return copy

    def _tell(self, phase: str, done: float, total: int, preview: Any = None) -> None:
        self.state = {"phase": phase, "done": done, "total": total}


def encode_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a manifest as arguments of `encode`; missing ones take its defaults."""
    names = ("steps", "solver", "power", "clamp", "start", "length", "every", "max_frames", "detector", "batch_size")
    return {name: settings[name] for name in names if settings[name] is not None}
