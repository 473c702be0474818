"""The decomposed clip: vectors and arrays, where it came from, its file."""

from __future__ import annotations

from .decomposition import Decomposition, abandoned_on_error, check_model, lost_arrays, switches_arrays
from .info import ClipInfo

__all__ = ["ClipInfo", "Decomposition", "abandoned_on_error", "check_model", "lost_arrays", "switches_arrays"]
