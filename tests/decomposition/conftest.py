"""A decomposition of drawn numbers, and the file it says it comes from."""

from fractions import Fraction

import numpy as np
import pytest

from dva_core.decomposition import Decomposition
from dva_core.decomposition.arrays import array_specs
from dva_core.decomposition.info import DecompositionInfo, source_hash
from dva_core.decomposition.tensorfile import TensorMemory


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"frames" * 1000)
    return path


@pytest.fixture
def decomposition(video):
    specs = array_specs(4, 8, 16, 10, 6)
    store = TensorMemory(specs, {})
    for seed, (name, spec) in enumerate(specs.items()):
        store.write(name, 0, (np.random.default_rng(seed).random(spec.shape) * 100))
    store.write("frame_index", 0, [0, 1, 3, 5])
    rate, track = Fraction(30000, 1001), {"found": 4}
    info = DecompositionInfo(str(video), source_hash(video), 64, 48, rate, 6, start=0.5, track=track, steps=20, solver="order2")
    return Decomposition(store, info)
