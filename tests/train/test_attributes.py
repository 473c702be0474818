"""Attribute directions: probes find what is there, shifts are symmetric and still, each in its space."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.train.attributes import MIRROR51, expression_shift, fit_directions, probe
from dva_core.train.faces import FaceSet

rng = np.random.default_rng(0)


def test_probe_tells_what_is_linear_and_not_what_is_noise():
    people = np.repeat(np.arange(60), 3)
    labels = np.repeat(rng.integers(0, 2, 60), 3)
    inputs = rng.normal(size=(180, 16))
    _, _, chance = probe(inputs, labels, people, 0.1)
    inputs[:, 4] += 3 * labels
    weight, _, auc = probe(inputs, labels, people, 0.1)
    assert auc > 0.9 and abs(chance - 0.5) < 0.2
    assert np.argmax(np.abs(weight)) == 4 and weight[4] > 0


def smiling_faces(count: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    base = rng.uniform(0.3, 0.7, (51, 2))
    base = (base + base[MIRROR51] * (-1, 1) + (1, 0)) / 2  # a symmetric face
    labels = rng.integers(0, 2, count)
    motion = np.repeat(base[None], count, 0) + rng.normal(0, 0.003, (count, 51, 2)) + rng.normal(0, 0.02, (count, 1, 2))
    motion[labels == 1, 31] += (-0.03, -0.02)  # the mouth's corners
    motion[labels == 1, 37] += (0.03, -0.02)
    return motion.reshape(count, -1), labels, np.array(["a", "b"])[np.arange(count) % 2]


def test_expression_shift_is_the_smile_and_nothing_else():
    motion, labels, sets = smiling_faces()
    motion[sets == "b"] += 0.2  # another set frames its pictures in another way
    shift = expression_shift(motion, labels, sets, components=102).reshape(51, 2)
    assert np.allclose(shift[MIRROR51] * (-1, 1), shift, atol=1e-9)
    assert shift[31] == pytest.approx([-0.03, -0.02], abs=0.004)
    assert not shift[:31].any()  # the mouth alone
    assert np.allclose(shift[31:].mean(0), 0, atol=1e-9)  # level: its lift would be the square's


def test_directions_name_the_space_that_knows_the_attribute():
    motion, smile, sets = smiling_faces(120)
    z_id = rng.normal(size=(120, 8))
    glasses = (z_id[:, 0] > 0).astype(float)
    faces = FaceSet(
        *(np.zeros(120) for _ in range(4)),
        labels=np.stack([glasses, smile, rng.integers(0, 2, 120)], 1).astype(np.float32),
        names=["Eyeglasses", "Smiling", "Bangs"],
        person=np.arange(120).astype(str),
        source=sets,
        held_out=np.zeros(120, bool),
    )
    directions = fit_directions(faces, z_id, motion)
    assert {entry["name"]: entry["space"] for entry in directions.entries} == {"Eyeglasses": "identity", "Smiling": "motion"}
    assert all(entry["auc"] >= 0.8 for entry in directions.entries)
    weight = directions.tensors["attributes.identity.weight"][0].numpy()
    assert np.argmax(np.abs(weight)) == 0 and weight[0] > 0
    assert directions.tensors["attributes.motion.shift"].shape == (1, 102)
