"""The record in a decomposition's file: its video and its edits, checked against its arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DVAError
from .arrays import SOFT_MASKS, array_specs, soft_mask_spec
from .info import FORMAT, VERSION, VERSION_OVER_TIME, VERSION_PEOPLE, DecompositionInfo
from .tensorfile import TensorStore


def read_record(store: TensorStore, path: Path) -> tuple[DecompositionInfo, tuple[dict[str, Any], ...]]:
    """Read the record of the video and the operations from the metadata of an open store; DVAError if they do not fit its arrays.

    path: for messages.
    """
    if store.metadata.get("format") != FORMAT:
        raise DVAError(f"{path} is not a decomposition; give one that `encode` wrote.")
    if store.metadata.get("version") == str(VERSION_PEOPLE):
        raise DVAError(f"{path} holds several people; open it with load_decomposition, and split it for what takes one person.")
    if store.metadata.get("version") not in (str(VERSION), str(VERSION_OVER_TIME)):
        version = store.metadata.get("version")
        raise DVAError(f"{path} has version {version} of the format and this program reads up to {VERSION_PEOPLE}; encode the video again.")
    try:
        info = DecompositionInfo.from_metadata(store.metadata)
        operations = tuple(dict(operation) for operation in json.loads(store.metadata["operations"]))
        faces, image, crop = store.specs["x_T"].shape[0], store.specs["x_T"].shape[-1], store.specs["crops"].shape[1]
        expected = array_specs(faces, image, crop, store.specs["z_id"].shape[0], store.specs["motion_shift"].shape[0])
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise DVAError(f"{path} lacks part of what a decomposition holds; encode the video again.") from error
    if SOFT_MASKS in store.specs:
        expected[SOFT_MASKS] = soft_mask_spec(faces, crop)
    if any(store.specs.get(name) != spec for name, spec in expected.items()):
        raise DVAError(f"{path} holds arrays that do not fit each other; encode the video again.")
    index, quads = store.read("frame_index"), store.read("quads")
    if not faces or index[0] < 0 or index[-1] >= info.frames or (np.diff(index) <= 0).any() or not np.isfinite(quads).all():
        raise DVAError(f"{path} holds frames that its video does not have; encode the video again.")
    return info, operations


def switches_arrays(operations: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether an operation replaces motion or noise maps by those of another video."""
    return any(
        operation.get("name") == "switch"
        and (operation.get("motion") or operation.get("background") or operation.get("noise_seed") is not None)
        for operation in operations
    )


def has_switched_arrays(store: TensorStore) -> bool:
    """Tell whether the motion or noise maps in a file are those of another video, because it was saved after a switch."""
    return switches_arrays(json.loads(store.metadata.get("operations", "[]")))
