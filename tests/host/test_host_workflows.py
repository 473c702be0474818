"""The example graphs, and frozen copies of those that were shipped: they load, and they run on a clip of a person."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from dva_core.video import open_video

from .graphs import EXAMPLES, FRAMES, HERE, example, of_class, pictures, quick
from .workflows import all_inputs, is_widget, to_api, widget_names

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.json"))
SAVED = sorted((HERE / "saved").glob("*.json"))


def without_titles(prompt: dict[str, Any]) -> dict[str, Any]:
    return {key: {"class_type": node["class_type"], "inputs": node["inputs"]} for key, node in prompt.items()}


def test_there_are_examples_and_saved_graphs():
    assert len(NAMES) >= 4 and {path.stem for path in SAVED} >= {f"0.1.0_{name}" for name in NAMES}
    assert {path.stem for path in (EXAMPLES / "api").glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_page_and_api_format_say_the_same(info, name):
    page = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    assert to_api(page, info) == without_titles(example(name))
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
            assert optional or name in now
            choices = options.get("options", kind if isinstance(kind, list) else None)
            if choices and is_widget(kind, options) and name != "file":
                assert now[name] in choices
            if kind in ("INT", "FLOAT") and name in now:
                assert options["min"] <= now[name] <= options["max"]


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(server, clips, name):
    """Same frames, rate and sound; the picture changes inside the face's square and nowhere else."""
    prompt = quick(example(name))
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    source = pictures(clips["face.mp4"])
    saved = of_class(prompt, "SaveVideo")
    assert saved
    for key in saved:
        (shown,) = answer.outputs[key]["images"]
        with open_video(server.file(shown)) as reader, open_video(clips["face.mp4"]) as original:
            assert (reader.info.rate, reader.info.width, reader.info.height) == (25, original.info.width, original.info.height)
            assert reader.info.has_audio and reader.count_frames() == FRAMES
        changed = (pictures(server.file(shown)) != source).any(-1)
        assert changed.any((1, 2)).all(), "a frame was not edited"
        assert not changed[:, :20].any() and not changed[:, :, :40].any() and not changed[:, :, -40:].any()
        assert changed.mean() < 0.5
    for key in of_class(prompt, "DVADecodeDDIM"):
        before, after = (pictures(server.file(answer.outputs[key][kind][0])) for kind in ("dva_before", "images"))
        assert before.shape == after.shape and np.abs(before.astype(int) - source).mean() < 3
    for key in of_class(prompt, "DVASaveDecomposition"):
        assert answer.outputs[key]["text"][0].endswith(".safetensors")
