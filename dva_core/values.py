"""Checks of numbers from callers, and their conversion to numbers that JSON can store."""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsIndex

from .errors import DVAError


def whole(value: SupportsIndex | float | None, name: str, least: int | None = None) -> int | None:
    """Convert a whole number of any type (numpy's, 3.0) to int; None is returned as None. DVAError for others, or below `least`."""
    if value is None:
        return None
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = int(value) if _is_real(value) and float(value).is_integer() else None
    if number is None or (least is not None and number < least):
        raise DVAError(f"The {name} cannot be {value!r}; use a whole number{'' if least is None else f' from {least} up'}.")
    return number


def real(value: Any, name: str) -> float | None:
    """Convert a finite number of any type (Fraction, numpy's) to float; None is returned as None. DVAError for others."""
    if value is None:
        return None
    if not _is_real(value) or not math.isfinite(value):
        raise DVAError(f"The {name} cannot be {value!r}; use a number.")
    return float(value)


def _is_real(value: Any) -> bool:
    if isinstance(value, (bool, str, bytes)):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
