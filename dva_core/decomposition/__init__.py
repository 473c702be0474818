"""The decomposition of a video: vectors and arrays, the record of its source, its file."""

from __future__ import annotations

from .decomposition import Decomposition, check_model, close_on_error, has_switched_arrays, switches_arrays
from .info import ClipInfo

__all__ = ["ClipInfo", "Decomposition", "check_model", "close_on_error", "has_switched_arrays", "switches_arrays"]
