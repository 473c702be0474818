"""Solvers on an equation whose solution is known, and through the registry."""

from __future__ import annotations

import inspect
import math
from types import MappingProxyType

import pytest
import torch

from dva_core.diffusion import ddim, fixed_point, multistep, solvers
from dva_core.diffusion.schedule import Schedule
from dva_core.errors import DVAError
from dva_core.pipeline import encode

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


def errors(solver, steps, x_0, power=1.0):
    """Largest errors of inversion and of sampling, in float64."""
    model = Gaussian()
    path = model.schedule.downwards(steps, power)
    low, high = path[-1].alpha_bar, path[0].alpha_bar
    x_T = model.path(x_0, low, high)
    settings = {"steps": steps, "solver": solver, "clamp": False, "power": power, "dtype": torch.float64}
    inverted, sampled = solvers.invert(model, x_0, None, **settings), solvers.sample(model, x_T, None, **settings)
    return (inverted - x_T).abs().max(), (sampled - model.path(x_T, high, 1.0)).abs().max()


@pytest.fixture
def x_0():
    return torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(1, 3, 4, 4)


@pytest.mark.parametrize(
    ("solver", "inverting", "sampling"),  # what half the step length divides the error by: 2^order, less where Euler's first step weighs
    [("ddim", 1.8, 1.8), ("order2", 2.4, 3.5), ("order3", 2.8, 7), ("dpmpp2m", 2.8, 3.5), ("angle2", 2.8, 3.5), ("angle2c", 2.8, 3.2)],
)
def test_order_of_convergence(x_0, solver, inverting, sampling):
    coarse, fine = errors(solver, 250, x_0), errors(solver, 500, x_0)
    assert coarse[0] / fine[0] > inverting
    assert coarse[1] / fine[1] > sampling


@pytest.mark.parametrize("steps", [20, 50, 150])
def test_order2_beats_ddim_at_the_same_cost(x_0, steps):
    for better, worse in zip(errors("order2", steps, x_0), errors("ddim", steps, x_0)):
        assert better < worse / 3


@pytest.mark.parametrize("steps", [20, 60])
def test_a_power_brings_steps_to_where_they_are_needed(x_0, steps):
    """Of DDIM and of the angle, both ways, at the same cost."""
    for solver in ("ddim", "angle2"):
        for better, worse in zip(errors(solver, steps, x_0, power=1.5), errors(solver, steps, x_0)):
            assert better < 0.75 * worse


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
    torch.testing.assert_close(solvers.invert(model, x_0, None, 3, "order2", clamp=False), expected, atol=1e-5, rtol=1e-5)


def test_a_corrected_step_by_hand(x_0):
    """T = 3 upwards: the first step, DDIM's, taken again with the slopes of both its ends; the second and last is angle2's."""
    model = Gaussian()
    (t0, a0, a1), (t1, _, a2) = model.schedule.upwards(3)
    phi = [math.acos(math.sqrt(a)) for a in (a0, a1, a2)]

    def parts(x, t, a):
        return ddim.estimate(model, x, t, a, None, clamp=False)

    def moved(x, lines, start, to):
        """x after the integral of cos phi eps - sin phi x_0 by the midpoint rule with very many points."""
        angles = start + (to - start) * (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
        slopes = [math.cos(p) * lines(p)[1] - math.sin(p) * lines(p)[0] for p in angles.tolist()]
        return x + (to - start) / 2000 * sum(slopes)

    def line(p, q, at_p, at_q):
        return lambda phi: tuple(u + (phi - p) / (q - p) * (v - u) for u, v in zip(at_p, at_q))

    x = x_0.double()
    first = parts(x, t0, a0)
    states = parts(ddim.step(*first, a1), t1, a1)
    x = moved(x, line(phi[0], phi[1], first, states), phi[0], phi[1])
    second = states[0], (x - math.sqrt(a1) * states[0]) / math.sqrt(1 - a1)
    expected = moved(x, line(phi[1], phi[0], second, first), phi[1], phi[2])
    noise = solvers.invert(model, x_0, None, 3, "angle2c", clamp=False, power=1.0, dtype=torch.float64)
    torch.testing.assert_close(noise, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("solver", list(solvers.SOLVERS))
def test_every_solver_counts_calls_back_and_clamps(x_0, solver):
    model, calls = Gaussian(), []
    up, down = solvers.evaluations(solver, 7)
    x_T = solvers.invert(model, x_0, None, 7, solver, callback=lambda *state: calls.append(state))
    assert model.evaluations == up and [call[:2] for call in calls] == [(i, up) for i in range(1, up + 1)]
    states = solvers.SOLVERS[solver].states
    assert torch.equal(calls[-1][2], x_T[:, :3]) and x_T.dtype == torch.float32 and x_T.shape[1] == 3 * states
    rebuilt = solvers.sample(model, 3 * x_T, None, 7, solver)
    assert model.evaluations == up + down
    assert rebuilt.abs().max() <= 1
    assert solvers.sample(model, 3 * x_T, None, 7, solver, clamp=False).abs().max() > 1
    assert torch.isfinite(solvers.invert(model, x_0, None, 1, solver)).all()


@pytest.mark.parametrize("solver", list(solvers.SOLVERS))
def test_the_state_is_wider_than_what_the_network_computes_in(x_0, solver):
    """A network that puts out half precision: its rounding stays small, and the state keeps the precision asked for."""

    class Half(Gaussian):
        def predict_noise(self, x_t, t, z_face):
            return super().predict_noise(x_t.half(), t, z_face).half()

    for dtype in (torch.float32, torch.float64):
        exact = solvers.invert(Gaussian(), x_0, None, 6, solver, False, dtype=dtype)
        noise = solvers.invert(Half(), x_0, None, 6, solver, False, dtype=dtype)
        assert noise.dtype == exact.dtype == dtype
        assert 0 < (noise - exact).abs().max() < 0.02
        assert not torch.equal(noise, noise.half().to(dtype))


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
@pytest.mark.parametrize("solver", ["o-belm", "bdia"])
def test_reversible_solvers_give_the_image_back_exactly(x_0, solver, steps, clamp):
    """And another solver, with the same network, does not; a network as crooked as this one is no exact equation."""

    class Crooked(Gaussian):
        def predict_noise(self, x_t, t, z_face):
            return super().predict_noise(x_t, t, z_face) + 0.3 * torch.sin(5 * x_t + t[0])

    settings = {"steps": steps, "clamp": clamp, "dtype": torch.float64}
    pair = solvers.invert(Crooked(), x_0, None, solver=solver, **settings)
    assert pair.shape == (1, 6, 4, 4)
    assert (solvers.sample(Crooked(), pair, None, solver=solver, **settings) - x_0).abs().max() < 1e-10
    if steps > 1:
        x_T = solvers.invert(Crooked(), x_0, None, solver="order2", **settings)
        assert (solvers.sample(Crooked(), x_T, None, solver="order2", **settings) - x_0).abs().max() > 1e-3


def test_the_reversible_solvers_follow_the_equation(x_0):
    """Exact reversal alone would hold for nonsense too: their noise map is nearer to that of the known path than DDIM's."""
    model, steps = Gaussian(), 30
    path = model.schedule.upwards(steps)
    x_T = model.path(x_0, path[0].alpha_bar, path[-1].alpha_bar_next)
    noise_of = {
        name: solvers.invert(model, x_0, None, steps, name, False, dtype=torch.float64)[:, :3] for name in ("o-belm", "bdia", "ddim")
    }
    error = {name: (x - x_T).abs().max() for name, x in noise_of.items()}
    assert max(error["o-belm"], error["bdia"]) < error["ddim"] / 2


def test_fixed_point_rebuilds_better_than_ddim(x_0):
    model = Gaussian()
    settings = {"steps": 20, "clamp": False, "dtype": torch.float64}
    lost = {}
    for solver in ("ddim", "fixed-point"):
        x_T = solvers.invert(model, x_0, None, solver=solver, **settings)
        lost[solver] = (solvers.sample(model, x_T, None, solver=solver, **settings) - x_0).abs().max()
    assert lost["fixed-point"] < lost["ddim"] / 3


def test_the_fixed_point_is_ddims_own_inverse(x_0):
    """With many iterations of each step what is left is rounding."""
    model = Gaussian()
    path = model.schedule.downwards(12, 1.3)
    x_T = fixed_point.invert(model, x_0, None, path, False, None, iterations=40)
    assert model.evaluations == 40 * 12
    assert (ddim.along(model, x_T, None, path, False, None) - x_0).abs().max() < 1e-10


def test_ddim_by_name_is_ddim(x_0):
    model = Gaussian()
    assert torch.equal(solvers.invert(model, x_0, None, 9, "ddim"), ddim.invert(model, x_0, None, 9))
    assert torch.equal(solvers.sample(model, x_0, None, 9, "ddim"), ddim.sample(model, x_0, None, 9))


@pytest.mark.parametrize(("solver", "power"), [(name, {"angle2": 1.5, "angle2c": 1.7}.get(name, 1.0)) for name in solvers.SOLVERS])
def test_without_a_power_the_timesteps_are_those_that_suit_the_solver(x_0, solver, power):
    assert solvers.SOLVERS[solver].power == solvers.power_of(solver) == power and solvers.power_of(solver, 2) == 2
    x_T = solvers.invert(Gaussian(), x_0, None, 9, solver)
    assert torch.equal(x_T, solvers.invert(Gaussian(), x_0, None, 9, solver, power=power))
    assert not torch.equal(x_T, solvers.invert(Gaussian(), x_0, None, 9, solver, power=1.2))
    rebuilt = solvers.sample(Gaussian(), x_T, None, 9, solver)
    assert torch.equal(rebuilt, solvers.sample(Gaussian(), x_T, None, 9, solver, power=power))
    assert not torch.equal(rebuilt, solvers.sample(Gaussian(), x_T, None, 9, solver, power=1.2))


def test_a_model_may_name_the_power_that_suits_it(x_0):
    class Named(Gaussian):
        config = MappingProxyType({"powers": {"angle2c": 1.2}})

    assert (solvers.power_of("angle2c", None, Named()), solvers.power_of("angle2", None, Named())) == (1.2, 1.5)
    assert solvers.power_of("angle2c", 3, Named()) == 3
    x_T = solvers.invert(Named(), x_0, None, 9, "angle2c")
    assert torch.equal(x_T, solvers.invert(Gaussian(), x_0, None, 9, "angle2c", power=1.2))
    assert torch.equal(solvers.sample(Named(), x_T, None, 9, "angle2c"), solvers.sample(Gaussian(), x_T, None, 9, "angle2c", power=1.2))


def test_the_usual_way_is_what_encode_takes():
    for function in (solvers.invert, solvers.sample, encode):
        usual = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
        assert (usual["steps"], usual["solver"], usual["power"]) == (12, "angle2c", None)


def test_an_unknown_solver_is_named(x_0):
    with pytest.raises(DVAError, match="no solver 'euler'; choose one of ddim, order2"):
        solvers.sample(Gaussian(), x_0, None, 5, "euler")


def test_videos_have_one_noise_map_a_frame():
    assert all(solvers.SOLVERS[name].states == 1 for name in solvers.VIDEO_SOLVERS)
    with pytest.raises(DVAError, match="no solver 'bdia'"):
        solvers.find_solver("bdia", solvers.VIDEO_SOLVERS)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_adams_bashforth_integrates_polynomials(order):
    at, h = [0.0, -0.7, -1.1, -3.0][:order], 0.4
    weights = multistep.adams_bashforth(at, h)
    for degree in range(order):
        assert sum(w * s**degree for w, s in zip(weights, at)) == pytest.approx(h ** (degree + 1) / (degree + 1), abs=1e-12)
