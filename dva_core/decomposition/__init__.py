"""The decomposition of a video: vectors and arrays, the record of its source, its file."""

from __future__ import annotations

from .decomposition import SOFT_MASKS, Decomposition, check_model, close_on_error, has_switched_arrays, switches_arrays
from .info import DecompositionInfo

ClipInfo = DecompositionInfo  # its former name, for what is written against it

__all__ = [
    "SOFT_MASKS",
    "ClipInfo",
    "Decomposition",
    "DecompositionInfo",
    "check_model",
    "close_on_error",
    "has_switched_arrays",
    "switches_arrays",
]
