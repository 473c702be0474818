"""A training run that starts from a bundle."""

from __future__ import annotations

import json

import pytest
import torch
from bundles import tiny_tensors

from dva_core.commands.train import parser
from dva_core.errors import DVAError
from dva_core.model.bundle import write_bundle
from dva_core.model.loader import load_model
from dva_core.train import diffusion_command
from dva_core.train.state import read_tensors

from .runs import CONFIG, drawn_people, training, write_start


def test_a_run_can_start_from_a_bundle(tmp_path):
    bundle = write_start(tmp_path, CONFIG)
    run, model = training(bundle, tmp_path / "run", 1), load_model(bundle, device="cpu")
    run.start_from(bundle)
    x_t, t, z_id, motion = torch.randn(2, 3, 16, 16), torch.tensor([10, 900]), torch.randn(2, 128), torch.rand(2, 102)
    run.unet.eval()
    with torch.inference_mode():
        z_face = model.fuse(z_id, motion)
        ours = run.predict_noise(x_t, t, z_face)
        assert torch.allclose(model.predict_noise(x_t, t, z_face), ours, atol=1e-5) and ours.std() > 0
        scale = run.conditioner.gain.max()  # untrained encoders hardly vary, so their gains are large and float32 leaves less
        assert torch.allclose(run.conditioner.fuse(z_id, motion), z_face, atol=1e-6 * float(scale))
    assert all(torch.equal(run.ema.values[key], value) for key, value in run.parameters.items())


def test_a_start_that_predicts_something_else_begins_with_nothing_said(tmp_path):
    other = CONFIG | {"diffusion": {**CONFIG["diffusion"], "prediction": "v"}}
    bundle = write_start(tmp_path, other)
    run = training(bundle, tmp_path / "run", 1)
    run.start_from(bundle)
    x_t, t = torch.randn(2, 3, 16, 16), torch.tensor([10, 900])
    with torch.inference_mode():
        assert not run.unet(x_t, t, torch.randn(2, 16)).any()


def test_a_spatial_condition_that_the_start_has_not_begins_with_no_effect(tmp_path):
    predictor = {**CONFIG["noise_predictor"], "spatial_channels": 4, "spatial_size": 4}
    bundle = write_start(tmp_path, CONFIG)
    plain, grown = training(bundle, tmp_path / "a", 1), training(bundle, tmp_path / "b", 1, config=CONFIG | {"noise_predictor": predictor})
    x_t, t, z_face = torch.randn(2, 3, 16, 16), torch.tensor([10, 900]), torch.randn(2, 16)
    for run in (plain, grown):
        run.start_from(bundle)
        run.unet.eval()
    with torch.inference_mode():
        assert torch.equal(plain.unet(x_t, t, z_face), grown.unet(x_t, t, z_face))


def test_a_detail_head_that_the_start_has_not_is_fitted(tmp_path):
    bundle = write_start(tmp_path, CONFIG)
    run = training(bundle, tmp_path / "b", 1, config=CONFIG | {"noise_predictor": CONFIG["noise_predictor"] | {"detail_channels": 8}})
    run.start_from(bundle)
    assert run.unet.detail.proj_out.weight[:, :12].any()
    assert torch.equal(run.ema.values["unet.detail.proj_out.weight"], run.unet.detail.proj_out.weight)


def test_a_start_of_another_shape_is_refused(tmp_path):
    other = CONFIG | {"noise_predictor": {**CONFIG["noise_predictor"], "base_channels": 16}}
    bundle = write_start(tmp_path, other)
    with pytest.raises(DVAError, match="another shape"):
        training(bundle, tmp_path / "run", 1).start_from(bundle)


def test_the_whole_starter_keeps_the_encoders_of_a_start_of_another_shape(tmp_path, monkeypatch):
    bundle = write_start(tmp_path, CONFIG | {"noise_predictor": {**CONFIG["noise_predictor"], "base_channels": 16}})
    monkeypatch.setattr(diffusion_command, "load_frames", lambda args, size: drawn_people())
    for name, values in (("config", CONFIG), ("settings", {"steps": 1, "people": 3, "warm_up": 1})):
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    shared = ["--faces", "x", "--run", tmp_path / "run", "--start", bundle]
    shared += ["--config", tmp_path / "config.json", "--settings", tmp_path / "settings.json"]
    diffusion_command.run(parser().parse_args(list(map(str, ["starter", *shared, "--teachers", "x", "-o", tmp_path / "out"]))))
    trained = read_tensors(tmp_path / "run" / "diffusion" / "state.safetensors")
    assert trained["ema.unet.input_blocks.0.0.weight"].shape[0] == CONFIG["noise_predictor"]["base_channels"]
    with pytest.raises(DVAError, match="another shape"):
        diffusion_command.run(parser().parse_args(list(map(str, ["diffusion", *shared]))))


def test_a_start_with_other_encoders_is_refused(tmp_path):
    changes = {"identity_encoder.head.bias": torch.ones(128)}
    bundle = write_bundle(
        tmp_path / "other.safetensors", tiny_tensors(CONFIG | {"attributes": []}) | changes, CONFIG, licence="MIT", source="", model_card=""
    )
    with pytest.raises(DVAError, match="another identity encoder than the run's"):
        training(write_start(tmp_path, CONFIG), tmp_path / "run", 1).start_from(bundle.path)
