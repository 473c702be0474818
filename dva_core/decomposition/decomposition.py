"""The decomposition of a face video (Kim et al. 2023, sec. 3), in memory or as a file.

For F frames with a face: one identity for the video (z_id), one motion vector and one noise map per frame (z_motion, x_T), and what
pasting back needs: crops, masks, quadrilaterals, and the crops as rebuilt from the stored noise maps. An edit changes z_id and shifts
z_motion; it never touches the arrays, so any number of edited decompositions share them. An edit over time is stored as a few vectors
and their weights per frame (`Steps`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DVAError, MissingFileError
from ..files import check_spares
from .arrays import SOFT_MASKS, Rows, Steps, read_steps
from .info import VERSION_OVER_TIME, DecompositionInfo, is_source
from .record import has_switched_arrays, read_record, switches_arrays
from .tensorfile import TensorFile, TensorStore


@dataclass(frozen=True)
class Decomposition:
    """A decomposition and its edits. Immutable: `with_edit` returns a new one that shares the arrays.

    `z_id` [D] is the mean of the frames' unit vectors, not normalised again; `z_id_edited` [D] is the identity after the edits (None:
    unedited); `motion_shift` [D_motion] is added to the motion of every frame (None: nothing). `operations` lists the edits in
    order, each a dict with its `name` and settings, as `dva_core.edit.apply_operations` takes them.

    An edit over time changes the identity from frame to frame: the `identity_steps` are added to `current_z_id` one after
    another, each followed by a normalisation, and the `motion_steps` are added to the motion.
    """

    store: TensorStore
    info: DecompositionInfo
    operations: tuple[dict[str, Any], ...] = ()
    z_id_edited: np.ndarray | None = None
    motion_shift: np.ndarray | None = None
    identity_steps: tuple[Steps, ...] = ()
    motion_steps: tuple[Steps, ...] = ()

    def close(self) -> None:
        """Close the file of the arrays. Edits of this decomposition share it and cannot be read afterwards."""
        self.store.close()

    def __enter__(self) -> Decomposition:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # -- the arrays ------------------------------------------------------------------------------------------

    @property
    def faces(self) -> int:
        """Number of rows, that is of frames with a face."""
        return self.store.specs["frame_index"].shape[0]

    @property
    def z_id(self) -> np.ndarray:
        """[D] float32, the video's identity as encoded."""
        return self.store.read("z_id")

    @property
    def z_id_frames(self) -> Rows:
        """[F, D] float32, unit length."""
        return Rows(self.store, "z_id_frames")

    @property
    def z_motion(self) -> Rows:
        """[F, D_motion] float32 as encoded, in 0..1 of the crop."""
        return Rows(self.store, "z_motion")

    @property
    def x_T(self) -> Rows:
        """[F, 3, S, S] float16 noise maps."""
        return Rows(self.store, "x_T")

    @property
    def rebuilt(self) -> Rows:
        """[F, 3, S, S] float16 in [-1, 1], decoded from the stored noise maps without an edit."""
        return Rows(self.store, "rebuilt")

    @property
    def crops(self) -> Rows:
        """[F, C, C, 3] uint8, the face squares of the frames."""
        return Rows(self.store, "crops")

    @property
    def masks(self) -> Rows:
        """[F, C, C] uint8, 1 where the face is."""
        return Rows(self.store, "masks")

    @property
    def soft_masks(self) -> Rows | None:
        """[F, 3, C, C] uint8 in 0..255: visible face, what is in front of it, hull of the landmarks; None if the model has none."""
        return Rows(self.store, SOFT_MASKS) if SOFT_MASKS in self.store.specs else None

    def visible_face(self, rows: slice | Sequence[int]) -> np.ndarray:
        """[n, C, C] float32, the share of each pixel that is visible face; 0 or 1 if there are no soft masks."""
        soft = self.soft_masks
        return self.masks[rows].astype(np.float32) if soft is None else soft[rows][:, 0].astype(np.float32) / 255

    @property
    def quads(self) -> np.ndarray:
        """[F, 4, 2] float64, the squares' corners in pixels of the frame."""
        return self.store.read("quads")

    @property
    def frame_index(self) -> np.ndarray:
        """[F] int64, the frame each row belongs to, counted over the frames that were read."""
        return self.store.read("frame_index")

    @property
    def segment(self) -> np.ndarray:
        """[F] int64, number of each row's segment, a stretch of consecutive frames with the face and without a cut."""
        return self.store.read("segment")

    # -- the edit --------------------------------------------------------------------------------------------

    @property
    def current_z_id(self) -> np.ndarray:
        """[D], the identity to decode with, without edits over time (for these see `current_identity`)."""
        return self.z_id if self.z_id_edited is None else self.z_id_edited

    def current_identity(self, rows: slice | Sequence[int]) -> np.ndarray:
        """The identity to decode these rows with: [D] if it is the same in all frames, [n, D] unit vectors if it changes over time."""
        z_id = self.current_z_id
        if not self.identity_steps:
            return z_id
        rows = np.arange(self.faces)[rows]
        z = np.asarray(z_id, np.float64)
        for steps in self.identity_steps:
            z = z + steps.at(rows)
            z = z / np.linalg.norm(z, axis=-1, keepdims=True)
        return z.astype(np.float32)

    def current_z_motion(self, rows: slice | Sequence[int]) -> np.ndarray:
        """[n, D_motion], the motion to decode with."""
        motion = self.z_motion[rows]
        if self.motion_shift is not None:
            motion = motion + self.motion_shift
        for steps in self.motion_steps:
            motion = motion + steps.at(np.arange(self.faces)[rows]).astype(np.float32)
        return motion

    @property
    def is_edited(self) -> bool:
        """Whether decoding gives anything but the rebuilt crops."""
        has_shift = self.motion_shift is not None and bool(np.any(self.motion_shift))
        over_time = any(np.any(steps.weights) for steps in self.identity_steps + self.motion_steps)
        other = self.z_id_edited is not None and not np.array_equal(self.z_id_edited, self.z_id)
        return has_shift or over_time or other or self.is_switched

    @property
    def is_switched(self) -> bool:
        """Whether motion or noise maps were replaced by another video's, so that `rebuilt` no longer belongs to them."""
        return switches_arrays(self.operations)

    def with_edit(
        self,
        operation: Mapping[str, Any] | None,
        z_id: np.ndarray | None = None,
        motion_shift: np.ndarray | None = None,
        identity_steps: tuple[Steps, ...] | None = None,
        motion_steps: tuple[Steps, ...] | None = None,
    ) -> Decomposition:
        """Add an operation (None: none). The other arguments replace the current totals; None leaves them unchanged."""
        # an operation must survive the file: fail here if it cannot
        more = () if operation is None else (json.loads(json.dumps(dict(operation))),)
        return replace(
            self,
            operations=(*self.operations, *more),
            z_id_edited=self.z_id_edited if z_id is None else np.asarray(z_id, np.float32).reshape(-1),
            motion_shift=self.motion_shift if motion_shift is None else np.asarray(motion_shift, np.float32).reshape(-1),
            identity_steps=self.identity_steps if identity_steps is None else identity_steps,
            motion_steps=self.motion_steps if motion_steps is None else motion_steps,
        )

    def with_identity_step(self, operation: Mapping[str, Any] | None, vectors: np.ndarray, weights: np.ndarray) -> Decomposition:
        """Add an operation that adds sum_k weights[k] vectors[k] to the identity and normalises it.

        vectors [K, D]; weights [K], the same in all frames, or [F, K], a row for each frame with a face.
        """
        vectors, weights = np.asarray(vectors, np.float64), np.asarray(weights, np.float64)
        if weights.ndim == 1 and not self.identity_steps:
            z = np.asarray(self.current_z_id, np.float64) + weights @ vectors
            return self.with_edit(operation, z_id=z / np.linalg.norm(z))
        steps = Steps(np.broadcast_to(weights, (self.faces, len(vectors))), vectors)
        return self.with_edit(operation, identity_steps=(*self.identity_steps, steps))

    def with_motion_step(self, operation: Mapping[str, Any] | None, vectors: np.ndarray, weights: np.ndarray) -> Decomposition:
        """Add an operation that adds sum_k weights[k] vectors[k] to every frame's motion; shapes as in `with_identity_step`."""
        vectors, weights = np.asarray(vectors, np.float64), np.asarray(weights, np.float64)
        if weights.ndim == 1:
            before = 0.0 if self.motion_shift is None else self.motion_shift
            return self.with_edit(operation, motion_shift=before + weights @ vectors)
        return self.with_edit(operation, motion_steps=(*self.motion_steps, Steps(weights, vectors)))

    def without_edits(self) -> Decomposition:
        """The decomposition as encoded. DVAError for a file saved after a switch: it holds the arrays of the other video."""
        store = getattr(self.store, "base", self.store)
        if has_switched_arrays(store):
            raise DVAError(
                "This decomposition was saved after features were switched, which replaced its own; load it as it was saved before."
            )
        return replace(self, store=store, operations=(), z_id_edited=None, motion_shift=None, identity_steps=(), motion_steps=())

    # -- the file --------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the decomposition with its edits to a .safetensors file, in blocks of rows; it may replace its own file.

        DVAError where it cannot be written, or would overwrite a source video or a decomposition that features came from.
        """
        check_spares(path, "decomposition", self.read_files)
        metadata, values, left_out = self.as_saved()
        self.store.save(path, metadata, values, left_out)

    @property
    def read_files(self) -> list[Path]:
        """Files that a saved copy must not replace: the source, at both places it may lie, and stores that hold more than this."""
        return [Path(self.info.source), self._source_path(), *self.store.files[len(self.store.own_files) :]]

    def as_saved(self) -> tuple[dict[str, str], dict[str, np.ndarray], list[str]]:
        """What `save` writes beside the unchanged arrays of the store: metadata, arrays replaced or added, names of arrays left out."""
        over_time = {
            f"{space}_steps.{i}.{name}": np.ascontiguousarray(getattr(steps, name))
            for space, all_steps in (("identity", self.identity_steps), ("motion", self.motion_steps))
            for i, steps in enumerate(all_steps)
            for name in ("weights", "vectors")
        }
        metadata = {**self.info.to_metadata(), "operations": json.dumps(self.operations)}
        values = {
            "z_id_edited": self.current_z_id,
            "motion_shift": np.zeros(self.store.specs["motion_shift"].shape) if self.motion_shift is None else self.motion_shift,
            **over_time,
        }
        left_out = [name for name in self.store.specs if "_steps." in name and name not in over_time]
        return metadata | ({"version": str(VERSION_OVER_TIME)} if over_time else {}), values, left_out

    @classmethod
    def load(cls, path: str | Path) -> Decomposition:
        """Open a file of one person written by `save` or `encode`; arrays stay on disk until read. `people.load_decomposition` opens any.

        Raises DVAError when it is missing, truncated, something else, or of a version this one does not know.
        """
        store = TensorFile.open(path)
        try:
            return cls.from_store(store, Path(path))
        except BaseException:
            store.close()
            raise

    @classmethod
    def from_store(cls, store: TensorStore, path: Path) -> Decomposition:
        """Make a decomposition from an open store; `path` is for messages."""
        info, operations = read_record(store, path)
        if not operations:
            return cls(store, info)
        faces = store.specs["x_T"].shape[0]
        over_time = (read_steps(store, space, faces, dim) for space, dim in (("identity", "z_id"), ("motion", "motion_shift")))
        return cls(store, info, operations, store.read("z_id_edited"), store.read("motion_shift"), *over_time)

    # -- the source ------------------------------------------------------------------------------------------

    def find_source(self, video: str | Path | None = None, cure: str = "give the right one as source video (--video)") -> Path:
        """Find the source: `video` if it is given, else the recorded path, else a file of that name beside the decomposition's file.

        Raises DVAError if it is missing or its content has changed (by its SHA-256); `cure` ends the message.
        """
        path = Path(video) if video is not None else self._source_path()
        if not path.exists():
            raise MissingFileError(f"The source video {path} is not there; {cure if video is None else 'check the path'}.")
        if not is_source(path, self.info.sha256):
            raise DVAError(f"{path} is not the video this decomposition was encoded from, or has changed since; {cure}.")
        return path

    def _source_path(self) -> Path:
        path = Path(self.info.source)
        own = getattr(self.store, "path", None)
        beside = own.parent / self.info.source_name if own is not None else path
        return beside if not path.exists() and beside.exists() else path


def check_model(decomposition: Decomposition, model) -> None:
    """DVAError if the decomposition was encoded with another model, whose vectors mean something else."""
    theirs, ours = decomposition.info.model_fingerprint, getattr(model, "fingerprint", "")
    if theirs != ours:
        name = decomposition.info.model_name or "another model"
        raise DVAError(
            f"This decomposition was encoded with the model {name} ({theirs[:12]}), not with the one loaded ({ours[:12]}); "
            "load that one or encode the video again."
        )
