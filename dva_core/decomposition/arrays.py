"""The arrays of a decomposition: names and shapes, reading rows, and edits that change over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DVAError
from .header import Spec
from .tensorfile import TensorStore

SOFT_MASKS = "soft_masks"  # an array that not every decomposition has


def array_specs(faces: int, image_size: int, crop_size: int, identity_dim: int, motion_dim: int) -> dict[str, Spec]:
    """Names, types and shapes of the arrays of a decomposition with `faces` rows."""
    return {
        "quads": Spec.of("f8", faces, 4, 2),  # corners of the face square in the frame, pixels
        "frame_index": Spec.of("i8", faces),  # which frame each row belongs to
        "segment": Spec.of("i8", faces),  # number of the unbroken stretch it lies in; nothing is smoothed across stretches
        "z_id": Spec.of("f4", identity_dim),
        "z_id_frames": Spec.of("f4", faces, identity_dim),
        "z_id_edited": Spec.of("f4", identity_dim),
        "z_motion": Spec.of("f4", faces, motion_dim),
        "motion_shift": Spec.of("f4", motion_dim),
        "x_T": Spec.of("f2", faces, 3, image_size, image_size),
        "rebuilt": Spec.of("f2", faces, 3, image_size, image_size),  # in [-1, 1], decoded from the stored x_T
        "crops": Spec.of("u1", faces, crop_size, crop_size, 3),
        "masks": Spec.of("u1", faces, crop_size, crop_size),  # 1 = face
    }


def soft_mask_spec(faces: int, crop_size: int) -> Spec:
    """Type and shape of `soft_masks`, an additional array of models that segment what is in front of the face.

    [F, 3, C, C] in 0..255: for each pixel the share of visible face, the share of what is in front, and the hull of the landmarks.
    """
    return Spec.of("u1", faces, 3, crop_size, crop_size)


def row_numbers(index: slice | Sequence[int] | np.ndarray, count: int) -> Sequence[int]:
    """Convert an index with numpy's meaning, a slice, integers or a bool mask [count], to row numbers.

    IndexError for anything else, and for rows that are not there.
    """
    if isinstance(index, slice):
        return range(count)[index]
    if isinstance(index, range):
        index = np.arange(index.start, index.stop, index.step)
    if not isinstance(index, (list, np.ndarray)):
        raise IndexError(f"rows are chosen by a number, a slice, a list of numbers or a mask, not by {index!r}")
    indices = np.asarray(index if len(index) else np.empty(0, int))
    if indices.ndim != 1 or indices.dtype.kind not in "iub":
        raise IndexError(f"rows are chosen by whole numbers or a mask in one dimension, not by {indices.dtype} {indices.shape}")
    return np.arange(count)[indices].tolist()


class Rows:
    """One array of a store, read when it is indexed along its first axis, as in numpy.

    `rows[3]`, `rows[-1]`, `rows[2:8]`, `rows[[0, 5, 9]]`, `rows[mask]`; IndexError for several indices at once (write rows[2][1]).
    """

    def __init__(self, store: TensorStore, name: str):
        self._store, self._name = store, name
        self.dtype, self.shape = store.specs[name].dtype, store.specs[name].shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> np.ndarray:
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            return self._one(range(len(self))[index])
        if isinstance(index, np.ndarray) and index.ndim == 0:
            raise IndexError("rows are chosen by a number, not by an array without dimensions")
        rows = row_numbers(index, len(self))
        if isinstance(rows, range) and rows.step == 1:
            return self._store.read(self._name, rows.start, max(rows.start, rows.stop))
        return np.stack([self._one(i) for i in rows]) if rows else np.empty((0, *self.shape[1:]), self.dtype)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows are read from their store, which makes a copy")
        return np.asarray(self[:], dtype)

    def _one(self, i: int) -> np.ndarray:
        return self._store.read(self._name, i, i + 1)[0]


@dataclass(frozen=True)
class Steps:
    """A step that changes over time: in row n, sum_k weights[n, k] vectors[k].

    `weights` [F, K] float64 of the F frames with a face, `vectors` [K, D] float64: a few kB, however long the video.
    """

    weights: np.ndarray
    vectors: np.ndarray

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Step [n, D] float64 at the row numbers `rows` [n]."""
        return self.weights[rows] @ self.vectors

    def select(self, rows: np.ndarray) -> Steps:
        """The step restricted to these `rows` of the decomposition."""
        return Steps(self.weights[rows], self.vectors)


def read_steps(store: TensorStore, space: str, faces: int, like: str) -> tuple[Steps, ...]:
    """Read the edits over time in one space from a file, in order. DVAError where their shapes do not fit its frames."""
    all_steps: list[Steps] = []
    while f"{space}_steps.{len(all_steps)}.weights" in store.specs:
        name = f"{space}_steps.{len(all_steps)}"
        parts = [store.specs.get(f"{name}.{part}") for part in ("weights", "vectors")]
        if any(spec is None or spec.dtype.kind != "f" or len(spec.shape) != 2 for spec in parts):
            raise DVAError("The file holds edits over time that are damaged; encode the video again.")
        steps = Steps(*(store.read(f"{name}.{part}") for part in ("weights", "vectors")))
        if steps.weights.shape != (faces, len(steps.vectors)) or steps.vectors.shape[1:] != store.specs[like].shape:
            raise DVAError("The file holds edits over time that do not fit its frames; encode the video again.")
        all_steps.append(steps)
    return tuple(all_steps)
