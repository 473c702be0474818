"""The server's cache, its queue, cancelling, and what users see when something is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from video_helpers import pictures

from dva_core.decomposition import Decomposition

from .comfy_server import Refused
from .graphs import FRAMES, example, of_class, quick

NOBODY = "nobody.mp4"


def edit(**changes):
    """The first example."""
    return quick(example("edit_by_attribute"), **changes)


@pytest.fixture
def prompt(server, videos):
    return edit()


def decoded(server, prompt, answer) -> np.ndarray:
    """The frames that Decode DDIM wrote."""
    (node,) = of_class(prompt, "DVADecodeDDIM")
    return pictures(server.file(answer.outputs[node]["images"][0]))


def test_another_strength_runs_only_edit_and_decode(server, prompt):
    (node,) = of_class(prompt, "DVAEditIdentityClassifier")
    results = []
    for scales in ('{"Male": -0.8}', '{"Male": -0.31}', '{"Male": -0.8}'):
        prompt[node]["inputs"]["attributes"] = scales
        answer = server.run(prompt)
        assert answer.succeeded, answer.error
        results.append(decoded(server, prompt, answer))
        if len(results) > 1:
            assert {prompt[key]["class_type"] for key in answer.cached} == {"DVALoadModel", "DVALoadVideo", "DVAEncodeDecomposed"}
    np.testing.assert_array_equal(results[0], results[2])  # what lies in the cache is not changed by using it
    assert (results[0] != results[1]).any()


def test_two_prompts_queued_run_one_after_the_other(server, videos):
    ids = [server.queue(edit(attributes=f'{{"Young": {scale}}}')) for scale in (0.7, -0.7)]
    results = []
    for prompt_id in ids:
        answer = server.wait(prompt_id)
        assert answer.succeeded, answer.error
        (output,) = next(out["images"] for out in answer.outputs.values() if "dva_before" not in out and "images" in out)
        results.append(pictures(server.file(output)))
    assert not np.array_equal(*results)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "startr"}, "There is no model 'startr'"),
        ({"model": "../../secret.safetensors"}, "There is no model"),
        ({"attributes": '{"Young": 0.5'}, "not valid JSON"),
        ({"attributes": '{"Young": "very"}'}, 'The scale of Young is "very" and must be a number'),
        ({"attributes": '{"Yung": 1}'}, "no attribute Yung; did you mean Young"),
        ({"attributes": '{"Young": 99}'}, "The scale 99 of Young makes no sense"),
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
        ({"start": 500.0}, "DVALoadVideo", "No frame of"),
        ({"power": 0.3}, "DVAEncodeDecomposed", "0.3 is not a power for the timesteps; choose 0.5 to 4"),
        ({"face": "reference"}, "DVAEncodeDecomposed", "connect the picture"),
    ],
)
def test_what_goes_wrong_is_said_on_the_node(server, videos, changes, kind, says):
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
    decomposition = Decomposition.load(path)
    assert decomposition.faces == FRAMES and decomposition.operations[0]["name"] == "attributes"
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
