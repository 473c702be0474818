"""Inversion and sampling with a decomposition's settings, and the z_face that condition them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from ..decomposition import Decomposition
from ..decomposition.info import DecompositionInfo
from ..diffusion.guidance import Guidance, GuidedModel
from ..diffusion.schedule import Schedule
from ..errors import DVAError
from ..model.arrays import fuse, to_images

logger = logging.getLogger(__name__)


def check_steps(steps: int, train_steps: int = 1000, power: float = 1.0) -> int:
    """Return `steps`; DVAError unless a schedule of train_steps has that many timesteps. For checks before a model is loaded."""
    Schedule(train_steps).timesteps(steps, power)
    return steps


def begin(
    direction,
    model,
    x: Tensor,
    z_face: Tensor,
    info: DecompositionInfo,
    callback,
    guidance: Guidance | None = None,
    before: Tensor | None = None,
) -> Tensor:
    """Run `direction`, `solvers.invert` or `solvers.sample`, with the decomposition's settings.

    `before` [B, F]: z_face before the edit, for guidance; None: no guidance. Whether the result `is_finite` is not looked at, for which a
    graphics card would have to be waited for.
    """
    network = model if before is None else GuidedModel(model, guidance)
    conditions = model.face_conditions(z_face if before is None else torch.cat([z_face, before]))
    return direction(network, x, conditions, info.steps, solver=info.solver, clamp=info.clamp, callback=callback, power=info.power)


def is_finite(result: Tensor) -> Tensor:
    """Whether all of it are finite numbers, as a tensor [] on its device."""
    return torch.isfinite(result).all()


def solve(direction, model, *inputs, **options) -> Tensor:
    """As `begin`, with the same arguments; in float32 if half precision overflows. DVAError if that overflows too."""
    result = begin(direction, model, *inputs, **options)
    if is_finite(result):
        return result
    if model.host.dtype == torch.float32:
        raise DVAError("The model computed values that are not finite numbers, even in float32; get the model file again.")
    logger.warning("Values that are not finite numbers in %s: computing these %d frames again in float32.", model.host.dtype, len(result))
    with model.host.in_float32("noise_predictor", model.noise_predictor):
        return solve(direction, model, *inputs, **options)


def edited_face(decomposition: Decomposition, model, rows: Sequence[int]) -> Tensor:
    """Compute z_face [B, F] of these rows with all edits."""
    return fuse(model, decomposition.current_identity(rows), decomposition.current_z_motion(rows))


def own_face(decomposition: Decomposition, model, rows: Sequence[int]) -> Tensor:
    """Compute z_face [B, F] of these rows before all edits, including switches."""
    if any(operation.get("name") == "switch" and operation.get("motion") for operation in decomposition.operations):
        # a switch stores the motion of another video
        motion = model.encode_motion(to_images(decomposition.crops[rows])).float().cpu().numpy()
    else:
        motion = decomposition.z_motion[rows]
    return fuse(model, decomposition.z_id, motion)
