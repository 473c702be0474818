"""What newer hosts have is used where it is there, and only there; and what can be refused is refused before anything is run."""

from __future__ import annotations

import json

import pytest

from dva_core.decomposition import Decomposition

from .comfy_server import Refused, comfy_version
from .graphs import FRAMES, example, of_class, quick

EDIT, ENCODE = "DVAEditIdentityClassifier", "DVAEncodeDecomposed"


@pytest.fixture(scope="package")
def newer(comfy) -> bool:
    """Whether the host is of the year in which it got curves, boxes and the like."""
    return tuple(int(part) for part in comfy_version(comfy).split(".")[:2]) >= (0, 18)


def options_of(info, kind: str) -> dict:
    node = info[kind]["input"]
    return {name: spec[1] for group in ("required", "optional") for name, spec in (node.get(group) or {}).items()}


def test_expert_inputs_are_folded_away_everywhere(info):
    usual = [name for name, options in options_of(info, ENCODE).items() if not options.get("advanced")]
    assert {"batch_size", "power", "clamp", "rate", "detector", "max_images"}.isdisjoint(usual)
    assert {"steps", "solver", "face", "max_frames"} <= set(usual)
    assert options_of(info, EDIT)["normalize"]["advanced"] and not options_of(info, EDIT)["attributes"].get("advanced")


def test_words_to_search_by_and_pictures_that_survive_the_page(info, newer):
    if not newer:
        assert "search_aliases" not in info[EDIT] or not info[EDIT]["search_aliases"]
        return
    for word, kind in {"age": EDIT, "deaging": EDIT, "beard": EDIT, "face swap": "DVASwitchFeatures"}.items():
        assert word in info[kind]["search_aliases"]
    assert all(info[kind]["has_intermediate_output"] for kind in ("DVAPreviewEdit", "DVADecodeDDIM"))


def test_a_curve_of_the_host_and_a_box_around_the_face(server, videos, newer):
    prompt = quick(example("edit_by_attribute"))
    (edit,), (encode,) = of_class(prompt, EDIT), of_class(prompt, ENCODE)
    if not newer:
        assert "face_box" not in options_of(server.get(f"/object_info/{ENCODE}"), ENCODE)
        return
    points = {"points": [[0, 0], [1, 1]], "interpolation": "linear"}
    prompt["70"] = {"class_type": "CurveEditor", "inputs": {"curve": points}}
    prompt["71"] = {"class_type": "PrimitiveBoundingBox", "inputs": {"x": 0, "y": 0, "width": 4, "height": 4}}
    prompt[edit]["inputs"]["over_time"] = ["70", 0]
    prompt["90"] = {"class_type": "DVASaveDecomposition", "inputs": {"decomposition": [edit, 0], "filename_prefix": "curve"}}
    nodes = {"90", "70", edit, encode, *(key for key in prompt if prompt[key]["class_type"] in ("DVALoadModel", "DVALoadVideo"))}
    answer = server.run({key: prompt[key] for key in nodes})
    assert answer.succeeded, answer.error
    decomposition = Decomposition.load(answer.outputs["90"]["text"][0])
    glasses = [operation for operation in decomposition.operations if "Eyeglasses" in json.dumps(operation)]
    values = [value for value in json.dumps(glasses).replace("[", " ").replace("]", " ").split() if value]
    assert glasses and len(values) > FRAMES
    (source,) = (key for key in nodes if prompt[key]["class_type"] == "DVALoadVideo")
    prompt[encode]["inputs"]["face_box"] = ["71", 0]
    prompt["71"]["inputs"].update(x=16000)
    prompt[encode]["inputs"]["video"] = [source, 0]
    answer = server.run({key: prompt[key] for key in (*nodes, "71")})
    assert not answer.succeeded and "outside the frames" in answer.error


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (EDIT, {"attributes": '{"Hapiness": 0.5}'}, "no attribute Hapiness"),
        (EDIT, {"attributes": '{"Male": 50}'}, "50"),
        ("DVAEditExpression", {"expression": "Smilling"}, "did you mean Smiling"),
        ("DVASheet", {"attributes": "Male, Yuong"}, "did you mean Young"),
    ],
)
def test_names_and_strengths_are_checked_before_the_video_is_taken_apart(server, videos, kind, changes, message):
    name = {EDIT: "edit_by_attribute", "DVAEditExpression": "edit_over_time", "DVASheet": "attribute_sheet"}[kind]
    prompt = quick(example(name))
    prompt[of_class(prompt, kind)[0]]["inputs"].update(changes)
    with pytest.raises(Refused) as refused:
        server.run(prompt)
    assert any(message in reason for reason in refused.value.reasons), refused.value.reasons


def test_clips_weights_are_missed_once(server, videos):
    prompt = quick(example("text_edit"))
    with pytest.raises(Refused) as refused:
        server.run(prompt)
    assert len(refused.value.reasons) == 1


def test_a_folder_that_is_a_file(server, videos):
    (server.base / "output" / "taken").write_text("a file")
    prompt = quick(example("encode_once_edit_many"))
    (save,), (encode,) = of_class(prompt, "DVASaveDecomposition"), of_class(prompt, ENCODE)
    prompt[save]["inputs"]["filename_prefix"] = "taken/clip"
    nodes = {save, encode, *(key for key in prompt if prompt[key]["class_type"] in ("DVALoadModel", "DVALoadVideo"))}
    answer = server.run({key: prompt[key] for key in nodes})
    assert not answer.succeeded and "cannot be made" in answer.error and "leads out" not in answer.error
