"""The server's cache, its queue, cancelling, and what users see when something is wrong."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dva_core.decomposition import Decomposition

from .comfy_server import Refused
from .graphs import FRAMES, example, of_class, pictures, quick

NOBODY, SLOW_STEPS = "nobody.mp4", 80


def edit(**changes):
    """The first example."""
    return quick(example("edit_by_attribute"), **changes)


@pytest.fixture
def prompt(server, clips):
    return edit()


def test_another_strength_runs_only_edit_and_decode(server, prompt):
    assert server.run(prompt).succeeded
    (node,) = of_class(prompt, "DVAEditIdentityClassifier")
    prompt[node]["inputs"]["attributes"] = '{"Male": -0.31}'
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    assert {prompt[key]["class_type"] for key in answer.cached} == {"DVALoadModel", "DVALoadVideo", "DVAEncodeDecomposed"}


def test_cancelling_while_decoding_keeps_what_was_encoded(server, clips):
    slow = edit(steps=SLOW_STEPS, max_frames=1)
    (node,) = of_class(slow, "DVAEditIdentityClassifier")
    assert server.run(slow).succeeded
    slow[node]["inputs"]["attributes"] = '{"Male": -0.77}'
    seconds = cancel(server, server.queue(slow))
    assert seconds < 10
    answer = server.run(slow)
    assert answer.succeeded and "DVAEncodeDecomposed" in {slow[key]["class_type"] for key in answer.cached}


def test_cancelling_while_encoding(server, clips):
    before = set((server.base / "temp").iterdir())
    assert cancel(server, server.queue(edit(steps=1000, max_frames=2))) < 10
    assert set((server.base / "temp").iterdir()) == before  # nothing is left behind
    assert server.run(edit()).succeeded


def cancel(server, prompt_id: str) -> float:
    """Interrupts a prompt once it is well under way; the seconds until it had ended."""
    until = time.monotonic() + 120
    while not any(item[1] == prompt_id for item in server.get("/queue")["queue_running"]):
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.3)
    began = time.monotonic()
    server.request("/interrupt", {})
    answer = server.wait(prompt_id)
    assert answer.message("execution_interrupted") and not answer.succeeded
    return time.monotonic() - began


def test_two_prompts_queued_run_one_after_the_other(server, clips):
    ids = [server.queue(edit(attributes=f'{{"Young": {scale}}}')) for scale in (0.7, -0.7)]
    results = []
    for prompt_id in ids:
        answer = server.wait(prompt_id)
        assert answer.succeeded, answer.error
        (shown,) = next(out["images"] for out in answer.outputs.values() if "dva_before" not in out and "images" in out)
        results.append(pictures(server.file(shown)))
    assert not np.array_equal(*results)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "startr"}, "There is no model 'startr'"),
        ({"model": "../../secret.safetensors"}, "There is no model"),
        ({"attributes": '{"Young": 0.5'}, "not valid JSON"),
        ({"attributes": '{"Young": "very"}'}, 'The scale of Young is "very" and must be a number'),
        ({"file": "gone.mp4"}, "There is no video 'gone.mp4'"),
        ({"file": "../server.log"}, "There is no video"),
        ({"steps": 0}, "smaller than min"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(server, prompt, changes, says):
    for node in prompt.values():
        for name, value in changes.items():
            if name in node["inputs"] and not isinstance(node["inputs"][name], list):
                node["inputs"][name] = value
    with pytest.raises(Refused) as refused:
        server.queue(prompt)
    assert any(says in reason for reason in refused.value.reasons), refused.value.reasons
    assert server.get("/system_stats")


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"file": NOBODY}, "DVAEncodeDecomposed", f"No face was found in the {FRAMES} frames of"),
        ({"attributes": '{"Yung": 1}'}, "DVAEditIdentityClassifier", "no attribute Yung; did you mean Young"),
        ({"attributes": '{"Young": 99}'}, "DVAEditIdentityClassifier", "The scale 99 of Young makes no sense"),
        ({"start": 500.0}, "DVALoadVideo", "No frame of"),
        ({"face": "reference"}, "DVAEncodeDecomposed", "connect the picture"),
    ],
)
def test_what_goes_wrong_is_said_on_the_node(server, clips, changes, kind, says):
    prompt = edit(**changes)
    answer = server.run(prompt)
    body = answer.message("execution_error")
    assert not answer.succeeded and body["node_type"] == kind
    assert says in answer.error and "\n" not in answer.error
    assert server.get("/system_stats")


def test_nothing_connected(server, prompt):
    (node,) = of_class(prompt, "DVAEncodeDecomposed")
    del prompt[node]["inputs"]["video"]
    assert "Connect either a video or images" in server.run(prompt).error


def test_saved_and_loaded_decompositions_are_the_same(server, prompt):
    (encoded,), (decode,) = of_class(prompt, "DVAEditIdentityClassifier"), of_class(prompt, "DVADecodeDDIM")
    prompt["90"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [encoded, 0], "filename_prefix": "dva/kept"}}
    answer = server.run(prompt)
    first = pictures(server.file(answer.outputs[decode]["images"][0]))
    path = answer.outputs["90"]["text"][0]
    clip = Decomposition.load(path)
    assert clip.faces == FRAMES and clip.operations[0]["name"] == "attributes"
    listed = server.get("/object_info/DVALoadDecomposition")["DVALoadDecomposition"]["input"]["required"]["file"][1]["options"]
    name = next(name for name in listed if name.startswith("dva/kept"))
    again = edit()
    again["91"] = {"class_type": "DVALoadDecomposition", "inputs": {"file": name}}
    again[decode]["inputs"]["decomposition"] = ["91", 0]
    answer = server.run(again)
    assert answer.succeeded, answer.error
    np.testing.assert_array_equal(pictures(server.file(answer.outputs[decode]["images"][0])), first)
    again["91"]["inputs"]["file"] = "../models/dva/x.safetensors [output]"
    with pytest.raises(Refused):
        server.queue(again)
