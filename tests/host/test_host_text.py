"""Editing by text inside a running ComfyUI: the example, what is said without weights, cancelling; directions from file to video."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from video_helpers import pictures

from dva_core.edit.directions import Direction
from dva_core.edit.text_model import DEFAULT
from dva_core.model.loader import load_model

from .comfy_server import READY_SECONDS, Refused, comfy_python
from .graphs import HERE, example, of_class, quick

CLIP, APPLY, DECODE = "DVAEditIdentityCLIP", "DVAApplyDirection", "DVADecodeDDIM"


def text_edit(**changes):
    return quick(example("text_edit"), **{"images": 2, "max_frames": 2, **changes})


@pytest.fixture(scope="module")
def tiny_clip(comfy, tmp_path_factory):
    """A folder with a tiny CLIP with random weights; skips where ComfyUI's environment lacks open_clip."""
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    done = subprocess.run([comfy_python(comfy), HERE / "tiny_clip.py", folder], capture_output=True, text=True, timeout=READY_SECONDS)
    if done.returncode:
        pytest.skip(f"open_clip does not run in ComfyUI's environment: {done.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture
def weights(server, tiny_clip):
    """The tiny CLIP under the name of the paper's, for one test."""
    folder = server.base / "models" / "dva" / "open_clip" / DEFAULT
    shutil.copytree(tiny_clip, folder)
    yield folder
    shutil.rmtree(folder)


def test_without_weights_it_says_what_to_get_and_where_to_put_it(server, videos, tiny_clip):
    with pytest.raises(Refused) as refused:
        server.queue(text_edit())
    reason = refused.value.reasons[0]
    assert "timm/vit_base_patch16_clip_224.openai/resolve/main/open_clip_model.safetensors" in reason
    assert str(server.base / "models" / "dva" / "open_clip" / f"{DEFAULT}.safetensors") in reason and "clip_vision" in reason


def test_the_example_runs_and_its_direction_can_be_loaded_again(server, videos, weights):
    """In ComfyUI's inference mode, with its memory management; the edit is the same in another strength from the file."""
    prompt = text_edit()
    prompt["90"] = {"class_type": "PreviewAny", "inputs": {"source": [of_class(prompt, APPLY)[0], 1]}}
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    (saver,) = of_class(prompt, "DVASaveDirection")
    direction = Direction.load(answer.outputs[saver]["text"][0])
    assert direction.made["target"] == "face with beard" and direction.made["iterations"] == 3 and 0 < np.linalg.norm(direction.vector) < 1
    assert "Male" in answer.outputs["90"]["text"][0]
    (preview,) = of_class(prompt, "PreviewImage")
    assert len(answer.outputs[preview]["images"]) == 2
    first, _ = of_class(prompt, DECODE)
    expected = pictures(server.file(answer.outputs[first]["images"][0]))
    listed = server.get("/object_info/DVALoadDirection")["DVALoadDirection"]["input"]["required"]["file"][1]["options"]
    again = text_edit()
    again["80"] = {"class_type": "DVALoadDirection", "inputs": {"file": next(name for name in listed if name.startswith("dva/beard"))}}
    (apply,) = of_class(again, APPLY)
    again[apply]["inputs"].update(direction=["80", 0], scale=1.0)
    for key in [*of_class(again, CLIP), *of_class(again, "DVACombineDirections"), saver, preview, first]:
        del again[key]
    again = {key: node for key, node in again.items() if not (node["class_type"] == "SaveVideo" and node["inputs"]["video"][0] == first)}
    answer = server.run(again)
    assert answer.succeeded, answer.error
    (key,) = of_class(again, DECODE)
    np.testing.assert_array_equal(pictures(server.file(answer.outputs[key]["images"][0])), expected)
    models = server.get("/object_info/DVALoadModel")["DVALoadModel"]["input"]["required"]["model"]
    assert "open_clip" not in str(models)  # an image-text model is none of ours


def test_cancelling_keeps_the_best_so_far_as_a_file(server, videos, weights):
    prompt = text_edit()
    (node,) = of_class(prompt, CLIP)
    prompt[node]["inputs"].update(steps=5000, settle=False)
    order = json.dumps({"server": server.url, "prompt": prompt, "cancel": node})
    done = subprocess.run([server.python, HERE / "watch.py"], input=order, capture_output=True, text=True, timeout=READY_SECONDS)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["end"] == "execution_interrupted" and record["late"] <= 2
    width, height = record["pictures"][node][0]["size"]
    assert width == 2 * height  # two images side by side
    (kept,) = (server.base / "output" / "dva").glob("unfinished*.safetensors")
    told = max(value for name, value, _ in record["steps"] if name == node)  # more than one where the test had to wait before it cancelled
    assert 1 <= Direction.load(kept).made["iterations"] <= max(4, told + 1)


def test_a_direction_of_another_encoder_is_refused_on_the_node(server, videos):
    model = load_model("starter", device="cpu")
    Direction(np.ones(model.identity_dim), "identity", "theirs", "f" * 64).save(server.base / "input" / "theirs.safetensors")
    prompt = text_edit()
    (model_key,), (encode_key,) = of_class(prompt, "DVALoadModel"), of_class(prompt, "DVAEncodeDecomposed")
    (video_key,) = of_class(prompt, "DVALoadVideo")
    prompt = {key: prompt[key] for key in (model_key, encode_key, video_key)}
    prompt["80"] = {"class_type": "DVALoadDirection", "inputs": {"file": "theirs.safetensors"}}
    inputs = {"decomposition": [encode_key, 0], "model": [model_key, 0], "direction": ["80", 0], "scale": 1.0}
    prompt["81"] = {"class_type": APPLY, "inputs": inputs}
    prompt["82"] = {"class_type": "PreviewAny", "inputs": {"source": ["81", 1]}}
    answer = server.run(prompt)
    assert "The direction theirs was made with another identity encoder" in answer.error and "\n" not in answer.error
    prompt["80"]["inputs"]["file"] = "face.mp4"
    with pytest.raises(Refused) as refused:
        server.queue(prompt)
    assert "damaged or no direction" in refused.value.reasons[0]
