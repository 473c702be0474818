"""Scene cuts: what is one, and motion that is none."""

from __future__ import annotations

import numpy as np

from dva_core.faces.track import SceneCuts

from .painted import painted


def test_fast_motion_is_not_a_cut():
    scene, base = SceneCuts(), painted(scene=3)
    assert max(scene(np.roll(base, 4 * n, axis=1)) for n in range(20)) < 1
    assert scene(painted(scene=4)) >= 1


def test_a_scene_that_keeps_moving_wildly_is_not_cut_over_and_over():
    scene = SceneCuts()
    changes = [scene(np.full((36, 64, 3), 100 + 20 * (n % 2), np.uint8)) for n in range(20)]
    assert max(changes[5:]) < 1 <= changes[1]
