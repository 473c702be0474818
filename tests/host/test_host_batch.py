"""A batch on a real server: the graph that is made of settings, uploads by content, a folder of decompositions that is kept."""

from __future__ import annotations

import shutil

import numpy as np
from video_helpers import pictures

from dva_core.batch import make_manifest, make_plan, run_on_servers

from .graphs import FRAMES, STEPS

EDITS = {"older": {"Young": -0.8}, "over time": {"attributes": {"Eyeglasses": {"0s": 0, "0.2s": 1}}, "guidance": 2, "region": "off"}}


def test_settings_become_a_graph_that_runs(server, videos, tmp_path):
    """Twice, of which the second time the video is opened from the folder; the results are the same."""
    (tmp_path / "clips").mkdir()
    shutil.copyfile(videos["other.mp4"], tmp_path / "clips" / "other.mp4")
    results_by_run, there = [], set((server.base / "input").glob("dva/*"))  # of other tests
    for results in ("first", "second"):
        batch = {"videos": ["clips"], "edits": EDITS, "settings": {"steps": STEPS, "quality": 0}, "keep_clips": True, "results": results}
        plan = make_plan(make_manifest(batch), tmp_path)
        summary = run_on_servers(plan, [server.url])
        assert not summary.failed and summary.done == 2
        results_by_run.append([pictures(job.result) for job in plan.jobs])
        server.request("/free", {"unload_models": False, "free_memory": True})  # its cache is emptied
    assert len(list((server.base / "output" / "dva_clips").glob("*.safetensors"))) == 1
    assert len(set((server.base / "input").glob("dva/*")) - there) == 1
    source = pictures(tmp_path / "clips" / "other.mp4")
    for first, second in zip(*results_by_run):
        assert len(first) == len(source) == FRAMES - 2
        np.testing.assert_array_equal(first, second)
        assert np.abs(first.astype(int) - source).mean() > 0.1
