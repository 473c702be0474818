"""Pairs are the same whatever number of processes makes them, and whatever threads the program has when it begins."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import need_shared

from dva_core.errors import DVAError
from dva_core.train.faces import read_faces
from dva_core.train.pairs import KINDS, Pairs, load_pairs, make_changes


def test_two_processes_make_what_one_makes():
    faces = read_faces(need_shared("data/faces128"), ("faker",)).take(np.arange(12))
    tasks = [(kind, faces.pictures[row], faces.landmarks[row], row) for kind in ("Beard", "Eyeglasses") for row in range(12)]
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.float32), None, 9)  # its threads run: a fork would wait for them for ever
        one, two = ([pair for part in make_changes(tasks, None, processes) for pair in part] for processes in (1, 2))
    finally:
        cv2.setNumThreads(threads)
    assert len(one) == len(two) == 24
    assert all(np.array_equal(x, y) for pair, other in zip(one, two) for x, y in zip(pair, other))


def test_pairs_come_back_from_their_file(tmp_path):
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    mask, landmarks = rng.integers(0, 256, (3, 8, 8), dtype=np.uint8), rng.random((3, 68, 2), np.float32)
    pairs = Pairs(before, after, mask, landmarks, np.array([0, 2, 2]), np.arange(3), np.array([False, False, True]))
    pairs.save(tmp_path / "pairs.npz")
    again = load_pairs(tmp_path)
    assert all(np.array_equal(value, getattr(again, name)) for name, value in vars(pairs).items())
    assert list(again.rows(KINDS[2])) == [1, 2] and list(again.rows(KINDS[2], held_out=True)) == [2]
    (tmp_path / "pairs.npz").write_bytes((tmp_path / "pairs.npz").read_bytes()[:1000])
    with pytest.raises(DVAError, match="damaged"):
        load_pairs(tmp_path)
