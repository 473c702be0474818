"""Regions measured on drawings: where the drawings are, wherever the face lies in its picture."""

from __future__ import annotations

import numpy as np

from dva_core.faces.regions import MEAN_FACE
from dva_core.train.faces import FaceSet
from dva_core.train.regions import measure_regions


def faces(scale: float, shift: float) -> FaceSet:
    """Three grey pictures with a mean face, of another size and in another place."""
    points = np.stack([128 * (scale * (MEAN_FACE - 0.5) + 0.5 + shift)] * 3).astype(np.float32)
    pictures = np.full((3, 128, 128, 3), 150, np.uint8)
    nothing = np.zeros((3, 0))
    return FaceSet(pictures, points, nothing, nothing, nothing, [], np.arange(3), np.zeros(3), np.zeros(3, bool))


def test_a_region_is_where_its_kinds_are_drawn():
    kinds = {"moustache": ("Mustache",), "eyes": ("Eyeglasses", "Sunglasses")}
    maps, moved = (measure_regions(faces(*place), count=3, kinds=kinds) for place in ((1.0, 0.0), (0.8, 0.05)))
    for name, inside, outside in (("moustache", (33,), (8, 27, 57)), ("eyes", (37, 44, 27), (8, 33, 57))):
        at = [maps[name][tuple((MEAN_FACE[i] * 32).astype(int)[::-1])] for i in (*inside, *outside)]
        assert min(at[: len(inside)]) > 0.4 and max(at[len(inside) :]) < 0.05, name
        assert maps[name].shape == (32, 32) and maps[name].min() >= 0 and 0.9 < maps[name].max() <= 1
        assert np.abs(maps[name] - moved[name]).mean() < 0.03 * maps[name].max()
