"""The decomposition of a video: vectors and arrays, the record of its source, its file."""

from __future__ import annotations

from .arrays import SOFT_MASKS
from .decomposition import Decomposition, check_model
from .info import DecompositionInfo
from .people import People, combine, load_decomposition, pick
from .record import has_switched_arrays, switches_arrays
from .tensorfile import close_on_error

ClipInfo = DecompositionInfo  # its former name, for code that uses it

__all__ = [
    "SOFT_MASKS",
    "ClipInfo",
    "Decomposition",
    "DecompositionInfo",
    "People",
    "check_model",
    "close_on_error",
    "combine",
    "has_switched_arrays",
    "load_decomposition",
    "pick",
    "switches_arrays",
]
