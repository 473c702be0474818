"""The example graphs, and frozen copies of those that were shipped: they load, and they run on a video of a person."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest
from video_helpers import pictures

from dva_core.decomposition import Decomposition, load_decomposition
from dva_core.decomposition.people import AnyDecomposition, people_of
from dva_core.video import open_video

from .graphs import EXAMPLES, FRAMES, HERE, STEPS, TITLES, example, of_class, page_of, quick, with_another
from .workflows import all_inputs, choices, is_widget, to_api, widget_names

NAMES = sorted(TITLES)
ELSEWHERE = ("DVAEditIdentityCLIP",)  # needs weights: test_host_text
RUN_HERE = [name for name in NAMES if not any(of_class(example(name), kind) for kind in ELSEWHERE)]
NEWER = ("two_people", "expressions")  # than 0.1.0
SAVED = sorted((HERE / "saved").glob("*.json"))


def test_there_are_examples_and_saved_graphs():
    assert len(NAMES) >= 4 and {path.stem for path in SAVED} >= {f"0.1.0_{name}" for name in NAMES if name not in NEWER}
    assert {path.stem for path in (EXAMPLES / "api").glob("*.json")} == set(NAMES)
    assert {path.stem for path in EXAMPLES.glob("*.json")} == {path.stem for path in EXAMPLES.glob("*.jpg")} == set(TITLES.values())


@pytest.mark.parametrize("name", NAMES)
def test_page_and_api_format_say_the_same(info, name):
    page = json.loads(page_of(name).read_text(encoding="utf-8"))
    queued, prompt = to_api(page, info), example(name)
    assert queued.keys() == prompt.keys()
    for key, node in prompt.items():
        assert node["class_type"] == queued[key]["class_type"]
        usual = {name: options.get("default") for name, _, options, optional in all_inputs(info[node["class_type"]]) if optional}
        assert queued[key]["inputs"] == {**{name: usual[name] for name in queued[key]["inputs"] if name in usual}, **node["inputs"]}
    kinds = {node["type"] for node in page["nodes"]}
    assert all(kind.startswith("DVA") or info.get(kind, {}).get("python_module", "nodes").split(".")[0] != "custom_nodes" for kind in kinds)


@pytest.mark.parametrize("path", SAVED, ids=[path.stem for path in SAVED])
def test_saved_graphs_still_mean_the_same(info, path):
    """Every saved value goes to the input it was saved for, every link to an input of its type, and fits the input's limits."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    for page in saved["page"]["nodes"]:
        if page["type"] in info:
            names = widget_names(info[page["type"]])
            assert names[: len(page["widgets_values"])] == saved["widgets"][page["type"]][: len(page["widgets_values"])]
    prompt = to_api(saved["page"], info)
    for key, node in saved["api"].items():
        now = prompt[key]["inputs"]
        assert {name: now[name] for name in node["inputs"]} == node["inputs"]
        for name, kind, options, optional in all_inputs(info[node["class_type"]]):
            assert optional or name in node["inputs"], f"{node['class_type']}.{name} was appended and must be optional"
            listed = choices(kind, options)
            if listed and is_widget(kind, options) and name != "file" and name in now:
                assert now[name] in listed
            if kind in ("INT", "FLOAT") and name in now:
                assert options["min"] <= now[name] <= options["max"]


def test_a_prompt_without_a_power_encodes_as_it_did(server, videos):
    """To the bit as with even timesteps, whatever suits the solver that is the default now."""
    prompt = quick(json.loads((HERE / "saved" / "0.1.0_edit_by_attribute.json").read_text(encoding="utf-8"))["api"], max_frames=1)
    (encode,) = of_class(prompt, "DVAEncodeDecomposed")
    inputs = prompt[encode]["inputs"]
    assert inputs["solver"] == "order2" and "power" not in inputs
    needed = {key: node for key, node in prompt.items() if key == encode or [key, 0] in inputs.values()}
    needed["80"] = {"class_type": "DVAEncodeDecomposed", "inputs": {**inputs, "power": 1.0}}
    for key, of in (("90", encode), ("91", "80")):
        needed[key] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [of, 0], "filename_prefix": f"power{key}"}}
    answer = server.run(needed)
    assert answer.succeeded, answer.error
    old, even = (Decomposition.load(answer.outputs[key]["text"][0]) for key in ("90", "91"))
    assert old.info == even.info and old.info.solving == f"{STEPS} steps of order2"
    assert np.array_equal(old.x_T[:], even.x_T[:]) and np.array_equal(old.rebuilt[:], even.rebuilt[:])


def outside(decomposition: AnyDecomposition) -> np.ndarray:
    """Where nobody's face square is, in each frame: bool [N, H, W]."""
    return np.logical_and.reduce([outside_one(person) for person in people_of(decomposition)])


def outside_one(decomposition: Decomposition, grow: int = 1) -> np.ndarray:
    masks = np.ones((decomposition.info.frames, decomposition.info.height, decomposition.info.width), np.uint8)
    for index, quad in zip(decomposition.frame_index, decomposition.quads):
        cv2.fillConvexPoly(masks[index], np.round(quad).astype(np.int32), 0)
        masks[index] = cv2.erode(masks[index], np.ones((2 * grow + 1, 2 * grow + 1), np.uint8))
    return masks.astype(bool)


def grow_at_once(prompt: dict[str, Any]) -> set[str]:
    """Let edits that grow from nothing over a time be whole within the short videos; the nodes that decode them."""
    edits = [key for key, node in prompt.items() if '"1.5s"' in str(node["inputs"].get("attributes"))]
    for key in edits:
        prompt[key]["inputs"]["attributes"] = prompt[key]["inputs"]["attributes"].replace('"1.5s"', '"0.1s"')
    return {key for key in of_class(prompt, "DVADecodeDDIM") if prompt[key]["inputs"]["decomposition"][0] in edits}


@pytest.mark.parametrize("name", RUN_HERE)
def test_examples_run(server, videos, name):
    """Same frames, rate and sound; the picture changes inside the face's square and nowhere else, and not where the edit is nothing yet."""
    prompt = with_another(quick(example(name)))
    growing = grow_at_once(prompt)
    video = videos[prompt[of_class(prompt, "DVALoadVideo")[0]]["inputs"]["file"]]
    encoded = of_class(prompt, "DVAEncodeDecomposed")[0]  # of this video
    prompt["90"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [encoded, 0], "filename_prefix": name}}
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    source, untouched = pictures(video), outside(load_decomposition(answer.outputs["90"]["text"][0]))
    assert 0.2 < untouched.mean() < 0.95
    saved = of_class(prompt, "SaveVideo")
    assert saved
    for key in saved:
        (output,) = answer.outputs[key]["images"]
        with open_video(server.file(output)) as reader, open_video(video) as original:
            assert (reader.info.rate, reader.info.width, reader.info.height) == (25, original.info.width, original.info.height)
            assert reader.info.has_audio and reader.count_frames() == FRAMES
        changed = (pictures(server.file(output)) != source).any(-1)
        edited = changed.any((1, 2))
        assert edited[1:].all() and edited[0] == (prompt[key]["inputs"]["video"][0] not in growing), "a frame was not edited"
        assert not changed[untouched].any()
    for key in of_class(prompt, "DVADecodeDDIM"):
        before, after = (pictures(server.file(answer.outputs[key][kind][0])) for kind in ("dva_before", "images"))
        assert before.shape == after.shape and np.abs(before.astype(int) - source).mean() < 3
    for key in of_class(prompt, "PreviewImage"):
        assert len(answer.outputs[key]["images"]) == FRAMES
