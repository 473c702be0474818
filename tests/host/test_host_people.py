"""Several people: everyone encoded, an edit for each by number or in branches that meet again, one video; what is wrong in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from video_helpers import pictures

from .comfy_server import Refused
from .graphs import SIDE, STEPS

DEFAULTS = {
    "steps": STEPS,
    "solver": "angle2",
    "face_x": 0.5,
    "face_y": 0.5,
    "batch_size": 0,
    "max_frames": 0,
    "rate": 25.0,
    "max_images": 4,
}
EDITS = {"1": '{"Eyeglasses": 1.0}', "2": '{"Beard": 1.0}'}


@pytest.fixture(scope="module")
def two(videos) -> Path:
    """two.mp4 in the input folder: two people side by side."""
    return videos["two.mp4"]


def linked(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt with "#key" and "#key:1" as links."""
    for one in prompt.values():
        for name, value in one["inputs"].items():
            if isinstance(value, str) and value.startswith("#"):
                key, _, output = value[1:].partition(":")
                one["inputs"][name] = [key, int(output or 0)]
    return prompt


def start(**encode: Any) -> dict[str, Any]:
    return {
        "model": {"class_type": "DVALoadModel", "inputs": {"model": "starter", "precision": "fp32"}},
        "video": {"class_type": "DVALoadVideo", "inputs": {"file": "two.mp4", "start": 0.0, "length": 0.0, "every": 1}},
        "encode": {
            "class_type": "DVAEncodeDecomposed",
            "inputs": {"model": "#model", "video": "#video", "face": "everyone", **DEFAULTS, **encode},
        },
    }


def edit(decomposition: str, attributes: str, **person: str) -> dict[str, Any]:
    inputs = {"decomposition": decomposition, "model": "#model", "attributes": attributes, "normalize": True}
    return {"class_type": "DVAEditIdentityClassifier", "inputs": {**inputs, **person}}


def decode(decomposition: str) -> dict[str, Any]:
    settings = {"detail": "transfer", "quality": 0, "batch_size": 0, "max_images": 4, "compare": False}
    return {"class_type": "DVADecodeDDIM", "inputs": {"decomposition": decomposition, "model": "#model", **settings}}


def test_an_edit_for_each_in_branches_that_meet_again_and_by_number(server, two):
    prompt = start() | {
        "split": {"class_type": "DVASplitPeople", "inputs": {"decomposition": "#encode", "person": "1"}},
        "one": edit("#split", EDITS["1"]),
        "other": edit("#split:1", EDITS["2"]),
        "both": {"class_type": "DVACombinePeople", "inputs": {"a": "#other", "b": "#one"}},
        "branches": decode("#both"),
        "first": edit("#encode", EDITS["1"], person="1"),
        "second": edit("#first", EDITS["2"], person="2"),
        "numbers": decode("#second"),
        "unedited": decode("#encode"),
        "save": {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": "#second", "filename_prefix": "dva/people"}},
        "preview": {
            "class_type": "DVAPreviewEdit",
            "inputs": {"decomposition": "#second", "model": "#model", "frame": 0, "steps": 0, "detail": "transfer", "person": "2"},
        },
    }
    answer = server.run(linked(prompt))
    assert answer.succeeded, answer.error
    branches, numbers, unedited = (pictures(server.file(answer.outputs[key]["images"][0])) for key in ("branches", "numbers", "unedited"))
    source = pictures(two)
    assert np.array_equal(branches, numbers) and np.array_equal(unedited, source)
    halves = branches[:, :, :SIDE], branches[:, :, SIDE:]
    assert all((half != before).any((1, 2, 3)).all() for half, before in zip(halves, (source[:, :, :SIDE], source[:, :, SIDE:])))
    saved = sorted((server.base / "output" / "dva").glob("people*.safetensors"))[-1]
    again = linked(
        start()
        | {"load": {"class_type": "DVALoadDecomposition", "inputs": {"file": f"dva/{saved.name} [output]"}}, "again": decode("#load")}
    )
    del again["encode"], again["video"]
    answer = server.run(again)
    assert answer.succeeded, answer.error
    assert np.array_equal(pictures(server.file(answer.outputs["again"]["images"][0])), numbers)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encode": {"people": "1, 7"}}, "There is no person 7 in this video, in which people 1 and 2 were found"),
        ({"edit": {"person": "Anna"}}, "There is no person Anna in this decomposition, which holds people 1 and 2"),
        ({"preview": True}, "A preview looks at one person, and there are 1 and 2"),
        ({"split": "1,2"}, "nobody else, so there is nothing to split"),
        ({"combine": True}, "Person 1 is there twice"),
    ],
)
def test_who_is_not_there_is_told_in_a_sentence(server, two, changes, says):
    prompt = start(**changes.get("encode", {})) | {"edit": edit("#encode", "{}", **changes.get("edit", {}))}
    if "preview" in changes:
        prompt["show"] = {
            "class_type": "DVAPreviewEdit",
            "inputs": {"decomposition": "#edit", "model": "#model", "frame": 0, "steps": 0, "detail": "transfer"},
        }
    else:
        prompt["split"] = {"class_type": "DVASplitPeople", "inputs": {"decomposition": "#edit", "person": changes.get("split", "1")}}
        prompt["both"] = {"class_type": "DVACombinePeople", "inputs": {"a": "#split", "b": "#edit" if "combine" in changes else "#split:1"}}
        prompt["show"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": "#both", "filename_prefix": "dva/none"}}
    answer = server.run(linked(prompt))
    assert not answer.succeeded and says in answer.error


@pytest.mark.parametrize(
    ("people", "says"), [("one", "Cannot choose people by"), ("{", "is no JSON"), ('{"people": []}', "Nobody is chosen")]
)
def test_a_choice_that_is_none_is_refused_before_anything_runs(server, two, people, says):
    prompt = start(people=people) | {"show": decode("#encode")}
    with pytest.raises(Refused) as refused:
        server.run(linked(prompt))
    assert says in str(refused.value)
