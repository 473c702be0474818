"""The noise schedule and DDIM against the reference numbers."""

from __future__ import annotations

import pytest
import torch
from conftest import need_shared
from hypothesis import given
from hypothesis import strategies as st
from networks.reference import tiny_unet, tiny_unet_numbers

from dva_core.diffusion import ddim
from dva_core.diffusion.schedule import LARGEST_POWER, LEAST_POWER, Schedule
from dva_core.errors import DVAError


class Model:
    """A noise predictor with its schedule, which remembers the timesteps it was asked for."""

    def __init__(self, network):
        self.network, self.schedule, self.timesteps = network, Schedule(), []

    def predict_noise(self, x_t, t, z_face):
        self.timesteps.append(t.tolist())
        return self.network(x_t, t, z_face)


@pytest.fixture(scope="module")
def golden():
    return tiny_unet_numbers(need_shared)


@pytest.fixture(scope="module")
def model():
    return Model(tiny_unet(need_shared))


@pytest.mark.parametrize("steps", [5, 10, 20, 100])
def test_schedule_equals_the_reference(golden, steps):
    schedule = Schedule()
    timesteps = schedule.timesteps(steps)
    assert torch.equal(timesteps, golden[f"timesteps_T{steps}"])
    torch.testing.assert_close(schedule.alphas_cumprod[timesteps], golden[f"alphas_cumprod_T{steps}"], atol=1e-12, rtol=0)


@given(st.integers(1, 1000))
def test_any_number_of_steps_gives_even_timesteps(steps):
    schedule = Schedule()
    timesteps = schedule.timesteps(steps)
    assert len(timesteps) == steps
    assert timesteps[0] == 0 and timesteps[-1] < 1000
    gaps = timesteps.diff()
    assert steps == 1 or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)
    assert [s.t for s in schedule.upwards(steps)] == timesteps[:-1].tolist()
    assert [s.t for s in schedule.downwards(steps)] == timesteps.tolist()[::-1]
    assert schedule.downwards(steps)[-1].alpha_bar_next == 1


@given(st.integers(1, 1000), st.floats(LEAST_POWER, LARGEST_POWER))
def test_any_power_gives_rising_timesteps_between_the_same_ends(steps, power):
    schedule = Schedule()
    timesteps, even = schedule.timesteps(steps, power), schedule.timesteps(steps)
    assert len(timesteps) == steps and timesteps[0] == 0 and timesteps[-1] == even[-1]
    assert steps == 1 or timesteps.diff().min() >= 1
    assert [s.t for s in schedule.upwards(steps, power)] == timesteps[:-1].tolist()
    assert [s.t for s in schedule.downwards(steps, power)] == timesteps.tolist()[::-1]


@given(st.integers(1, 1000))
def test_power_1_is_even(steps):
    assert torch.equal(Schedule().timesteps(steps, 1.0), Schedule().timesteps(steps))


def test_a_power_by_hand():
    """round((i / 4)^2 800)"""
    assert Schedule().timesteps(5, 2).tolist() == [0, 50, 200, 450, 800]


@pytest.mark.parametrize("power", [0, 0.4, -1, 4.1, float("nan"), float("inf")])
def test_senseless_powers_are_refused(power):
    with pytest.raises(DVAError, match=r"is not a power for the timesteps; choose 0\.5 to 4"):
        Schedule().timesteps(10, power)


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.5, True])
def test_senseless_numbers_of_steps_are_refused(steps):
    with pytest.raises(DVAError, match="from 1 to 1000"):
        Schedule().timesteps(steps)


@pytest.mark.parametrize("steps", [5, 10, 20, 100])
def test_ddim_equals_the_reference(golden, model, steps):
    """To 1e-4. Where the start is an inverted noise map far from a normal one, the first step divides rounding errors by
    sqrt(alpha_bar), down to .01, so that float32 alone (the reference's own error against float64: 8e-4) gives more in places."""
    n = 2 if steps < 20 else 1  # one image is enough where it takes long
    g = {key: value[:n] for key, value in golden.items()}
    noise = ddim.invert(model, g["x0"], g["z_face"], steps)
    starts, z_face = torch.cat([g["x_t"], g[f"x_T_T{steps}"]]), g["z_face"].repeat(2, 1)
    sampled, rebuilt = ddim.sample(model, starts, z_face, steps).chunk(2)
    torch.testing.assert_close(sampled, g[f"sample_T{steps}"], atol=1e-4, rtol=0)
    for actual, name in ((noise, "x_T"), (rebuilt, "recon")):
        error = (actual - g[f"{name}_T{steps}"]).abs()
        assert error.mean() < 1e-4
        assert error.quantile(0.7) < 1e-4
        assert error.max() < 3e-3


def test_evaluations_callback_and_precision(golden, model):
    counted, calls = Model(model.network), []
    x_0, z_face = golden["x0"].double(), golden["z_face"]
    x_T = ddim.invert(counted, x_0, z_face, 4, callback=lambda *state: calls.append(state))
    assert counted.timesteps == [[t, t] for t in (0, 250, 500)]
    assert [call[:2] for call in calls] == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(calls[-1][2], x_T) and x_T.dtype == torch.float32 and not x_T.requires_grad
    counted.timesteps.clear()
    ddim.sample(counted, x_T, z_face, 3)
    assert counted.timesteps == [[t, t] for t in (667, 333, 0)]


def test_a_callback_may_cancel(golden, model):
    def cancel(done, total, x):
        if done == 2:
            raise KeyboardInterrupt

    counted = Model(model.network)
    with pytest.raises(KeyboardInterrupt):
        ddim.sample(counted, golden["x_t"], golden["z_face"], 10, callback=cancel)
    assert len(counted.timesteps) == 2


def test_clamp_bounds_the_image_and_is_optional():
    loud = Model(lambda x_t, t, z_face: -3 * torch.ones_like(x_t))
    x, z = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 4)
    assert ddim.sample(loud, x, z, 5).max() == 1
    assert ddim.sample(loud, x, z, 5, clamp=False).max() > 2


def test_estimate_has_a_gradient_in_z_face(golden, model):
    z_face = golden["z_face"].clone().requires_grad_()
    x_0, _ = ddim.estimate(model, golden["x_t"], 100, 0.9, z_face)
    x_0.sum().backward()
    assert z_face.grad.abs().max() > 0
