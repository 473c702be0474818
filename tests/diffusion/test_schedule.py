"""What the network puts out, and the noise that follows from it."""

from __future__ import annotations

import json

import pytest
import torch
from bundles import tiny_config, write_tiny

from dva_core.diffusion import ddim
from dva_core.diffusion.schedule import PREDICTIONS, Schedule
from dva_core.errors import DVAError
from dva_core.model.loader import load_model


def test_the_noise_follows_from_the_velocity():
    schedule = Schedule(prediction="v")
    x_0, noise = torch.randn(3, 3, 4, 4).double(), torch.randn(3, 3, 4, 4).double()
    t = torch.tensor([0, 400, 999])
    a = schedule.at(t, x_0)
    velocity = a.sqrt() * noise - (1 - a).sqrt() * x_0
    assert torch.allclose(schedule.as_noise(velocity, schedule.add_noise(x_0, t, noise), t), noise, atol=1e-12)
    assert torch.allclose(schedule.as_output(noise, schedule.add_noise(x_0, t, noise), t), velocity, atol=1e-9)


def test_epsilon_is_the_default_and_taken_as_it_is():
    output, x_t = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert Schedule() == Schedule(prediction="epsilon")
    assert torch.equal(Schedule().as_noise(output, x_t, torch.tensor([0, 999])), output)


def test_an_unknown_prediction_is_refused():
    with pytest.raises(DVAError, match=r"'x0'.*epsilon or v"):
        Schedule(prediction="x0")


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_bundle_says_what_its_network_predicts(tmp_path, prediction):
    config = tiny_config(diffusion={"train_steps": 1000, "beta_start": 1e-4, "beta_end": 2e-2, "prediction": prediction})
    model = load_model(write_tiny(tmp_path / "m.safetensors", config=config), device="cpu")
    x_t, t, z = torch.randn(2, 3, 16, 16), torch.tensor([10, 900]), torch.randn(2, 24)
    with torch.inference_mode():
        output = model.noise_predictor(x_t, t, z)
        a = model.schedule.at(t, x_t)
        expected = output if prediction == "epsilon" else a.sqrt() * output + (1 - a).sqrt() * x_t
        assert torch.allclose(model.predict_noise(x_t, t, z), expected, atol=1e-5)
        there = ddim.invert(model, x_t.clamp(-1, 1), z, steps=50)
        assert torch.isfinite(there).all()
    assert json.loads(json.dumps(model.config["diffusion"]))["prediction"] == prediction
