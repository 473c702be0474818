"""Edits over time, expressions, own attributes, sheets and previews inside a running ComfyUI."""

from __future__ import annotations

import json
import shutil
import time

import cv2
import numpy as np
import pytest
from conftest import need_shared

from dva_core.decomposition import Decomposition
from dva_core.edit.directions import Direction, from_attribute
from dva_core.edit.scores import measure_direction, table
from dva_core.model.loader import load_model
from dva_core.train.labels import read_labels

from .comfy_server import Refused
from .graphs import FRAMES, example, of_class, pictures, quick, with_another

EDIT, DECODE, PREVIEW, ENCODE = "DVAEditIdentityClassifier", "DVADecodeDDIM", "DVAPreviewEdit", "DVAEncodeDecomposed"


@pytest.fixture(scope="module")
def prompt(clips):
    """One video, one edit, decoded; the edit is kept as a file by node 90."""
    made = quick(example("edit_by_attribute"))
    (edit,) = of_class(made, EDIT)
    made["90"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [edit, 0], "filename_prefix": "dva/edits"}}
    return made


def run(server, prompt, attributes: str):
    """The result's frames, and the video as it was edited."""
    prompt = json.loads(json.dumps(prompt))
    (edit,), (decode,) = of_class(prompt, EDIT), of_class(prompt, DECODE)
    prompt[edit]["inputs"].update(attributes=attributes)
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    return pictures(server.file(answer.outputs[decode]["images"][0])), Decomposition.load(answer.outputs["90"]["text"][0])


def undecoded(prompt):
    """A copy that ends at the edit, kept as a file by node 90."""
    return {key: node for key, node in json.loads(json.dumps(prompt)).items() if node["class_type"] not in (DECODE, "SaveVideo")}


def test_a_constant_curve_is_the_plain_edit_and_a_ramp_is_not(server, prompt):
    plain, decomposition = run(server, prompt, '{"Male": -0.8}')
    constant, same = run(server, prompt, '{"Male": {"0s": -0.8, "1s": -0.8, "curve": "smooth"}}')
    np.testing.assert_array_equal(plain, constant)
    np.testing.assert_array_equal(decomposition.z_id_edited, same.z_id_edited)
    ramp, over_time = run(server, prompt, '{"Male": {"0s": 0, "0.2s": -0.8}}')  # frame 5 is at 0.2 s
    assert over_time.identity_steps and over_time.info.rate == 25
    np.testing.assert_allclose(over_time.identity_steps[0].weights[:, 0], np.arange(FRAMES) * -0.16)
    source = pictures(server.base / "input" / "face.mp4").astype(int)
    moved = [np.abs(frame - before).mean() for frame, before in zip(ramp.astype(int), source)]
    assert moved[0] < moved[2] < moved[-1]
    np.testing.assert_allclose(ramp[-1].astype(int), plain[-1].astype(int), atol=12)  # after the same encoding by h264


def test_numbers_of_other_nodes_scale_the_strengths(server, prompt):
    """FLOATS is how ComfyUI's own nodes call a list of numbers; a single FLOAT serves too."""
    assert server.get(f"/object_info/{EDIT}")[EDIT]["input"]["optional"]["over_time"][0].startswith("FLOAT,FLOATS")
    made = undecoded(prompt)
    (edit,) = of_class(made, EDIT)
    made["70"] = {"class_type": "PrimitiveFloat", "inputs": {"value": 0.5}}
    found = []
    for strengths in ({"attributes": '{"Male": -0.8}', "over_time": ["70", 0]}, {"attributes": '{"Male": -0.4}', "over_time": 1.0}):
        made[edit]["inputs"].update(strengths)
        answer = server.run(made)
        assert answer.succeeded, answer.error
        found.append(Decomposition.load(answer.outputs["90"]["text"][0]))
    np.testing.assert_array_equal(found[0].z_id_edited, found[1].z_id_edited)
    assert not np.allclose(found[0].z_id_edited, found[0].z_id / np.linalg.norm(found[0].z_id), atol=1e-3)


def test_numbers_of_other_nodes_scale_a_direction(server, prompt):
    made = undecoded(prompt)
    (edit,), (model,) = of_class(made, EDIT), of_class(made, "DVALoadModel")
    source = made[edit]["inputs"]["decomposition"]
    starter = load_model("starter", device="cpu")
    direction = from_attribute(starter, "Male")
    direction.save(server.base / "input" / "male.safetensors")
    made["70"] = {"class_type": "PrimitiveFloat", "inputs": {"value": 0.5}}
    made["80"] = {"class_type": "DVALoadDirection", "inputs": {"file": "male.safetensors"}}
    inputs = {"decomposition": source, "model": [model, 0], "direction": ["80", 0], "scale": -0.8, "over_time": ["70", 0]}
    made[edit] = {"class_type": "DVAApplyDirection", "inputs": inputs}
    made["81"] = {"class_type": "PreviewAny", "inputs": {"source": [edit, 1]}}
    answer = server.run(made)
    assert answer.succeeded, answer.error
    decomposition = Decomposition.load(answer.outputs["90"]["text"][0])
    assert decomposition.operations[-1]["scale"] == -0.4
    assert answer.outputs["81"]["text"][0] == table(measure_direction(direction, starter, decomposition.z_id, -0.4))


@pytest.mark.parametrize(
    ("attributes", "says"),
    [('{"Male": {"0x": 1}}', "no moment"), ('{"Male": {"0s": "a"}}', "give a number there"), ('{"Male": []}', "or a curve such as")],
)
def test_a_wrong_curve_is_said_before_anything_runs(server, prompt, attributes, says):
    made = json.loads(json.dumps(prompt))
    made[of_class(made, EDIT)[0]]["inputs"]["attributes"] = attributes
    with pytest.raises(Refused) as refused:
        server.queue(made)
    assert any(says in reason for reason in refused.value.reasons), refused.value.reasons


def test_the_preview_alone_shows_the_frame_and_nothing_is_encoded_again(server, prompt, clips):
    """What the panel queues: one output node, the rest of the graph left alone."""
    made = json.loads(json.dumps(prompt))
    (edit,), (model,) = of_class(made, EDIT), of_class(made, "DVALoadModel")
    inputs = {"decomposition": [edit, 0], "model": [model, 0], "frame": 99, "steps": 2, "detail": "transfer"}
    made["80"] = {"class_type": PREVIEW, "inputs": inputs}
    first = alone(server, made, "80")
    made[edit]["inputs"]["attributes"] = '{"Male": -0.9}'
    began = time.monotonic()
    answer = alone(server, made, "80")
    assert time.monotonic() - began < 30  # 2 s on idle cores; these are shared
    assert {made[key]["class_type"] for key in answer.cached} >= {ENCODE, "DVALoadModel", "DVALoadVideo"}
    assert set(answer.outputs) == {"80"}
    before, after = (picture(server, answer.outputs["80"][kind][0]) for kind in ("dva_before", "images"))
    assert before.shape == after.shape == (128, 128, 3) and np.abs(before.astype(int) - after).max() > 8
    np.testing.assert_array_equal(before, picture(server, first.outputs["80"]["dva_before"][0]))
    assert not np.array_equal(after, picture(server, first.outputs["80"]["images"][0]))


def alone(server, prompt, node: str):
    """Runs one output node by the host's own partial execution."""
    body = {"prompt": prompt, "client_id": "tests", "partial_execution_targets": [node]}
    answer = server.wait(server.request("/prompt", body)["prompt_id"])
    assert answer.succeeded, answer.error
    return answer


def picture(server, shown: dict[str, str]) -> np.ndarray:
    return cv2.imread(str(server.file(shown)))[..., ::-1]


def test_the_sheet_is_laid_out(server, clips):
    made = quick(example("attribute_sheet"))
    for node in made.values():
        if node["class_type"] == "DVASheet":
            node["inputs"].update(attributes="Male, Smiling", scales="-1, 0, 1", tile=64, steps=2)
    keep = {*of_class(made, "SaveImage"), *of_class(made, "DVASheet"), *of_class(made, ENCODE), *of_class(made, "DVALoadModel")}
    made = {key: node for key, node in made.items() if key in keep or node["class_type"] == "DVALoadVideo"}
    answer = server.run(made)
    assert answer.succeeded, answer.error
    sheet = picture(server, answer.outputs[of_class(made, "SaveImage")[0]]["images"][0])
    assert 2 * 64 < sheet.shape[0] < 2 * 64 + 80 and sheet.shape[1] > 3 * 64
    made[of_class(made, "DVASheet")[0]]["inputs"]["scales"] = "a lot"
    with pytest.raises(Refused) as refused:
        server.queue(made)
    assert any("commas between" in reason for reason in refused.value.reasons)


def test_expressions_of_the_mouth_and_from_two_frames(server, prompt):
    made = json.loads(json.dumps(prompt))
    (edit,), (model,) = of_class(made, EDIT), of_class(made, "DVALoadModel")
    frames = {"neutral_frame": 0, "expressive_frame": 5}
    moving = {"brows": False, "nose": False, "eyes": False, "mouth": True, "project": True}
    source = made[edit]["inputs"]["decomposition"]
    made = {key: node for key, node in made.items() if node["class_type"] not in (EDIT, DECODE, "SaveVideo")}
    for expression in ("Smiling", "two frames"):
        inputs = {"decomposition": source, "model": [model, 0], "expression": expression, "scale": "0.5", **frames, **moving}
        made[edit] = {"class_type": "DVAEditExpression", "inputs": inputs}
        made["91"] = {"class_type": "DVASaveDirection", "inputs": {"direction": [edit, 1], "filename_prefix": "dva/expression"}}
        answer = server.run(made)
        assert answer.succeeded, answer.error
        decomposition = Decomposition.load(answer.outputs["90"]["text"][0])
        shift = decomposition.motion_shift.reshape(51, 2)
        assert shift[31:].any() and not shift[:31].any()
        direction = Direction.load(answer.outputs["91"]["text"][0])
        np.testing.assert_allclose(0.5 * direction.vector, decomposition.motion_shift, atol=1e-6)
    made[edit]["inputs"].update(expressive_frame=77)
    assert "Frame 77 of the video has no face" in server.run(made).error


def test_an_own_attribute_from_two_folders(server, clips):
    folder = need_shared("data/faces128")
    table = read_labels(folder / "labels.csv")
    glasses = table.labels[:, table.names.index("Eyeglasses")]
    for value, name in ((1, "with"), (0, "without")):
        (server.base / "input" / name).mkdir(exist_ok=True)
        for row in np.flatnonzero(glasses == value)[:5]:
            shutil.copyfile(folder / table.files[row], server.base / "input" / name / table.files[row])
    made = quick(example("own_attribute"))
    saver, own, apply = (of_class(made, kind)[0] for kind in ("DVASaveDirection", "DVAOwnAttribute", "DVAApplyDirection"))
    decode = next(key for key in of_class(made, DECODE) if made[key]["inputs"]["decomposition"] == [apply, 0])
    for name in ("with_it", "without"):
        del made[own]["inputs"][name]
    made[own]["inputs"] |= {"with_folder": "with", "without_folder": "without", "pairs": False}
    made = {
        key: made[key]
        for key in [*of_class(made, "DVALoadModel"), *made[apply]["inputs"]["decomposition"][:1], "2", own, saver, apply, decode]
    }
    answer = server.run(made)
    assert answer.succeeded, answer.error
    direction = Direction.load(answer.outputs[saver]["text"][0])
    assert direction.made["with"] == direction.made["without"] == 5 and direction.made["score"] > 0.5
    changed = pictures(server.file(answer.outputs[decode]["images"][0])) != pictures(server.base / "input" / "face.mp4")
    assert changed.any((1, 2, 3)).all()
    for folder, says in (("../models", "There is no folder"), ("", "one of the two")):
        made[own]["inputs"]["with_folder"] = folder
        answer = server.run(made)
        assert not answer.succeeded and says in answer.error


def test_a_clip_of_another_length_is_stretched(server, clips):
    made = with_another(quick(example("switch_identity_and_motion")))
    motion = next(key for key in of_class(made, "DVASwitchFeatures") if made[key]["inputs"]["motion"])
    model = of_class(made, "DVALoadModel")[0]
    made = {key: node for key, node in made.items() if node["class_type"] not in (DECODE, "SaveVideo")}
    made["90"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [motion, 0], "filename_prefix": "dva/stretched"}}
    found = {}
    for length in ("stretch", "ping-pong"):
        made[motion]["inputs"]["length"] = length
        answer = server.run(made)
        assert answer.succeeded, answer.error
        found[length] = Decomposition.load(answer.outputs["90"]["text"][0])
    there = found["ping-pong"].z_motion[:4]
    np.testing.assert_array_equal(found["ping-pong"].z_motion[4], there[2])
    np.testing.assert_array_equal(found["stretch"].z_motion[FRAMES - 1], there[3])
    assert model and found["stretch"].operations[0]["length"] == "stretch"
