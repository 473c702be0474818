"""Stretches of frames."""

from __future__ import annotations

from dva_core.faces.segments import spans


def test_spans():
    assert spans([]) == [] and spans([3]) == [[3, 3]]
    assert spans([0, 1, 2, 5, 6, 9]) == [[0, 2], [5, 6], [9, 9]] and spans([0, 1, 2, 5, 6, 9], 3) == [[0, 9]]
