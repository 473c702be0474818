"""Deterministic DDIM: inversion of an image to its noise map, and sampling (Song et al. 2021; Kim et al. 2023, eq. 3 and 4).

`model` is any object with `predict_noise(x_t, t, z_face)` and a `schedule`. The state is float32 whatever the network's precision
(`along` keeps a float64 state); coefficients are float64. A callback gets `(done, total, x)` after each evaluation; it may raise to cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dva_core.diffusion.schedule import Schedule, Step, combine, image_of, noise_of

Callback = Callable[[int, int, Tensor], Any]


class NoiseModel(Protocol):
    """The interface that the solvers need of a model."""

    schedule: Schedule

    def predict_noise(self, x_t: Tensor, t: Tensor, z_face: Tensor) -> Tensor: ...


def estimate(model: NoiseModel, x_t: Tensor, t: int, alpha_bar: float, z_face: Tensor, clamp: bool = True) -> tuple[Tensor, Tensor]:
    """Estimate the image and the noise in x_t [B, 3, H, W]: (x_0, eps), x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.

    Both are float32, or float64 where x_t is. With `clamp` x_0 is brought into [-1, 1] and eps follows it.
    Differentiable in x_t and z_face.
    """
    eps = noise_at(model, x_t, t, z_face).to(x_t.device, torch.promote_types(x_t.dtype, torch.float32))
    x_0 = image_of(x_t, eps, alpha_bar)
    if clamp:
        x_0 = x_0.clamp(-1, 1)
        eps = noise_of(x_t, x_0, alpha_bar)
    return x_0, eps


def noise_at(model: NoiseModel, x_t: Tensor, t: int, z_face: Tensor) -> Tensor:
    """Predict eps [B, 3, H, W] of x_t at one timestep for the whole batch; a model's own `noise_at`, where it has one, takes an int."""
    if (own := getattr(model, "noise_at", None)) is not None:
        return own(x_t, t, z_face)
    timestep = torch.full((1,), t, device=x_t.device).expand(len(x_t))  # stride 0: the network embeds it once
    return model.predict_noise(x_t, timestep, z_face)


def step(x_0: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """The DDIM update (eta = 0): combine x_0 and eps [B, 3, H, W] at the timestep with this alpha_bar."""
    return combine(x_0, eps, alpha_bar)


def along(model: NoiseModel, x: Tensor, z_face: Tensor, path: Sequence[Step], clamp: bool, callback: Callback | None) -> Tensor:
    """Apply the DDIM steps of `path`, towards noise or image: x [B, 3, H, W] -> the state at its end; one evaluation per step."""
    for i, (t, alpha_bar, alpha_bar_next) in enumerate(path):
        x = step(*estimate(model, x, t, alpha_bar, z_face, clamp), alpha_bar_next)
        if callback is not None:
            callback(i + 1, len(path), x)
    return x


@torch.no_grad()
def invert(
    model: NoiseModel, x_0: Tensor, z_face: Tensor, steps: int = 100, clamp: bool = True, callback: Callback | None = None
) -> Tensor:
    """Invert images to noise maps: x_0 [B, 3, H, W] in [-1, 1], z_face [B, F] -> x_T [B, 3, H, W] float32; steps - 1 evaluations.

    Kim et al. 2023, eq. 4: t_0 = 0 -> t_1 -> ... -> t_(T-1). The default is the paper's; `dva_core.encode` takes solvers.STEPS of
    solvers.SOLVER, which is as near with fewer evaluations (docs/solvers.md). Raises DVAError where `steps` is not in 1..train_steps.
    """
    return along(model, x_0.float(), z_face, model.schedule.upwards(steps), clamp, callback)


@torch.no_grad()
def sample(
    model: NoiseModel, x_T: Tensor, z_face: Tensor, steps: int = 100, clamp: bool = True, callback: Callback | None = None
) -> Tensor:
    """Sample images from noise maps: x_T [B, 3, H, W], z_face [B, F] -> x_0 [B, 3, H, W] float32; `steps` evaluations, eta = 0.

    Kim et al. 2023, eq. 3: t_(T-1) -> ... -> t_0 -> image. Raises DVAError where `steps` is not in 1..train_steps.
    """
    return along(model, x_T.float(), z_face, model.schedule.downwards(steps), clamp, callback)
