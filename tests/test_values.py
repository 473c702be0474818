"""Numbers of any kind that callers hand over."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dva_core.errors import DVAError
from dva_core.values import real, whole


@given(st.integers(-(2**31), 2**31 - 1))
def test_whole_numbers_of_any_kind_become_ints(n):
    for value in (n, np.int64(n), float(n), np.float64(n), Fraction(n), np.array(n)):
        assert whole(value, "count") == n and type(whole(value, "count")) is int
        assert real(value, "start") == n and type(real(value, "start")) is float


@pytest.mark.parametrize("value", [True, "3", b"3", 2.5, float("nan"), float("inf"), [3], {}, np.array([3, 4]), 3j, Fraction(1, 2)])
def test_what_is_no_whole_number_is_one_sentence(value):
    with pytest.raises(DVAError, match="The number of steps cannot be"):
        whole(value, "number of steps")


@pytest.mark.parametrize("value", [False, "0", float("nan"), float("-inf"), [0.5], None.__class__])
def test_what_is_no_number_is_one_sentence(value):
    with pytest.raises(DVAError, match="The start cannot be"):
        real(value, "start")


def test_limits_and_none():
    assert whole(None, "a") is None is real(None, "b")
    with pytest.raises(DVAError, match="from 1 up"):
        whole(0, "batch size", 1)
    assert real(Fraction(1, 3), "start") == 1 / 3
