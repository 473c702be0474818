"""Hostile files and texts: whatever is in them, the answer is a result or one sentence, and nothing of them is run.

DVA_FUZZ=1000 makes it a long run of so many examples each (ten times as many headers).
"""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from bundles import write_tiny
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dva_core.batch import load_plan, read_manifest
from dva_core.batch.prompts import fill_in, read_workflow, saver_of
from dva_core.decomposition import Decomposition
from dva_core.decomposition.arrays import array_specs
from dva_core.decomposition.info import DecompositionInfo
from dva_core.decomposition.tensorfile import TensorFile, TensorMemory
from dva_core.edit import Direction, apply_operations, apply_switch, parse_scales
from dva_core.edit.curves import parse_scale, parse_text, sample_scale
from dva_core.errors import DVAError
from dva_core.model.bundle import check_bundle, find_models, read_bundle
from dva_core.model.loader import load_model

EXAMPLES = int(os.environ.get("DVA_FUZZ", 0))
MOST = 1 << 30  # bytes that all of it may take
pytestmark = [pytest.mark.timeout(0)] if EXAMPLES else []  # a long run takes what it takes

few = settings(max_examples=EXAMPLES or 30, suppress_health_check=list(HealthCheck), deadline=None)
many = settings(few, max_examples=10 * EXAMPLES or 200)

WORDS = ["0s", "1.5s", "3", "curve", "smooth"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([*WORDS, 1 << 2000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module", autouse=True)
def little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < MOST


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(write_tiny(folder / "tiny.safetensors"), device="cpu")


@pytest.fixture(scope="module")
def decomposition(folder, model) -> Decomposition:
    store = TensorMemory(array_specs(3, model.image_size, model.crop_size, model.identity_dim, model.motion_dim), {})
    store.write("frame_index", 0, [0, 1, 2])
    store.write("z_id", 0, np.eye(model.identity_dim)[0])
    info = DecompositionInfo("nowhere.mp4", "0" * 64, 64, 48, 25, 3, model_fingerprint=model.fingerprint, steps=2, solver="ddim")
    other = Decomposition(store, info)
    edited = apply_switch(
        apply_operations(other, model, [{"name": "attributes", "scales": {"Young": {"0": 0, "2": 1}}}]), model, noise_seed=3
    )
    edited.save(folder / "decomposition.safetensors")
    return edited


@pytest.fixture(scope="module")
def direction(folder, model) -> Direction:
    written = Direction(np.ones(model.identity_dim), "identity", "ones", "f" * 64, made={"how": "frames"})
    written.save(folder / "direction.safetensors")
    return written


def answered(call, *arguments, also: tuple = ()):
    """What the call gives; None where it says in one sentence that it cannot."""
    try:
        return call(*arguments)
    except DVAError as error:
        message = str(error)
        assert message.endswith((".", ")")) and "\n" not in message and 10 < len(message) < 2000, message
    except also:
        pass
    return None


@st.composite
def damaged(draw, path: Path) -> bytes:
    """The file with some of its head changed, cut, doubled, or another header in its place."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    kind = draw(st.sampled_from(["bytes", "cut", "insert", "header", "length", "body", "value"]))
    if kind == "bytes":
        for place in draw(st.lists(st.integers(0, min(len(data), length + 8) - 1), min_size=1, max_size=6)):
            data[place] = draw(st.integers(0, 255))
    elif kind == "cut":
        del data[draw(st.integers(0, len(data) - 1)) :]
    elif kind == "insert":
        place = draw(st.integers(0, length + 8))
        data[place:place] = draw(st.binary(min_size=1, max_size=16))
    elif kind == "length":
        data[:8] = draw(st.integers(0, 2**64 - 1) | st.integers(0, 2 * len(data))).to_bytes(8, "little")
    elif kind == "body":
        place = draw(st.integers(min(length + 8, len(data) - 1), len(data) - 1))
        data[place : place + 16] = draw(st.binary(min_size=16, max_size=16))
    else:
        header = json.loads(data[8 : 8 + length])
        if kind == "value":
            inner = header[draw(st.sampled_from(sorted(header)))]
            key = draw(st.sampled_from(sorted(inner)))
            inner[key] = draw(JSON | JSON.map(json.dumps))
        else:
            header[draw(st.sampled_from([*sorted(header), "new"]))] = draw(JSON)
        text = json.dumps(header).encode()
        data[: 8 + length] = len(text).to_bytes(8, "little") + text
    return bytes(data)


@many
@given(st.data())
def test_headers(folder, decomposition, data):
    path = folder / "header.safetensors"
    path.write_bytes(data.draw(damaged(folder / "decomposition.safetensors")))
    store = answered(TensorFile.open, path)
    if store is not None:
        with store:
            assert all(store.read(name).shape == spec.shape for name, spec in store.specs.items())


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a":{"dtype":"U8","shape":[-1,-1],"data_offsets":[0,1]}}',
        b'{"a":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}}',
        b'{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}',
        b'{"a":{"dtype":"U8","shape":[0,1000000000000000000000],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"U8","shape":"1","data_offsets":[0,1]}}',
        b'{"a":{"dtype":"U8","shape":[' + b"1," * 99 + b'1],"data_offsets":[0,1]}}',
        b"[" + b"{}," * 5_000_000 + b"{}]",
        b" " * 17_000_000,
    ],
    ids=lambda header: header[:40].decode(),
)
def test_headers_made_to_hurt(folder, header):
    path = folder / "hurt.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"x")
    with pytest.raises(DVAError, match="not a safetensors file"):
        TensorFile.open(path)


@few
@given(st.data())
def test_decompositions(folder, decomposition, model, data):
    path = folder / "damaged_decomposition.safetensors"
    path.write_bytes(data.draw(damaged(folder / "decomposition.safetensors")))
    loaded = answered(Decomposition.load, path)
    if loaded is not None:
        with loaded.store:
            answered(loaded.without_edits)
            answered(loaded.find_source)
            answered(apply_operations, loaded, model, loaded.operations)
            loaded.current_identity(slice(None)), loaded.current_z_motion(slice(None))
            answered(loaded.save, folder / "saved_again.safetensors")


@few
@given(st.data())
def test_bundles(folder, model, data):
    path = folder / "damaged_bundle.safetensors"
    path.write_bytes(data.draw(damaged(folder / "tiny.safetensors")))
    for call in (read_bundle, check_bundle, load_model):
        answered(call, path)
    assert find_models([folder])


@few
@given(st.data())
def test_directions(folder, direction, data):
    path = folder / "damaged_direction.safetensors"
    path.write_bytes(data.draw(damaged(folder / "direction.safetensors")))
    loaded = answered(Direction.load, path)
    if loaded is not None:
        assert loaded.about and json.dumps(loaded.to_json())
    record = direction.to_json()
    record[data.draw(st.sampled_from(sorted(record)))] = data.draw(JSON)
    again = answered(Direction.from_json, record)
    assert again is None or again.about


@few
@given(JSON.map(json.dumps) | st.text(max_size=60) | st.text('[]{}:,."0123456789sf -eE+aNcurvesmooth', max_size=60))
@example("9" * 5000)
@example('{"Young": ' + "9" * 5000 + "}")
@example('{"Young": ' + "9" * 400 + "}")
@example("[" + "9" * 400 + "]")
def test_texts_of_sliders(text):
    for call in (parse_scales, parse_text):
        scales = answered(call, text)
        for scale in scales.values() if isinstance(scales, dict) else [] if scales is None else [scales]:
            answered(sample_scale, scale, np.arange(3), 25)


@few
@given(JSON)
def test_scales(value):
    answered(parse_scale, value)


KEYS = st.sampled_from(["name", "scales", "normalize", "direction", "scale", "other", "identity", "motion", "noise_seed", "length"])


@few
@given(st.lists(st.dictionaries(KEYS, JSON | st.sampled_from(["attributes", "direction", "switch"]), max_size=4) | JSON, max_size=3) | JSON)
def test_edits_of_a_workflow(decomposition, model, operations):
    edited = answered(apply_operations, decomposition, model, operations)
    if edited is not None:
        edited.current_identity(slice(None)), edited.current_z_motion(slice(None))


WORKFLOWS = sorted(Path(__file__).resolve().parents[1].glob("example_workflows/**/*.json"))
MANIFESTS = {
    ".yaml": """
videos: [clips/*.mp4, {file: a.mp4, edits: [older], person: anna}]
people: {anna: "position:0.2,0.5"}
edits:
  younger: {Young: 0.8}
  older: {attributes: {Young: {0s: 0, 36: -0.8, curve: smooth}}, guidance: 2, region: off}
  glasses: {text: {source: face, target: face with glasses}}
settings: {steps: 3, quality: 18}
results: out
""",
    ".json": '{"videos": ["*.mp4"], "edits": {"a": {"Young": 0.8}, "b": {"inputs": {"scale": 1}}}, "workflow": "w.json"}',
    ".csv": "video,edit,person,Young,steps,text_target\na.mp4,older,anna,-0.8,3,\na.mp4,,,0s:0,3,a hat\n",
}
ENTRIES = ["version", "videos", "people", "edits", "settings", "workflow", "inputs", "results", "name", "file", "person", "attributes"]
ENTRIES += ["text", "target", "steps", "guidance", "region", "a.mp4", "*.mp4", "../**", "anna", "!!python/object/apply:os.system [true]"]
MANIFEST = st.recursive(
    JSON | st.sampled_from(ENTRIES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ENTRIES) | st.text(max_size=3), inner, max_size=6),
    max_leaves=16,
)


@st.composite
def damaged_text(draw, text: str) -> str:
    """The text with pieces replaced: by signs that mean something in YAML, JSON and CSV, by anything, by a part of itself."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 12)))
        place = draw(st.integers(0, max(0, len(text) - 1)))
        piece = st.sampled_from([*"{}[]:,-\"'&*!|>%#@`~\t\n\0\ufeff", "<<: ", "&a ", "*a", "1e999", "- " * 9, "9" * 5000]) | st.text(
            max_size=6
        )
        text = text[:start] + draw(piece | st.just(text[place : place + 20])) + text[stop:]
    return text


@few
@given(st.data())
def test_workflows_of_a_batch(folder, data):
    path = folder / "workflow.json"
    whole = data.draw(st.sampled_from(WORKFLOWS)).read_text(encoding="utf-8")
    path.write_text(data.draw(damaged_text(whole)), encoding="utf-8", errors="surrogatepass")
    workflow = answered(read_workflow, path)
    if workflow is not None:
        assert fill_in(workflow, {"file": "a.mp4"}).keys() == workflow.keys() and saver_of(workflow) in workflow


@few
@given(st.data())
def test_manifests(folder, data):
    suffix = data.draw(st.sampled_from(sorted(MANIFESTS)))
    (folder / "a.mp4").touch()
    path = folder / f"batch{suffix}"
    if data.draw(st.booleans()):
        path.write_text(data.draw(damaged_text(MANIFESTS[suffix])), encoding="utf-8", errors="surrogatepass", newline="")
    else:
        path.write_text(
            json.dumps(
                {**{name: data.draw(MANIFEST) for name in ENTRIES[:4]}, **data.draw(st.dictionaries(st.sampled_from(ENTRIES), MANIFEST))}
            )
        )
    if answered(read_manifest, path) is not None:
        plan = answered(load_plan, path)
        assert plan is None or {job.name for job in plan.jobs}
