"""Choose Faces without a page: by the API, before the host's own nodes and before Encode Decomposed; and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from video_helpers import pictures

from .graphs import SHOT, example, of_class, quick

KIND, EDIT = "DVAChooseFaces", "DVAEditIdentityClassifier"


def with_choice(choice: str) -> dict[str, Any]:
    """A prompt: model (1), video (2), Choose Faces (3)."""
    return {
        "1": {"class_type": "DVALoadModel", "inputs": {"model": "starter", "precision": "auto"}},
        "2": {"class_type": "DVALoadVideo", "inputs": {"file": "crowd.mp4", "start": 0.0, "length": 0.0, "every": 1}},
        "3": {"class_type": KIND, "inputs": {"model": ["1", 0], "video": ["2", 0], "choice": choice}},
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("x", "is no JSON"),
        ('{"people": []}', "Nobody is chosen"),
        ('{"people": [9]}', "There is no person 9 in this video"),
        ('{"people": [1], "survey": "0"}', "chosen in another video"),
    ],
)
def test_the_server_refuses_in_a_sentence(server, crowd, given, says):
    prompt = with_choice(given)
    try:
        answer = server.run(prompt)
    except Exception as refused:  # noqa: BLE001 (before it runs)
        assert says in str(refused).replace('\\\\"', '"'), refused
    else:
        assert not answer.succeeded and says in answer.error and "\n" not in answer.error


def test_by_the_api_with_the_host_alone(server, crowd):
    """The choice comes out as text, with everybody's portrait; the second run looks at nothing again."""
    prompt = with_choice('{"people": [2], "names": {"2": "Änne"}}') | {
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}},
        "5": {"class_type": "PreviewImage", "inputs": {"images": ["3", 1]}},
    }
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    told = json.loads(answer.outputs["4"]["text"][0])
    assert told["people"] == [2] and told["names"] == {"2": "Änne"} and told["survey"] == answer.outputs["3"]["dva.faces"][0]["key"]
    assert server.file(answer.outputs["5"]["images"][0]).is_file()
    folder = server.base / "temp" / "dva_faces" / told["survey"]
    made = (folder / "people.json").stat().st_mtime_ns
    prompt["3"]["inputs"]["choice"] = ""
    again = server.run(prompt)
    assert again.succeeded, again.error
    assert json.loads(again.outputs["4"]["text"][0])["people"] == [1]
    assert (folder / "people.json").stat().st_mtime_ns == made


def test_images_with_sound_have_the_survey_of_their_pictures(server, crowd):
    """Found among silent images, chosen with sound and at another rate: the choice says what it is of, and nobody is looked for again."""
    prompt = with_choice("") | {
        "4": {"class_type": "GetVideoComponents", "inputs": {"video": ["2", 0]}},
        "5": {"class_type": "EmptyAudio", "inputs": {"duration": 1.0, "sample_rate": 44100, "channels": 2}},
        "6": {"class_type": "PreviewAny", "inputs": {"source": ["3", 0]}},
    }
    prompt["3"]["inputs"] = {"model": ["1", 0], "images": ["4", 0], "choice": '{"people": [2]}'}
    found = server.run(prompt)
    assert found.succeeded, found.error
    choice, surveys = found.outputs["6"]["text"][0], server.base / "temp" / "dva_faces"
    assert json.loads(choice)["survey"] == found.outputs["3"]["dva.faces"][0]["key"]
    kept = {entry.name for entry in surveys.iterdir()}
    (key,) = of_class(graph := quick(example("edit_by_attribute"), compare=False), "DVAEncodeDecomposed")
    inputs = {"images": ["4", 0], "audio": ["5", 0], "people": choice, "model": ["1", 0], "rate": 12.5, "max_frames": 4}
    encode = {name: value for name, value in graph[key]["inputs"].items() if name != "video"} | inputs
    prompt["7"] = {"class_type": "DVAEncodeDecomposed", "inputs": encode}
    prompt["8"] = {"class_type": "PreviewImage", "inputs": {"images": ["7", 1]}}
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    assert {entry.name for entry in surveys.iterdir()} == kept
    encode["people"] = '{"people": [2], "survey": "0"}'
    assert "chosen in another video" in server.run(prompt).error


def test_only_who_is_chosen_is_edited(server, crowd):
    """Anna in the first shot, Bert in none, the third person in the second shot: nobody else changes."""
    prompt = with_choice("")
    del prompt["3"]["inputs"]["choice"]  # it may be left out
    found = server.run(prompt)
    folder = server.base / "temp" / "dva_faces" / found.outputs["3"]["dva.faces"][0]["key"]
    people = json.loads((folder / "people.json").read_text(encoding="utf-8"))["people"]
    left, middle, right = (next(p["number"] for p in people if abs(p["boxes"][0][0] + 38 - x) < 40) for x in (80, 240, 400))
    prompt = quick(example("edit_by_attribute"), file="crowd.mp4", compare=False)
    (encode,), (edit,), (decode,) = of_class(prompt, "DVAEncodeDecomposed"), of_class(prompt, EDIT), of_class(prompt, "DVADecodeDDIM")
    prompt[edit]["inputs"]["attributes"] = '{"Male": -0.9, "Young": -0.9}'
    choice = {"people": [left], "shots": {"2": [middle]}}
    inputs = {"model": prompt[encode]["inputs"]["model"], "video": prompt[encode]["inputs"]["video"], "choice": json.dumps(choice)}
    prompt["50"] = {"class_type": KIND, "inputs": inputs}
    prompt[encode]["inputs"]["people"] = ["50", 0]
    answer = server.run(prompt)
    assert answer.succeeded, answer.error
    source, result = pictures(crowd), pictures(server.file(answer.outputs[decode]["images"][0]))
    changed = np.abs(source.astype(int) - result).max(-1) > 12
    thirds = [changed[:, 60:200, x - 70 : x + 70].mean((1, 2)) > 0.01 for x in (80, 240, 400)]
    assert thirds[0].tolist() == [True] * SHOT + [False] * 15
    assert thirds[1].tolist() == [False] * SHOT + [True] * 15
    assert not thirds[2].any() and right not in (left, middle)
