"""Decompositions with drawn vectors and without a video: what edits need."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from dva_core.decomposition import Decomposition
from dva_core.decomposition.arrays import array_specs
from dva_core.decomposition.info import DecompositionInfo
from dva_core.decomposition.tensorfile import TensorMemory


def draw_decomposition(
    frames: Sequence[int],
    image_size: int = 8,
    crop_size: int = 16,
    identity_dim: int = 16,
    motion_dim: int = 6,
    rate: Fraction | int = 25,
    seed: int = 0,
    common: float = 0.0,
    length: int | None = None,
    **info,
) -> Decomposition:
    """The face is in `frames` of a video of `length` frames; `common` is added to all identities, which makes them resemble each other."""
    store = TensorMemory(array_specs(len(frames), image_size, crop_size, identity_dim, motion_dim), {})
    rng = np.random.default_rng(seed)
    identities = rng.standard_normal((len(frames), identity_dim)) + common
    identities /= np.linalg.norm(identities, axis=1, keepdims=True)
    store.write("z_id_frames", 0, identities)
    store.write("z_id", 0, identities.mean(0))
    store.write("z_motion", 0, rng.random((len(frames), motion_dim)))
    store.write("frame_index", 0, np.array(frames))
    return Decomposition(store, DecompositionInfo("/films/a.mp4", "", 4, 4, rate, length or max(frames) + 1, **info))
