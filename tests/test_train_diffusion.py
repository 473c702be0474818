"""The diffusion training: it learns, it can be stopped and taken up again, its fusion layer folds into the plain one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import tiny_tensors
from safetensors.torch import save_file

from dva_core.bundle import write_bundle
from dva_core.errors import DVAError
from dva_core.loader import load_model
from dva_core.networks import build_network
from dva_core.train.diffusion import DiffusionSettings, DiffusionTraining, export
from dva_core.train.synthesis import Variants

CONFIG = json.loads((Path(__file__).parent.parent / "configs" / "starter.json").read_text())
CONFIG |= {
    "image_size": 16,
    "face_dim": 16,
    "diffusion": {**CONFIG["diffusion"], "prediction": "epsilon"},  # in noise there is no velocity to learn
    "noise_predictor": {
        "type": "unet", "image_size": 16, "patch_size": 2, "base_channels": 8, "channel_multipliers": [1, 2], "num_res_blocks": 1,
        "attention_resolutions": [4], "embedding_channels": 16, "condition_channels": 16, "dropout": 0.0,
    },
}  # fmt: skip


@pytest.fixture
def encoders(tmp_path):
    torch.manual_seed(0)
    for name, part in (("identity", "identity_encoder"), ("landmarks", "motion_encoder")):
        state = build_network(CONFIG[part]).state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, str(tmp_path / f"{name}.safetensors"))
    return tmp_path


def training(encoders, out, steps):
    rng = np.random.default_rng(0)
    people, frames = 12, 2
    variants = Variants(
        pictures=rng.integers(0, 256, (people * frames, 32, 32, 3), dtype=np.uint8),
        landmarks=rng.uniform(8, 24, (people * frames, 68, 2)).astype(np.float32),
        embedding=np.zeros((people * frames, 128), np.float32),
        group=np.repeat(np.arange(people), frames),
        original=np.repeat(np.arange(people), frames),
    )
    held_out = variants.group < 2
    return DiffusionTraining(CONFIG, encoders, variants, held_out, out, DiffusionSettings(steps=steps, people=3, warm_up=1))


def test_a_resumed_run_equals_one_never_stopped(encoders, tmp_path):
    whole = training(encoders, tmp_path / "whole", 6)
    whole.run()

    stopped = training(encoders, tmp_path / "stopped", 6)
    stopped.used = lambda: 1.0 if stopped.step >= 3 else stopped.step / 6
    stopped.run()
    resumed = training(encoders, tmp_path / "stopped", 6)
    resumed.resume()
    assert resumed.step == 3
    resumed.run()

    for key, value in whole.parameters.items():
        assert torch.equal(value, resumed.parameters[key]), key
    for key, value in whole.ema.values.items():
        assert torch.equal(value, resumed.ema.values[key]), key


def test_the_loss_falls(encoders, tmp_path):
    run = training(encoders, tmp_path / "run", 40)
    before = run.validate()["simple"]
    after = run.run()["simple"]
    assert after < 0.97 * before


def test_one_identity_for_all_frames_and_each_its_own_motion(encoders, tmp_path):
    run = training(encoders, tmp_path / "run", 1)
    images = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    z_id, points = run.conditioner.encode(images)
    each = run.conditioner.identity(images.flatten(0, 1)).unflatten(0, (2, 3))
    assert torch.allclose(z_id, each.mean(1), atol=1e-6)
    assert points.shape == (2, 3, 68, 2)


def test_the_folded_fusion_layer_is_the_trained_one(encoders, tmp_path):
    conditioner = training(encoders, tmp_path / "run", 1).conditioner.double()  # untrained encoders hardly vary: the gains are large
    z_id, motion = torch.randn(5, 128).double(), torch.rand(5, 102).double()
    weight, bias = conditioner.folded()
    assert torch.allclose(torch.cat([z_id, motion], 1) @ weight.T + bias, conditioner.fuse(z_id, motion), rtol=1e-9, atol=1e-6)


def test_export_holds_the_averaged_weights(encoders, tmp_path):
    run = training(encoders, tmp_path / "run", 2)
    run.run()
    config, tensors = export(tmp_path / "run" / "state.safetensors")
    assert config == CONFIG
    assert all(torch.equal(tensors[key], value) for key, value in run.ema.values.items())


def test_resuming_nothing_says_so(encoders, tmp_path):
    with pytest.raises(DVAError, match="no run can be resumed"):
        training(encoders, tmp_path / "none", 1).resume()


def write_start(folder, config):
    tensors = tiny_tensors(config | {"attributes": []})
    return write_bundle(folder / "start.safetensors", tensors, config, licence="MIT", source="a test", model_card="").path


def test_a_run_can_start_from_a_bundle(encoders, tmp_path):
    bundle = write_start(tmp_path, CONFIG)
    run, model = training(encoders, tmp_path / "run", 1), load_model(bundle, device="cpu")
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


def test_a_start_that_predicts_something_else_begins_with_nothing_said(encoders, tmp_path):
    other = CONFIG | {"diffusion": {**CONFIG["diffusion"], "prediction": "v"}}
    run = training(encoders, tmp_path / "run", 1)
    run.start_from(write_start(tmp_path, other))
    x_t, t = torch.randn(2, 3, 16, 16), torch.tensor([10, 900])
    with torch.inference_mode():
        assert not run.unet(x_t, t, torch.randn(2, 16)).any()


def test_a_start_of_another_shape_is_refused(encoders, tmp_path):
    other = CONFIG | {"noise_predictor": {**CONFIG["noise_predictor"], "base_channels": 16}}
    with pytest.raises(DVAError, match="another shape"):
        training(encoders, tmp_path / "run", 1).start_from(write_start(tmp_path, other))
