"""A model of the published kind (ArcFace, MobileNet landmarks, BiSeNet mask, epsilon) trained on: a few steps, and a bundle that edits."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from bundles import IDENTITY, tiny_config, write_tiny
from standin import stand_in, write_video
from torch import nn

from dva_core.commands import train as cli
from dva_core.commands.main import main
from dva_core.errors import DVAError
from dva_core.model.bundle import read_bundle
from dva_core.model.convert import published_config
from dva_core.model.loader import load_model
from dva_core.train.conditioner import Conditioner

ENCODERS = ("identity_encoder", "motion_encoder", "face_parser", "detector", "landmarks", "identity_dim", "crop_size")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    for person in "ab":
        (folder / person).mkdir()
        for frame in range(1):
            cv2.imwrite(str(folder / person / f"{frame}.png"), rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    return folder


def words(*parts) -> list[str]:
    return [str(part) for part in parts]


def test_published_weights_train_on_and_come_back_as_a_bundle_that_edits(frames, tmp_path, monkeypatch):
    published = published_config()
    config = tiny_config(name="published", **{key: published[key] for key in ENCODERS})
    start, out, run = write_tiny(tmp_path / "start.safetensors", config=config), tmp_path / "tuned.safetensors", tmp_path / "run"
    (tmp_path / "settings.json").write_text(json.dumps({"steps": 1, "people": 1, "frames": 1, "warm_up": 1, "scaled_inputs": False}))
    common = words("diffusion", "--data", frames, "--start", start, "--run", run, "--settings", tmp_path / "settings.json")
    assert cli.main([*common, "--device", "cpu"]) == 0
    assert cli.main(words("export", "--run", run, "--start", start, "-o", out, "--precision", "fp32")) == 0
    before, after = read_bundle(start), read_bundle(out)
    changed = {name.split(".")[0] for name, tensor in before.tensors.items() if not torch.equal(tensor, after.tensors[name])}
    assert changed == {"noise_predictor", "fusion"}
    assert after.config == before.config | {"name": "tuned"} and "1 steps" in after.metadata["source"]
    finder = stand_in(load_model(out, device="cpu"))
    monkeypatch.setattr("dva_core.faces.finder.FaceFinder.of", lambda model, detector="own": finder)
    video = write_video(tmp_path / "video.mkv", 1)
    edit = words("edit", video, "-o", tmp_path / "edited.mkv", "--model", out, "--attribute", "Young", "--scale", 0.8, "--steps", 2)
    assert main(edit) == 0 and (tmp_path / "edited.mkv").stat().st_size


def test_the_mask_is_the_parsers_with_hair_and_without_cloth():
    class Parser(nn.Module):
        def forward(self, images):
            classes = torch.tensor([0, 1, 17, 16]).repeat_interleave(4).expand(len(images), 16, 16)
            return nn.functional.one_hot(classes, 19).permute(0, 3, 1, 2).float()

    conditioner = Conditioner(nn.Identity(), nn.Identity(), 4, torch.zeros(6), torch.ones(6), Parser())
    mask = conditioner.face_mask(torch.zeros(2, 3, 8, 8), torch.zeros(2, 68, 2), 8)
    assert mask.shape == (2, 1, 8, 8) and mask[1, 0, 3].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


def test_a_run_goes_on_by_itself_and_is_not_mixed_with_other_encoders(frames, tmp_path):
    start, run, out = write_tiny(tmp_path / "start.safetensors"), tmp_path / "run", tmp_path / "out.safetensors"
    common = words("diffusion", "--data", frames, "--run", run, "--device", "cpu", "--frames", 1, "--people", 1)
    assert cli.main([*common, "--start", str(start), "--steps", "1"]) == 0
    assert cli.main([*common, "--resume", "--steps", "2"]) == 0  # configuration and encoders are the state's
    assert json.loads((run / "diffusion.json").read_text())["step"] == 2
    figures = (run / "diffusion.json").read_text()
    assert cli.main([*common, "--resume", "--steps", "2"]) == 0
    kept = json.loads((run / "diffusion.json").read_text())
    assert kept | {"seconds": 0} == json.loads(figures) | {"seconds": 0}  # nothing was left to do, and nothing is lost
    with pytest.raises(DVAError, match="begun with another configuration than published"):
        cli.main([*common, "--resume", "--config", "published"])
    other = write_tiny(tmp_path / "other.safetensors", **{"identity_encoder.head.bias": torch.ones(IDENTITY)})
    with pytest.raises(DVAError, match=r"other\.safetensors was made with another identity encoder"):
        cli.main(words("export", "--run", run, "--start", other, "-o", out))
    with pytest.raises(DVAError, match="is not there: check --run"):
        cli.main(words("export", "--run", tmp_path / "none", "--start", start, "-o", out))
    assert not (tmp_path / "none").exists() and not out.exists()
    assert cli.main(words("export", "--run", run, "--start", start, "-o", out)) == 0


def test_what_is_missing_is_told(frames, tmp_path):
    run = words("--run", tmp_path / "run", "--steps", 1, "--device", "cpu")
    with pytest.raises(DVAError, match="nothing to train on"):
        cli.main(["diffusion", *run])
    with pytest.raises(DVAError, match="holds no encoders"):
        cli.main(["diffusion", "--data", str(frames), *run])
    with pytest.raises(DVAError, match="is not there: check --run"):
        cli.main(["diffusion", "--data", str(frames), "--start", str(write_tiny(tmp_path / "tiny.safetensors")), "--resume", *run])
    with pytest.raises(DVAError, match="No group has 3"):
        cli.main(["diffusion", "--data", str(frames), "--start", str(tmp_path / "tiny.safetensors"), "--frames", "3", *run])
