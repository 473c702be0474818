"""What the page is told while a prompt runs: progress, pictures; and how soon it ends when it is cancelled."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from .comfy_server import READY_SECONDS
from .graphs import FRAMES, HERE, STEPS, example, of_class, quick

SLOW_STEPS = 40  # none may be through before it is cancelled, however long the test has to wait


@pytest.fixture
def watch(server):
    """watch(prompt, cancel=None): what watch.py says of a run."""

    def run(prompt: dict[str, Any], cancel: str | None = None) -> dict[str, Any]:
        order = json.dumps({"server": server.url, "prompt": prompt, "cancel": cancel})
        done = subprocess.run([server.python, HERE / "watch.py"], input=order, capture_output=True, text=True, timeout=READY_SECONDS)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_progress_counts_frames_and_steps_and_shows_the_face(server, videos, watch):
    prompt = quick(example("edit_by_attribute"), max_frames=FRAMES)  # as in no other test: nothing is in the cache
    record = watch(prompt)
    assert record["end"] == "execution_success"
    drops_updates = "PROGRESS_THROTTLE" in (server.comfy / "comfy" / "utils.py").read_text(
        encoding="utf-8"
    )  # those within .1 s, newer hosts
    for kind, evaluations in (("DVAEncodeDecomposed", 2 * STEPS - 1), ("DVADecodeDDIM", STEPS)):
        (node,) = of_class(prompt, kind)
        steps = [(value, most) for name, value, most in record["steps"] if name == node]
        frames_done = [value for value, most in steps if most == FRAMES * evaluations]
        assert len(frames_done) >= (2 if drops_updates else evaluations)
        assert frames_done == sorted(frames_done) and frames_done[-1] == FRAMES * evaluations
        pictures = record["pictures"].get(node, [])
        assert pictures, f"{kind} showed nothing"
        for picture in pictures:
            assert picture["format"] == "JPEG" and picture["size"][0] == picture["size"][1] <= 512 and picture["contrast"] > 10


def test_cancelling_while_decoding_keeps_what_was_encoded(server, videos, watch):
    slow = quick(example("edit_by_attribute"), steps=SLOW_STEPS, max_frames=1, detail="model")  # an edit that only draws takes no steps
    (decode,) = of_class(slow, "DVADecodeDDIM")
    record = watch(slow, cancel=decode)
    assert record["end"] == "execution_interrupted"
    last = max(value for node, value, _ in record["steps"] if node == decode)
    assert last < SLOW_STEPS and record["late"] <= 2  # one that was under way, one whose message was
    (encode,) = of_class(slow, "DVAEncodeDecomposed")
    again = {key: node for key, node in slow.items() if node["class_type"] in ("DVALoadModel", "DVALoadVideo", "DVAEncodeDecomposed")}
    again["90"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [encode, 0], "filename_prefix": "cancelled"}}
    answer = server.run(again)
    assert answer.succeeded and {"DVALoadVideo", "DVAEncodeDecomposed"} <= {again[key]["class_type"] for key in answer.cached}


def test_cancelling_while_encoding(server, videos, watch):
    before = set((server.base / "temp").iterdir())
    slow = quick(example("edit_by_attribute"), steps=1000, max_frames=2)
    (encode,) = of_class(slow, "DVAEncodeDecomposed")
    record = watch(slow, cancel=encode)
    assert record["end"] == "execution_interrupted" and record["late"] <= 2
    assert set((server.base / "temp").iterdir()) == before  # nothing is left behind
    assert server.get("/system_stats")
