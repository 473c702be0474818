"""What the server says of the nodes, of the models, and of the pack's start."""

from __future__ import annotations

import re

import pytest
from bundles import write_tiny

from dva_core.bundle import read_header
from dva_core.loader import STARTER, resolve_model

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


def test_every_node_is_there_and_no_other(info):
    assert {name: info[name]["display_name"] for name in info if name.startswith("DVA")} == NODES
    assert {name for name, node in info.items() if node["category"].split("/")[0] == "DVA"} == set(NODES)


@pytest.mark.parametrize("name", NODES)
def test_every_input_and_output_is_explained(info, name):
    node = info[name]
    assert len(node["description"]) > 40 and "_" not in node["display_name"]
    inputs = {**node["input"]["required"], **node["input"].get("optional", {})}
    assert inputs
    for key, (_, options) in inputs.items():
        assert options["tooltip"].endswith("."), f"{name}.{key}"
        assert "_" not in options["display_name"]
    assert len(node["output_tooltips"]) == len(node["output"]) == len(node["output_name"])
    for label, tooltip in zip(node["output_name"], node["output_tooltips"]):
        assert tooltip and tooltip.endswith(".") and "_" not in label, f"{name} -> {label}"


def test_the_pack_starts_cleanly(server):
    found = re.search(r"([\d.]+) seconds( \(IMPORT FAILED\))?: .*diffusion-video-autoencoder", server.log)
    assert found and found[2] is None
    assert "Traceback" not in server.log.split("To see the GUI")[0]


def test_models_are_listed_from_all_folders(server):
    write_tiny(server.base / "models" / "dva" / "mine.safetensors")
    write_tiny(server.base / "elsewhere" / "theirs.safetensors")
    (server.base / "models" / "dva" / "notes.txt").write_text("no model")
    kind, options = server.get("/object_info/DVALoadModel")["DVALoadModel"]["input"]["required"]["model"]
    listed = options["options"] if kind == "COMBO" else kind
    assert listed == [STARTER, "mine.safetensors", "theirs.safetensors"]


def test_the_page_can_ask_for_a_models_attributes(server):
    expected = read_header(resolve_model(STARTER)).config["attributes"]
    assert server.get("/dva/attributes")["attributes"] == expected
    assert server.get(f"/dva/attributes?model={STARTER}")["attributes"] == expected
