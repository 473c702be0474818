"""Solvers of the diffusion equation by name, with one signature for inversion (encode) and one for sampling (decode).

With xb = x / sqrt(alpha_bar) and sb = sqrt(1 - alpha_bar) / sqrt(alpha_bar), the equation is d xb / d sb = eps_theta (Song et al. 2021,
eq. 14). DDIM is its Euler method; the other methods are in the files beside this one.
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
    """Both directions of a method and its default timestep `power`. With two `states` a noise map has twice the channels."""

    invert_along: Along
    sample_along: Along
    states: int = 1
    implicit: bool = False  # `invert_along` takes the sampling path and inverts its steps
    iterations: int = 1  # evaluations per inversion step
    power: float = 1.0  # measured in docs/solvers.md


def both_ways(along: Along, power: float = 1.0) -> Solver:
    """A method that is the same in both directions."""
    return Solver(along, along, power=power)


SOLVERS: dict[str, Solver] = {
    "ddim": both_ways(ddim.along),
    "order2": both_ways(multistep.order2),
    "angle2": both_ways(multistep.angle2, power=1.5),
    "angle2c": both_ways(multistep.angle2c, power=1.7),
    "fixed-point": Solver(fixed_point.invert, ddim.along, implicit=True, iterations=fixed_point.ITERATIONS),
    "order3": both_ways(multistep.order3),
    "dpmpp2m": both_ways(multistep.dpmpp2m),
    "o-belm": Solver(reversible.upwards(reversible.belm), reversible.downwards(reversible.belm), states=2),
    "bdia": Solver(reversible.upwards(reversible.bdia), reversible.downwards(reversible.bdia), states=2),
}
STEPS, SOLVER = 12, "angle2c"  # defaults, chosen in docs/solvers.md
VIDEO_SOLVERS = (
    "ddim",
    "order2",
    "angle2",
    "angle2c",
    "fixed-point",
)  # with one noise map a frame, as a decomposition stores it; the others are for comparison
CLIP_SOLVERS = VIDEO_SOLVERS  # its former name


def find_solver(solver: str, among: tuple[str, ...] = tuple(SOLVERS)) -> Solver:
    """Look up a solver by name; DVAError where it is not one of `among`."""
    if solver not in among:
        raise DVAError(f"There is no solver {solver!r}; choose one of {', '.join(among)}.")
    return SOLVERS[solver]


def power_of(solver: str, power: float | None = None, model: Any = None) -> float:
    """`power`, or where it is None the solver's default: the one in the model's configuration (`powers`), else `Solver.power`.

    DVAError for an unknown solver.
    """
    if power is not None:
        return float(power)
    own = getattr(model, "config", {}).get("powers") or {}
    return own.get(solver, find_solver(solver).power)


def evaluations(solver: str, steps: int) -> tuple[int, int]:
    """Count the network evaluations of inversion and of sampling with so many steps."""
    method = find_solver(solver)
    if method.states == 2:
        return steps - 1, max(0, steps - 2)
    return method.iterations * (steps if method.implicit else steps - 1), steps


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

    clamp   clamp the estimated image to [-1, 1] in each step
    power   of the timesteps, see `Schedule.timesteps`; None: the solver's default
    dtype   of the state, float32 or float64, whatever the network's precision

    `callback(done, total, x)` comes after each evaluation and may raise to cancel. Raises DVAError for an unknown solver.
    """
    method = find_solver(solver)
    path = (model.schedule.downwards if method.implicit else model.schedule.upwards)(steps, power_of(solver, power, model))
    return method.invert_along(model, x_0.to(dtype), z_face, path, clamp, callback)


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
    return find_solver(solver).sample_along(model, x_T.to(dtype), z_face, path, clamp, callback)
