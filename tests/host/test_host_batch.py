"""A batch on a real server: the graph that is made of settings, uploads by content, a folder of decompositions that is kept."""

from __future__ import annotations

import shutil

import numpy as np
from video_helpers import pictures

from dva_core.batch import make_manifest, make_plan, run_on_servers
from dva_core.video.images import save_picture

from .graphs import FRAMES, SIDE, STEPS

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


def test_people_and_masks_of_a_batch_become_a_graph_that_runs(server, videos, tmp_path):
    """The second of two people is edited, and nothing where the masks, a picture or one a frame, are white."""
    shutil.copyfile(videos["two.mp4"], tmp_path / "two.mp4")
    (tmp_path / "masks").mkdir()
    mask = np.zeros((288, 2 * SIDE, 3), np.uint8)
    mask[222:] = 255
    for name in ("mask.png", *(f"masks/{n:02d}.png" for n in range(FRAMES))):
        save_picture(tmp_path / name, mask)
    edit = {"attributes": {"Beard": 1.0}, "guidance": 2}
    edits = {
        "all": edit,
        "second": edit | {"person": 2},
        "picture": edit | {"keep": "mask.png"},
        "film": edit | {"keep": "masks", "person": 2},
        "nobody": edit | {"person": 7},
    }
    batch = {"videos": [{"file": "two.mp4", "face": "all"}], "edits": edits, "settings": {"steps": STEPS, "quality": 0}}
    plan = make_plan(make_manifest(batch), tmp_path)
    summary = run_on_servers(plan, [server.url])
    assert set(summary.failed) == {"two_nobody"} and "person 7" in summary.failed["two_nobody"].lower()
    source = pictures(tmp_path / "two.mp4").astype(int)
    changed = {
        job.spec.keep or job.edit: np.abs(pictures(job.result) - source).max((0, 3)) > 24 for job in plan.jobs if job.result.exists()
    }
    sides = {name: (there[:, :SIDE].any(), there[:, SIDE:].any()) for name, there in changed.items()}
    assert sides["all"] == (True, True) and sum(sides["second"]) == 1 and sides["masks"] == sides["second"] and changed["mask.png"].any()
    assert changed["all"][230:].any() and not changed["mask.png"][230:].any() and not changed["masks"][230:].any()
