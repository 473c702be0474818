"""Storage of a decomposition's arrays: a file, memory, or an unnamed file for large ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..decomposition import SOFT_MASKS
from ..decomposition.arrays import array_specs, soft_mask_spec
from ..decomposition.info import DecompositionInfo
from ..decomposition.parts import PartStore, join, prefix_of
from ..decomposition.people import people_metadata
from ..decomposition.tensorfile import TensorFile, TensorMemory, TensorStore

IN_MEMORY = 64_000_000  # bytes of arrays up to which a decomposition without a file stays in memory


def create_store(
    path: str | Path | None, scratch: str | Path | None, model, faces: Sequence[int], infos: Sequence[DecompositionInfo]
) -> TensorStore:
    """Create the store of the arrays of one person or several, with the given numbers of `faces`.

    It is a file at `path`; without a path memory, or for large arrays an unnamed file in `scratch`.
    """
    records = [{**info.to_metadata(), "operations": "[]"} for info in infos]
    own = [array_specs(count, model.image_size, model.crop_size, model.identity_dim, model.motion_dim) for count in faces]
    if model.tells_front:
        for specs, count in zip(own, faces):
            specs[SOFT_MASKS] = soft_mask_spec(count, model.crop_size)
    several = len(infos) > 1
    specs = join({prefix_of(info.person): specs for info, specs in zip(infos, own)}) if several else own[0]
    metadata = people_metadata(records) if several else records[0]
    if path is not None:
        return TensorFile.create(path, specs, metadata)
    if sum(spec.bytes for spec in specs.values()) <= IN_MEMORY:
        return TensorMemory(specs, metadata)
    return TensorFile.scratch(specs, metadata, scratch)


def parts_of(store: TensorStore, infos: Sequence[DecompositionInfo]) -> list[TensorStore]:
    """The store of each person within the common store."""
    if len(infos) == 1:
        return [store]
    return [PartStore(store, info.person, {**info.to_metadata(), "operations": "[]"}) for info in infos]
