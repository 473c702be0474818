"""What the server says of the nodes, of the models, and of the pack's start."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest
from bundles import tiny_config, write_tiny

from dva_core.edit.attributes import entries_of
from dva_core.edit.shapes import SHAPES
from dva_core.model.bundle import read_bundle, read_header
from dva_core.model.loader import STARTER, resolve_model

from .graphs import example, of_class, quick

NODES = {
    "DVALoadModel": "Load DVA Model",
    "DVALoadVideo": "Load Video (DVA)",
    "DVAEncodeDecomposed": "Encode Decomposed",
    "DVAEditIdentityClassifier": "Edit Identity (Classifier)",
    "DVASwitchFeatures": "Switch Features",
    "DVADecodeDDIM": "Decode DDIM",
    "DVASaveDecomposition": "Save Decomposition",
    "DVALoadDecomposition": "Load Decomposition",
}


def test_every_node_is_there_under_its_name(info):
    assert {name: info[name]["display_name"] for name in NODES} == NODES
    assert {name for name, node in info.items() if node["category"].split("/")[0] == "DVA"} == {
        name for name in info if name.startswith("DVA")
    }


def test_every_input_and_output_is_explained(info):
    for name in (name for name in info if name.startswith("DVA")):
        node = info[name]
        assert len(node["description"]) > 40 and "_" not in node["display_name"], name
        inputs = {**node["input"]["required"], **node["input"].get("optional", {})}
        assert inputs, name
        for key, (_, options) in inputs.items():
            assert options["tooltip"].endswith("."), f"{name}.{key}"
            assert "_" not in options["display_name"], f"{name}.{key}"
        assert len(node["output_tooltips"]) == len(node["output"]) == len(node["output_name"]), name
        for label, tooltip in zip(node["output_name"], node["output_tooltips"]):
            assert tooltip and tooltip.endswith(".") and "_" not in label, f"{name} -> {label}"


def test_the_pack_starts_cleanly(server):
    match = re.search(r"([\d.]+) seconds( \(IMPORT FAILED\))?: .*diffusion-video-autoencoder", server.log)
    assert match and match[2] is None
    assert "Traceback" not in server.log.split("To see the GUI")[0]


def test_models_are_listed_from_all_folders(server):
    write_tiny(server.base / "models" / "dva" / "mine.safetensors")
    write_tiny(server.base / "elsewhere" / "theirs.safetensors")
    (server.base / "models" / "dva" / "notes.txt").write_text("no model")
    kind, options = server.get("/object_info/DVALoadModel")["DVALoadModel"]["input"]["required"]["model"]
    listed = options["options"] if kind == "COMBO" else kind
    assert listed == [STARTER, "mine.safetensors", "theirs.safetensors"]


@pytest.mark.parametrize("folder", ["models/dva", "elsewhere"])
def test_models_are_loaded_from_all_folders(server, videos, folder):
    """The other model does come: the video, which the starter encoded, is refused by it."""
    path = write_tiny(server.base / folder / "other.safetensors", config=tiny_config(name=folder))
    fingerprint = read_bundle(path).fingerprint
    prompt = quick(example("edit_by_attribute"))
    (edit,) = of_class(prompt, "DVAEditIdentityClassifier")
    prompt["80"] = {"class_type": "DVALoadModel", "inputs": {"model": "other.safetensors", "precision": "fp32"}}
    prompt[edit]["inputs"]["model"] = ["80", 0]
    answer = server.run(prompt)
    path.unlink()
    assert not answer.succeeded and f"not with the one loaded ({fingerprint[:12]})" in answer.error, answer.error


def test_a_damaged_model_is_refused_in_a_sentence(server, videos):
    path = write_tiny(server.base / "models" / "dva" / "damaged.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    prompt = quick(example("edit_by_attribute"), model=path.name)
    answer = server.run(prompt)
    path.unlink()
    assert answer.message("execution_error")["node_type"] == "DVALoadModel"
    assert path.name in answer.error and "\n" not in answer.error


def test_the_page_can_ask_for_a_models_attributes(server):
    config = read_header(resolve_model(STARTER)).config
    expected = [{**asdict(entry), "range": list(entry.range)} for entry in entries_of(config)]
    assert len(expected) == len(config["attributes"]) + len(SHAPES)
    assert server.get("/dva/attributes")["attributes"] == expected
    assert server.get(f"/dva/attributes?model={STARTER}")["attributes"] == expected
