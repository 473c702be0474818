"""Finding models: which folders are looked in, and which file a name means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bundles import tiny_tensors

from dva_core.errors import DVAError
from dva_core.model import bundle as bundle_module
from dva_core.model.bundle import (
    find_models,
    model_folders,
    resolve_model,
)


@pytest.fixture
def folders(tmp_path, bundle, monkeypatch) -> list[Path]:
    """Three folders as found by default: shipped, $DVA_MODELS, the user's; the last does not exist."""
    shipped, listed, user = tmp_path / "shipped", tmp_path / "listed", tmp_path / "user"
    for folder, name in ((shipped, "starter"), (listed, "starter"), (listed, "mine")):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.safetensors").write_bytes(bundle.read_bytes())
    monkeypatch.setattr(bundle_module, "SHIPPED", shipped)
    monkeypatch.setenv("DVA_MODELS", os.pathsep.join([str(listed), "", str(shipped)]))
    monkeypatch.setattr(bundle_module, "user_data_folder", lambda: user)
    return [shipped, listed, user / "dva" / "models"]


def test_folders_and_models(folders):
    assert model_folders() == folders
    (folders[1] / "broken.safetensors").write_bytes(b"broken")
    (folders[1] / "notes.txt").write_text("no model")
    broken, mine, starter = find_models()
    assert (broken.name, mine.name, starter.name) == ("broken", "mine", "starter")
    assert starter.path == folders[0] / "starter.safetensors"  # the first folder wins
    assert "broken.safetensors is damaged" in broken.problem and not mine.problem
    assert (mine.licence, mine.source, mine.precision, mine.image_size) == ("MIT", "a test", "fp32", 16)
    assert mine.attributes == ("Young", "Male", "Smiling")
    assert mine.size_bytes == mine.path.stat().st_size
    assert mine.parameters == sum(tensor.numel() for tensor in tiny_tensors().values())


def test_the_users_folder_follows_the_platform(monkeypatch):
    monkeypatch.setattr(bundle_module.sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert model_folders()[-1] == Path("/data/dva/models")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert model_folders()[-1] == Path.home() / ".local/share/dva/models"
    monkeypatch.setattr(bundle_module.sys, "platform", "darwin")
    assert model_folders()[-1] == Path.home() / "Library/Application Support/dva/models"
    monkeypatch.setattr(bundle_module.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert model_folders()[-1] == Path("/local/dva/models")


def test_a_model_by_name_or_path(folders, tmp_path, bundle, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_model("mine") == resolve_model("mine.safetensors") == folders[1] / "mine.safetensors"
    assert resolve_model(str(bundle)) == resolve_model(bundle) == bundle
    Path("mine").write_text("a stray file of that name")
    assert resolve_model("mine") == folders[1] / "mine.safetensors"
    assert resolve_model("mine", [folders[1]]) == folders[1] / "mine.safetensors"


def test_an_unknown_model_is_told_what_there_is(folders, tmp_path):
    with pytest.raises(DVAError) as error:
        resolve_model("startr")
    message = str(error.value)
    assert "'startr', did you mean starter;" in message and "mine, starter" in message and "convert" in message
    assert all(str(folder) in message for folder in folders)
    with pytest.raises(DVAError, match="there are none in"):
        resolve_model("starter", [tmp_path / "empty"])
    with pytest.raises(DVAError, match="is a folder"):
        resolve_model(tmp_path)
