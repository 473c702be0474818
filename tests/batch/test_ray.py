"""A batch with Ray on this machine: with a pretended worker quickly, and once with the starter. Skipped where Ray is not installed."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from batch_server import result_of
from conftest import need_shared

from dva_core.batch import make_manifest, make_plan, ray_run, run_on_ray
from dva_core.batch.journal import Journal, disk_errors
from dva_core.errors import DVAError
from dva_core.video import VideoWriter, open_video

from .plans import check_results, plan_of

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    path = os.pathsep.join([str(ray_run.PACKAGE.parent), str(Path(__file__).parents[1])])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_memory_monitor_refresh_ms", "0")  # it kills no worker because others have taken the machine's memory
        patched.setenv("RAY_worker_niceness", "0")  # 15 of its own: beside other programs its workers would hardly run
        if len(tempfile.gettempdir()) > 35:  # the names of its sockets there may have 107 characters
            patched.setenv("RAY_TMPDIR", "/tmp")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
        yield
        ray.shutdown()


def pretended(log: Path):
    """A worker that writes down what it does; the content of a video says how it behaves."""

    class Pretended:
        def __init__(self, settings, device=None, threads=None) -> None:
            self.log = log

        def note(self, *words: str) -> None:
            with open(self.log, "a") as lines:
                lines.write(" ".join(words) + "\n")

        def progress(self):
            return {"phase": "encode", "done": 1, "total": 2}

        def encode(self, video, size, content, face, folder):
            self.note("encode", video)
            if b"bad" in Path(video).read_bytes()[:10]:
                return {"error": "No face was found in it."}
            time.sleep(0.2)
            return {"key": video, "content": np.fromfile(video, np.uint8)}

        def edit(self, encoded, video, size, content, spec, suffix):
            if "error" in encoded:
                return encoded
            marker = Path(video).with_suffix(".killed")
            if b"kill" in Path(video).read_bytes()[:10] and not marker.exists():
                marker.touch()
                os._exit(1)
            self.note("edit", video, json.dumps(spec["attributes"]))
            content = result_of(bytes(encoded["content"]), json.dumps(spec["attributes"]))
            return {"content": np.frombuffer(content, np.uint8), "seconds": 0.1, "frames": 1}

    return Pretended


def lines(log: Path) -> Counter:
    return Counter(log.read_text().splitlines())


def test_four_videos_times_three_edits(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_run, "Worker", pretended(tmp_path / "log"))
    plan, events = plan_of(tmp_path), []
    summary = run_on_ray(plan, watch=events.append)
    check_results(plan)
    assert summary.done == 12 and sum(tally.jobs for tally in summary.workers.values()) == 12
    assert set(lines(tmp_path / "log").values()) == {1} and len(lines(tmp_path / "log")) == 16  # 4 encodes, 12 edits
    assert run_on_ray(plan).before == 12 and events[-1]["done"] == 12
    assert not [name for name in plan.results.iterdir() if name.name.startswith(".dva-") and name.name != ".dva-batch"]


def test_an_actor_that_dies_and_a_video_that_fails(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_run, "Worker", pretended(tmp_path / "log"))
    plan, events = plan_of(tmp_path, ["video", "kill", "bad", "video"]), []
    summary = run_on_ray(plan, watch=events.append)
    assert summary.failed == {f"v2_{edit}": "No face was found in it." for edit in "abc"} and summary.done == 9
    check_results(plan, missing=summary.failed)
    assert (tmp_path / "videos" / "v1.killed").exists()
    assert all(times == 1 for line, times in lines(tmp_path / "log").items() if line.startswith("edit"))
    assert len([event for event in events if event["event"] == "again"]) == 3


def test_a_full_disk(cluster, tmp_path, monkeypatch):
    """For the result, then for the journal: each is waited for and told of once, and nothing is computed twice."""
    monkeypatch.setattr(ray_run, "Worker", pretended(tmp_path / "log"))
    monkeypatch.setattr(ray_run, "DISK_POLL", 0.05)
    plan, events, whole, note = plan_of(tmp_path, 1), [], ray_run.atomic_write, Journal.note
    no_room = {"result": 3, "journal": 3}

    def use_room(what: str) -> None:
        if no_room[what]:
            no_room[what] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(place):
        use_room("result")
        return whole(place)

    def write_line(*words, **about) -> None:
        with disk_errors(tmp_path):
            use_room("journal")
        note(*words, **about)

    monkeypatch.setattr(ray_run, "atomic_write", write)
    monkeypatch.setattr(Journal, "note", write_line)
    assert run_on_ray(plan, workers=1, watch=events.append).done == 3
    check_results(plan)
    assert set(lines(tmp_path / "log").values()) == {1} and not any(no_room.values())
    assert len([event for event in events if event["event"] == "disk"]) == 1


def test_what_ray_cannot_do(tmp_path):
    with pytest.raises(DVAError, match="ComfyUI servers only"):
        (tmp_path / "w.json").write_text("{}")
        run_on_ray(plan_of(tmp_path, 1, workflow="w.json"))
    with pytest.raises(DVAError, match="no folder"):
        run_on_ray(plan_of(tmp_path, 1, clips="nowhere"))


@pytest.mark.timeout(1800)
def test_with_the_starter(cluster, tmp_path, one_thread):
    """The results are those of the library; a folder of decompositions holds one for each video."""
    import dva_core

    (tmp_path / "videos").mkdir()
    (tmp_path / "kept").mkdir()
    reader = open_video(need_shared("data/clips/swiz3n.mpg"), start=1.0, length=3 / 25)
    with reader, VideoWriter(tmp_path / "videos" / "face.mp4", reader.info, quality=10, audio_from=reader.path) as writer:
        for frame in reader:
            writer.write(frame)
    settings = {"steps": 2, "quality": 0, "precision": "fp32"}
    batch = {
        "videos": ["videos"],
        "edits": {"a": {"Young": 0.8}, "b": {"Beard": {"0s": 0, "0.1s": 1}}},
        "settings": settings,
        "clips": "kept",
    }
    plan = make_plan(make_manifest(batch), tmp_path)
    summary = run_on_ray(plan, workers=1)
    assert not summary.failed and summary.done == 2 and len(list((tmp_path / "kept").glob("*.safetensors"))) == 1
    model = dva_core.load_model("starter", device="cpu", dtype="fp32")
    decomposition = dva_core.encode(tmp_path / "videos" / "face.mp4", model, steps=2)
    for job in plan.jobs:
        own = tmp_path / f"{job.edit}.mp4"
        dva_core.decode(dva_core.edit.apply_attributes(decomposition, model, job.spec.attributes), model, own, quality=0)
        with open_video(job.result) as result, open_video(own) as expected:
            assert result.info.has_audio and result.count_frames() == 3
            for one, other in zip(result, expected):
                difference = np.abs(one.rgb.astype(int) - other.rgb)
                assert difference.max() <= 2 and difference.mean() < 0.01
