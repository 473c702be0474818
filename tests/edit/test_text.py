"""Edits by text: what is recorded, and settings."""

import numpy as np
import pytest
from brightness import Brightness

from dva_core.decomposition import Decomposition
from dva_core.edit import apply_operations, apply_text
from dva_core.edit.text import find_text_direction, text_search
from dva_core.edit.text_settings import TextSettings
from dva_core.errors import DVAError

from .text_runs import QUICK, decomposition, model, path

__all__ = ["decomposition", "model", "path"]


def test_the_edit_is_recorded_as_a_direction_and_repeated_without_a_search(model, decomposition, tmp_path):
    edited = apply_text(decomposition, model, "face", "left", scale=0.5, clip_model=Brightness(), **QUICK)
    direction = find_text_direction(decomposition, model, "face", "left", clip_model=Brightness(), **QUICK)
    expected = decomposition.z_id + 0.5 * direction.vector
    np.testing.assert_allclose(edited.current_z_id, expected / np.linalg.norm(expected), atol=1e-6)
    edited.save(tmp_path / "edited.safetensors")
    loaded = Decomposition.load(tmp_path / "edited.safetensors")
    np.testing.assert_array_equal(loaded.current_z_id, edited.current_z_id)
    np.testing.assert_array_equal(apply_operations(decomposition, model, loaded.operations).current_z_id, edited.current_z_id)
    origin = loaded.operations[0]["direction"]["made"]
    assert [origin[key] for key in ("how", "source", "target", "clip", "frames")] == ["text", "face", "left", "a.mp4", [0]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": " "}, "needs a source and a target"),
        ({"images": 0}, "number of images cannot be 0"),
        ({"iterations": 0}, "number of iterations cannot be 0"),
        ({"clip_weight": -1.0}, r"weights \(-1.0"),
        ({"learning_rate": 0.0}, "learning rate 0"),
        ({"target": "face"}, "mean the same"),
        ({"scale": 77}, "The scale 77 of left makes no sense"),
    ],
)
def test_settings_that_make_no_sense_are_refused(model, decomposition, settings, message):
    with pytest.raises(DVAError, match=message):
        apply_text(decomposition, model, **{"target": "left", "clip_model": Brightness(), **QUICK, **settings})


def test_settings_are_kept_as_json_keeps_them():
    odd = TextSettings(target="x", images=np.int64(3), iterations=np.int32(7), seed=np.int64(1), learning_rate=np.float32(0.5))
    assert all(type(value) in (int, float, str, bool) for value in vars(odd).values())
    with pytest.raises(DVAError, match="cannot be"):
        TextSettings(target="x", iterations="7")


def test_settings_have_their_older_names_too(decomposition, model):
    older = text_search(decomposition, model, "face", "left", clip=Brightness(), steps=8, checkpoint=True)
    newer = text_search(decomposition, model, "face", "left", clip_model=Brightness(), iterations=8, save_memory=True)
    assert older.settings == newer.settings and isinstance(older.text_model, Brightness)
