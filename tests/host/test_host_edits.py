"""Edits over time, expressions, own attributes, sheets and previews inside a running ComfyUI."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from conftest import need_shared
from video_helpers import pictures

from dva_core.decomposition import Decomposition
from dva_core.edit.directions import Direction, from_attribute
from dva_core.edit.scores import measure_direction, table
from dva_core.model.loader import load_model
from dva_core.train.labels import read_labels

from .comfy_server import Refused
from .graphs import FRAMES, example, of_class, quick, with_another

EDIT, DECODE, PREVIEW, ENCODE = "DVAEditIdentityClassifier", "DVADecodeDDIM", "DVAPreviewEdit", "DVAEncodeDecomposed"


@pytest.fixture(scope="module")
def prompt(videos):
    """One video, one edit, decoded; the edit is kept as a file by node 90."""
    graph = quick(example("edit_by_attribute"))
    (edit,) = of_class(graph, EDIT)
    graph["90"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [edit, 0], "filename_prefix": "dva/edits"}}
    return graph


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
    graph = undecoded(prompt)
    (edit,) = of_class(graph, EDIT)
    graph["70"] = {"class_type": "PrimitiveFloat", "inputs": {"value": 0.5}}
    decompositions = []
    for strengths in ({"attributes": '{"Male": -0.8}', "over_time": ["70", 0]}, {"attributes": '{"Male": -0.4}', "over_time": 1.0}):
        graph[edit]["inputs"].update(strengths)
        answer = server.run(graph)
        assert answer.succeeded, answer.error
        decompositions.append(Decomposition.load(answer.outputs["90"]["text"][0]))
    np.testing.assert_array_equal(decompositions[0].z_id_edited, decompositions[1].z_id_edited)
    assert not np.allclose(decompositions[0].z_id_edited, decompositions[0].z_id / np.linalg.norm(decompositions[0].z_id), atol=1e-3)


def test_numbers_of_other_nodes_scale_a_direction(server, prompt):
    graph = undecoded(prompt)
    (edit,), (model,) = of_class(graph, EDIT), of_class(graph, "DVALoadModel")
    source = graph[edit]["inputs"]["decomposition"]
    starter = load_model("starter", device="cpu")
    direction = from_attribute(starter, "Male")
    direction.save(server.base / "input" / "male.safetensors")
    graph["70"] = {"class_type": "PrimitiveFloat", "inputs": {"value": 0.5}}
    graph["80"] = {"class_type": "DVALoadDirection", "inputs": {"file": "male.safetensors"}}
    inputs = {"decomposition": source, "model": [model, 0], "direction": ["80", 0], "scale": -0.8, "over_time": ["70", 0]}
    graph[edit] = {"class_type": "DVAApplyDirection", "inputs": inputs}
    graph["81"] = {"class_type": "PreviewAny", "inputs": {"source": [edit, 1]}}
    answer = server.run(graph)
    assert answer.succeeded, answer.error
    decomposition = Decomposition.load(answer.outputs["90"]["text"][0])
    assert decomposition.operations[-1]["scale"] == -0.4
    assert answer.outputs["81"]["text"][0] == table(measure_direction(direction, starter, decomposition.z_id, -0.4))


@pytest.mark.parametrize(
    ("attributes", "says"),
    [('{"Male": {"0x": 1}}', "no moment"), ('{"Male": {"0s": "a"}}', "give a number there"), ('{"Male": []}', "or a curve such as")],
)
def test_a_wrong_curve_is_said_before_anything_runs(server, prompt, attributes, says):
    graph = json.loads(json.dumps(prompt))
    graph[of_class(graph, EDIT)[0]]["inputs"]["attributes"] = attributes
    with pytest.raises(Refused) as refused:
        server.queue(graph)
    assert any(says in reason for reason in refused.value.reasons), refused.value.reasons


def test_the_preview_alone_shows_the_frame_and_nothing_is_encoded_again(server, prompt, videos):
    """What the panel queues: one output node, the rest of the graph left alone."""
    graph = json.loads(json.dumps(prompt))
    (edit,), (model,) = of_class(graph, EDIT), of_class(graph, "DVALoadModel")
    inputs = {"decomposition": [edit, 0], "model": [model, 0], "frame": 99, "steps": 2, "detail": "transfer"}
    graph["80"] = {"class_type": PREVIEW, "inputs": inputs}
    first = alone(server, graph, "80")
    graph[edit]["inputs"]["attributes"] = '{"Male": -0.9}'
    began = server.seconds
    answer = alone(server, graph, "80")
    assert server.seconds - began < 30  # 2 s, of the server's own time
    assert {graph[key]["class_type"] for key in answer.cached} >= {ENCODE, "DVALoadModel", "DVALoadVideo"}
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


def picture(server, output: dict[str, str]) -> np.ndarray:
    return cv2.imread(str(server.file(output)))[..., ::-1]


def test_the_sheet_is_laid_out(server, videos):
    graph = quick(example("attribute_sheet"))
    for node in graph.values():
        if node["class_type"] == "DVASheet":
            node["inputs"].update(attributes="Male, Smiling", scales="-1, 0, 1", tile=64, steps=2)
    keep = {*of_class(graph, "SaveImage"), *of_class(graph, "DVASheet"), *of_class(graph, ENCODE), *of_class(graph, "DVALoadModel")}
    graph = {key: node for key, node in graph.items() if key in keep or node["class_type"] == "DVALoadVideo"}
    answer = server.run(graph)
    assert answer.succeeded, answer.error
    sheet = picture(server, answer.outputs[of_class(graph, "SaveImage")[0]]["images"][0])
    assert 2 * 64 < sheet.shape[0] < 2 * 64 + 80 and sheet.shape[1] > 3 * 64
    graph[of_class(graph, "DVASheet")[0]]["inputs"]["scales"] = "a lot"
    with pytest.raises(Refused) as refused:
        server.queue(graph)
    assert any("commas between" in reason for reason in refused.value.reasons)


def test_expressions_of_the_mouth_and_from_two_frames(server, prompt):
    graph = json.loads(json.dumps(prompt))
    (edit,), (model,) = of_class(graph, EDIT), of_class(graph, "DVALoadModel")
    frames = {"neutral_frame": 0, "expressive_frame": 5}
    moving = {"brows": False, "nose": False, "eyes": False, "mouth": True, "project": True}
    source = graph[edit]["inputs"]["decomposition"]
    graph = {key: node for key, node in graph.items() if node["class_type"] not in (EDIT, DECODE, "SaveVideo")}
    for expression in ("Smiling", "two frames"):
        inputs = {"decomposition": source, "model": [model, 0], "expression": expression, "scale": "0.5", **frames, **moving}
        graph[edit] = {"class_type": "DVAEditExpression", "inputs": inputs}
        graph["91"] = {"class_type": "DVASaveDirection", "inputs": {"direction": [edit, 1], "filename_prefix": "dva/expression"}}
        answer = server.run(graph)
        assert answer.succeeded, answer.error
        decomposition = Decomposition.load(answer.outputs["90"]["text"][0])
        shift = decomposition.motion_shift.reshape(51, 2)
        assert shift[31:].any() and shift[:31].any() == (expression == "Smiling")  # the model's own is taken as it is
        direction = Direction.load(answer.outputs["91"]["text"][0])
        np.testing.assert_allclose(0.5 * direction.vector, decomposition.motion_shift, atol=1e-6)
    graph[edit]["inputs"].update(expressive_frame=77)
    assert "Frame 77 of the video has no face" in server.run(graph).error


def test_an_own_attribute_from_two_folders(server, videos):
    folder = need_shared("data/faces128")
    table = read_labels(folder / "labels.csv")
    glasses = table.labels[:, table.names.index("Eyeglasses")]
    for value, name in ((1, "with"), (0, "without")):
        (server.base / "input" / name).mkdir(exist_ok=True)
        for row in np.flatnonzero(glasses == value)[:5]:
            shutil.copyfile(folder / table.files[row], server.base / "input" / name / table.files[row])
    graph = quick(example("own_attribute"))
    saver, own, apply = (of_class(graph, kind)[0] for kind in ("DVASaveDirection", "DVAOwnAttribute", "DVAApplyDirection"))
    decode = next(key for key in of_class(graph, DECODE) if graph[key]["inputs"]["decomposition"] == [apply, 0])
    for name in ("with_it", "without"):
        del graph[own]["inputs"][name]
    graph[own]["inputs"] |= {"with_folder": "with", "without_folder": "without", "pairs": False}
    graph = {
        key: graph[key]
        for key in [*of_class(graph, "DVALoadModel"), *graph[apply]["inputs"]["decomposition"][:1], "2", own, saver, apply, decode]
    }
    answer = server.run(graph)
    assert answer.succeeded, answer.error
    direction = Direction.load(answer.outputs[saver]["text"][0])
    assert direction.made["with"] == direction.made["without"] == 5 and direction.made["score"] > 0.5
    changed = pictures(server.file(answer.outputs[decode]["images"][0])) != pictures(server.base / "input" / "face.mp4")
    assert changed.any((1, 2, 3)).all()
    for folder, says in (("../models", "There is no folder"), ("", "one of the two")):
        graph[own]["inputs"]["with_folder"] = folder
        answer = server.run(graph)
        assert not answer.succeeded and says in answer.error


def test_a_video_of_another_length_is_stretched(server, videos):
    graph = with_another(quick(example("switch_identity_and_motion")))
    motion = next(key for key in of_class(graph, "DVASwitchFeatures") if graph[key]["inputs"]["motion"])
    model = of_class(graph, "DVALoadModel")[0]
    graph = {key: node for key, node in graph.items() if node["class_type"] not in (DECODE, "SaveVideo")}
    graph["90"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [motion, 0], "filename_prefix": "dva/stretched"}}
    by_length = {}
    for length in ("stretch", "ping-pong"):
        graph[motion]["inputs"]["length"] = length
        answer = server.run(graph)
        assert answer.succeeded, answer.error
        by_length[length] = Decomposition.load(answer.outputs["90"]["text"][0])
    there = by_length["ping-pong"].z_motion[:4]
    np.testing.assert_array_equal(by_length["ping-pong"].z_motion[4], there[2])
    np.testing.assert_array_equal(by_length["stretch"].z_motion[FRAMES - 1], there[3])
    assert model and by_length["stretch"].operations[0]["length"] == "stretch"
