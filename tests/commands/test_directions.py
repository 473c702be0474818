"""`text`, `direction` and `edit --direction`, with the tiny model and the stand-in for CLIP."""

import json

import numpy as np
import pytest
from brightness import Brightness
from bundles import IDENTITY, tiny_tensors, write_tiny
from standin import write_video

from dva_core.decomposition import Decomposition
from dva_core.edit import text as text_edit
from dva_core.edit.attributes import AttributeSet
from dva_core.edit.directions import Direction, encoder_fingerprint, from_attribute
from dva_core.model.loader import load_model

from . import answers


@pytest.fixture(autouse=True)
def text_model(monkeypatch, bright_finder):
    """The stand-in for CLIP, whose weights are not looked for."""
    monkeypatch.setattr("dva_core.commands.directions.import_open_clip", lambda: None)
    monkeypatch.setattr("dva_core.commands.directions.find_weights", lambda name: None)
    monkeypatch.setattr(text_edit, "load_clip", lambda *args: Brightness())


def refused(result, *words):
    """As `answers.refused`; which model runs where may be said before."""
    code, out, err = result
    *log, sentence = err.strip().splitlines()
    assert len(log) <= 1
    answers.refused((code, out, sentence), *words)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """It ends with the frame that is searched in: a search reads no further."""
    return write_video(tmp_path_factory.mktemp("video") / "video.mkv", 3)


SEARCH = ("--iterations", 6, "--images", 2)


def test_text_finds_a_direction_that_edit_applies(call, video, tmp_path, model):
    code, out, err = call("text", video, "--target", "left", "-o", "left.safetensors", *SEARCH, "--frame", 2, "--seed", 3, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["iterations"] == 6 and answer["loss"][1] < answer["loss"][0] and not answer["ended_early"]
    direction = Direction.load(tmp_path / "left.safetensors")
    assert (direction.name, direction.made["frames"], direction.made["seed"], direction.made["how"]) == ("left", [2], 3, "text")
    assert call("encode", video, "-o", "decomposed.safetensors", "--steps", 2)[0] == 0
    code, _, err = call("text", "decomposed.safetensors", "--target", "left", "-o", "again.safetensors", *SEARCH, "--frame", 2, "--seed", 3)
    assert code == 0 and "in 6 iterations" in err
    np.testing.assert_array_equal(Direction.load(tmp_path / "again.safetensors").vector, direction.vector)  # noise maps do not matter
    edit = ("--attribute", "Young", "--scale", 0.2, "--direction", "left.safetensors", "--scale", "0s:0,0.08s:-1")
    code, _, err = call("edit", "decomposed.safetensors", *edit, "-o", "edited.safetensors")
    assert code == 0, err
    edited = Decomposition.load(tmp_path / "edited.safetensors")
    assert [op["name"] for op in edited.operations] == ["attributes", "direction"]
    identities = edited.current_identity([0, 1, 2])
    expected = edited.current_z_id - direction.vector
    np.testing.assert_allclose(identities[2], expected / np.linalg.norm(expected), atol=1e-6)
    assert (
        call("edit", "decomposed.safetensors", "--direction", "left.safetensors", "--scale", 1, "-o", "out.mkv", "--codec", "ffv1")[0] == 0
    )


def test_interrupting_the_search_keeps_the_best_so_far(call, video, tmp_path, monkeypatch):
    class Interrupting(Brightness):
        def encode_images(self, images):
            self.batches.append(len(images))
            if len(self.batches) > 6:
                raise KeyboardInterrupt
            return super().encode_images(images)

    monkeypatch.setattr(text_edit, "load_clip", lambda *args: Interrupting())
    code, out, err = call("text", video, "--target", "left", "-o", "left.safetensors", *SEARCH, "--json")
    assert code == 0, err
    assert json.loads(out)["ended_early"] and Direction.load(tmp_path / "left.safetensors").made["iterations"] < 6


def test_direction_shows_adds_scales_and_purifies(call, tmp_path, model):
    code, out, _ = call("direction", "Young", "--scale", 0.5)
    assert code == 0 and out.startswith("Young: a direction of identity, a trained attribute of the model") and "Male" in out
    arithmetic = ("--factor", 1, "--factor", -0.5, "--without", "Male")
    code, out, err = call("direction", "Young", "Male", *arithmetic, "-o", "pure.safetensors", "--name", "Pure", "--json")
    assert code == 0, err
    answer = json.loads(out)
    pure = Direction.load(tmp_path / "pure.safetensors")
    assert answer["name"] == pure.name == "Pure" and {score["name"] for score in answer["scores"]} == {"Young", "Male"}
    attributes = AttributeSet.from_model(model)
    gradient = attributes.weight("Male") / attributes.tensors["identity.std"].reshape(-1)
    assert abs(gradient @ pure.vector) < 1e-4 * np.linalg.norm(gradient) * np.linalg.norm(pure.vector)
    assert call("direction", "pure.safetensors", "--factor", -2, "-o", "twice.safetensors")[0] == 0
    np.testing.assert_allclose(Direction.load(tmp_path / "twice.safetensors").vector, -2 * pure.vector, rtol=1e-6)


def test_mistakes_are_said_in_a_sentence(call, video, tmp_path, model):
    from_attribute(model, "Young").save(tmp_path / "young.safetensors")
    Direction(np.ones(IDENTITY), "identity", "theirs", "f" * 64).save(tmp_path / "theirs.safetensors")
    text = ("text", video, "--target", "left", "-o", "x.safetensors")
    refused(call(*text[:-1], "x.pt"), "x.safetensors")
    refused(call(*text, "--frame", "-1"), "no frame -1")
    refused(call(*text, "--frame", 7), "no frame 7", "0 to 2")
    refused(call(*text, "--source", "left"), "mean the same")
    refused(call("text", "nowhere.mp4", "--target", "left", "-o", "x.safetensors"), "There is no file nowhere.mp4")
    refused(call("direction", "Yung"), "did you mean Young")
    refused(call("direction", "young.safetensors", "--without", "Young"), "Nothing is left of Young")
    refused(call("edit", video, "--direction", "gone.safetensors", "--scale", 1, "-o", "o.mp4"), "There is no direction gone.safetensors")
    refused(call("edit", video, "--direction", "theirs.safetensors", "--scale", 1, "-o", "o.mp4"), "another identity encoder")
    refused(call("edit", video, "--direction", "young.safetensors", "--scale", 50, "-o", "o.mp4"), "The scale 50 of Young")
    refused(call("edit", video, "--direction", "young.safetensors", "-o", "o.mp4"), "1 --attribute and --direction and 0 --scale")
    assert not list(tmp_path.glob("o.*")) and not (tmp_path / "x.safetensors").exists()


def test_the_model_file_may_change_but_not_its_encoder(call, tmp_path, model):
    from_attribute(model, "Young").save(tmp_path / "young.safetensors")
    changed = {"fusion.weight": tiny_tensors()["fusion.weight"] * 2}
    further = write_tiny(tmp_path / "further.safetensors", **changed)
    assert load_model(further, device="cpu").fingerprint != model.fingerprint
    assert encoder_fingerprint(load_model(further, device="cpu"), "identity") == encoder_fingerprint(model, "identity")
    assert call("direction", "young.safetensors", model=further)[0] == 0
