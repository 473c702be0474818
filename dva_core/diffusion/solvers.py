"""Solvers of the diffusion equation, up (encode) and down (decode), under one signature and by name.

With xb = x / sqrt(alpha_bar) and sb = sqrt(1 - alpha_bar) / sqrt(alpha_bar), what DDIM follows is the ordinary differential
equation d xb / d sb = eps_theta (Song et al. 2021, eq. 14). DDIM is its Euler method; the others are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dva_core.diffusion import ddim, fixed_point, multistep, reversible
from dva_core.diffusion.ddim import Callback, NoiseModel
from dva_core.errors import DVAError

Along = Callable[..., Tensor]  # (model, x, z_face, path, clamp, callback) -> x: along the steps of a path


class Solver(NamedTuple):
    """Both directions of a method, with timesteps by the usual `power`. A noise map of one with two `states` has twice the channels."""

    up: Along
    down: Along
    states: int = 1
    undoes: bool = False  # `up` is given the downwards path, whose moves it undoes
    inner: int = 1  # evaluations a step upwards
    power: float = 1.0  # of the timesteps that suit it, as measured in docs/solvers.md


def both_ways(along: Along, power: float = 1.0) -> Solver:
    """The same method up and down."""
    return Solver(along, along, power=power)


SOLVERS: dict[str, Solver] = {
    "ddim": both_ways(ddim.along),
    "order2": both_ways(multistep.order2),
    "angle2": both_ways(multistep.angle2, power=1.5),
    "angle2c": both_ways(multistep.angle2c, power=1.7),
    "fixed-point": Solver(fixed_point.invert, ddim.along, undoes=True, inner=fixed_point.ITERATIONS),
    "order3": both_ways(multistep.order3),
    "dpmpp2m": both_ways(multistep.dpmpp2m),
    "o-belm": Solver(reversible.upwards(reversible.belm), reversible.downwards(reversible.belm), states=2),
    "bdia": Solver(reversible.upwards(reversible.bdia), reversible.downwards(reversible.bdia), states=2),
}
STEPS, SOLVER = 12, "angle2c"  # unless told otherwise; docs/solvers.md says why
CLIP_SOLVERS = (
    "ddim",
    "order2",
    "angle2",
    "angle2c",
    "fixed-point",
)  # for clips, with one noise map a frame; the others are to compare with


def named(solver: str, among: tuple[str, ...] = tuple(SOLVERS)) -> Solver:
    """The solver called `solver`; DVAError where there is none, or none `among` those that serve."""
    if solver not in among:
        raise DVAError(f"There is no solver {solver!r}; choose one of {', '.join(among)}.")
    return SOLVERS[solver]


def power_of(solver: str, power: float | None = None, model: Any = None) -> float:
    """`power` itself; where it is None what suits the solver called `solver`, as the model's configuration says (`powers`) or in general.

    DVAError where there is no such solver.
    """
    if power is not None:
        return float(power)
    own = getattr(model, "config", {}).get("powers") or {}
    return own.get(solver, named(solver).power)


def evaluations(solver: str, steps: int) -> tuple[int, int]:
    """How often the network is evaluated with so many steps, up and down."""
    method = named(solver)
    if method.states == 2:
        return steps - 1, max(0, steps - 2)
    return method.inner * (steps if method.undoes else steps - 1), steps


@torch.no_grad()
def invert(
    model: NoiseModel,
    x_0: Tensor,
    z_face: Tensor,
    steps: int = STEPS,
    solver: str = SOLVER,
    clamp: bool = True,
    callback: Callback | None = None,
    power: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Invert images to noise maps with the named solver: x_0 [B, 3, H, W] in [-1, 1], z_face [B, F] -> x_T [B, 3 states, H, W] of `dtype`.

    clamp   the network's estimate of the image is brought into [-1, 1] in each step
    power   of the timesteps, see `Schedule.timesteps`; None: what suits the solver
    dtype   of the state, float32 or float64, whatever the network computes in

    `callback(done, total, x)` comes after each evaluation and may raise to cancel. Raises DVAError for an unknown solver.
    """
    method = named(solver)
    path = (model.schedule.downwards if method.undoes else model.schedule.upwards)(steps, power_of(solver, power, model))
    return method.up(model, x_0.to(dtype), z_face, path, clamp, callback)


@torch.no_grad()
def sample(
    model: NoiseModel,
    x_T: Tensor,
    z_face: Tensor,
    steps: int = STEPS,
    solver: str = SOLVER,
    clamp: bool = True,
    callback: Callback | None = None,
    power: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sample images from noise maps with the named solver: x_T [B, 3 states, H, W], z_face [B, F] -> x_0 [B, 3, H, W] of `dtype`.

    Settings as of `invert`; `callback(done, total, x)` comes after each evaluation and may raise to cancel.
    """
    path = model.schedule.downwards(steps, power_of(solver, power, model))
    return named(solver).down(model, x_T.to(dtype), z_face, path, clamp, callback)
