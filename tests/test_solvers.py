"""Solvers on an equation whose solution is known, and through the registry."""

from __future__ import annotations

import pytest
import torch

from dva_core.diffusion import ddim, solvers
from dva_core.diffusion.schedule import Schedule
from dva_core.errors import DVAError

MEAN, VARIANCE = 0.3, 0.25


class Gaussian:
    """The exact noise predictor of pixels drawn from N(MEAN, VARIANCE); the equation's paths are then known."""

    schedule = Schedule()

    def __init__(self):
        self.evaluations = 0

    def predict_noise(self, x_t, t, z_face):
        self.evaluations += 1
        a = self.schedule.at(t, x_t)
        return (1 - a).sqrt() * (x_t - a.sqrt() * MEAN) / (a * VARIANCE + 1 - a)

    def path(self, x, now, then):
        """Where the equation takes x from alpha_bar `now` to `then`."""
        spread = ((then * VARIANCE + 1 - then) / (now * VARIANCE + 1 - now)) ** 0.5
        return then**0.5 * MEAN + spread * (x - now**0.5 * MEAN)


def errors(solver, steps, x_0):
    """Largest errors of inversion and of sampling."""
    model = Gaussian()
    path = model.schedule.downwards(steps)
    low, high = path[-1].now, path[0].now
    x_T = model.path(x_0, low, high)
    inverted = solvers.invert(model, x_0, None, steps, solver, clamp=False)
    sampled = solvers.sample(model, x_T, None, steps, solver, clamp=False)
    return (inverted - x_T).abs().max(), (sampled - model.path(x_T, high, 1.0)).abs().max()


@pytest.fixture
def x_0():
    return torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)


def test_order_of_convergence(x_0):
    """Halving the steps' length halves DDIM's error and quarters that of order 2."""
    for solver, inverting, sampling in (("ddim", 1.8, 1.8), ("order2", 2.4, 3.5)):  # upwards the first, Euler step weighs more
        coarse, fine = errors(solver, 100, x_0), errors(solver, 200, x_0)
        assert coarse[0] / fine[0] > inverting
        assert coarse[1] / fine[1] > sampling


@pytest.mark.parametrize("steps", [20, 50, 150])
def test_order2_beats_ddim_at_the_same_cost(x_0, steps):
    for better, worse in zip(errors("order2", steps, x_0), errors("ddim", steps, x_0)):
        assert better < worse / 3


def test_second_step_by_hand(x_0):
    """T = 3 upwards in the barred variables, as written in the equation."""
    model = Gaussian()
    t, a = model.schedule.timesteps(3), model.schedule.alphas_cumprod[model.schedule.timesteps(3)]
    sb = ((1 - a) / a).sqrt()

    def eps(xb, i):
        return model.predict_noise(a[i].sqrt() * xb, t[i : i + 1], None)

    xb = x_0.double() / a[0].sqrt()
    h0, h1 = sb[1] - sb[0], sb[2] - sb[1]
    e0 = eps(xb, 0)
    xb = xb + h0 * e0
    r = h1 / h0
    xb = xb + h1 * ((1 + r / 2) * eps(xb, 1) - r / 2 * e0)
    expected = (a[2].sqrt() * xb).float()
    torch.testing.assert_close(solvers.invert(model, x_0, None, 3, clamp=False), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", list(solvers.SOLVERS))
def test_every_solver_counts_calls_back_and_clamps(x_0, solver):
    model, calls = Gaussian(), []
    x_T = solvers.invert(model, x_0, None, 7, solver, callback=lambda *state: calls.append(state))
    assert model.evaluations == 6 and [call[:2] for call in calls] == [(i, 6) for i in range(1, 7)]
    assert torch.equal(calls[-1][2], x_T) and x_T.dtype == torch.float32
    rebuilt = solvers.sample(model, 3 * x_T, None, 7, solver)
    assert model.evaluations == 13
    assert rebuilt.abs().max() <= 1
    assert solvers.sample(model, 3 * x_T, None, 7, solver, clamp=False).abs().max() > 1
    assert torch.equal(solvers.invert(model, x_0, None, 1, solver), x_0)


def test_ddim_by_name_is_ddim(x_0):
    model = Gaussian()
    assert torch.equal(solvers.invert(model, x_0, None, 9, "ddim"), ddim.invert(model, x_0, None, 9))
    assert torch.equal(solvers.sample(model, x_0, None, 9, "ddim"), ddim.sample(model, x_0, None, 9))


def test_an_unknown_solver_is_named(x_0):
    with pytest.raises(DVAError, match="no solver 'euler'; choose one of ddim, order2"):
        solvers.sample(Gaussian(), x_0, None, 5, "euler")
