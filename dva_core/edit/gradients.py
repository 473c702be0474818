"""Identity directions as the model shows them: what a step of z_id does to the picture, not only to a classifier.

A classifier's weight, or the difference of two means, is the way from faces without to faces with an attribute among vectors of real
faces. What the noise predictor makes of a step along it is another matter: most of it may be a darker or redder face, for attributes go
along with colour in the pictures (men's are darker), and little of it the attribute. The model itself tells, by gradients through the
image that it estimates from a noisy picture: of the face's mean colour, and of the attribute's verdict on the estimated, pasted face.

So a direction is a mean of two: the weight, and the step by which the picture earns the verdict soonest, both without what changes the
colour. Of the second it has a share: with none, a beard is a shade; with much, the picture shows what convinces the judge rather than
people (docs/training_runs.md). Shifts of the motion are left as they are: taking colour out of a smile bends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusion.schedule import image_of
from ..model.arrays import shrink, to_images
from ..model.evaluation import usual_batch
from ..networks.hull import hull_mask
from ..progress import Progress, silent
from .differentiable import KEPT_FOR_GRADIENT, Differentiable

TIMESTEPS = (300, 500, 700, 900)
PICTURES, SEEDS = 48, (0, 1)  # how many pictures, each with these noises
SHARE = 0.2
PHASE = "shown"


class View(NamedTuple):
    """What the model sees in N noisy pictures x_0 [N, 3, S, S]: its estimate, by z_id [N, D], and the face mask [N, 1, S, S]."""

    z_id: Tensor
    estimate: Tensor
    x_0: Tensor
    face: Tensor


def spread(pictures: np.ndarray, most: int = PICTURES) -> np.ndarray:
    """`most` of the pictures [N, ...], evenly chosen, or all where there are fewer."""
    return pictures[np.linspace(0, len(pictures) - 1, min(most, len(pictures))).astype(int)]


def mean_gradients(
    networks: Differentiable, pictures: np.ndarray, sees: Callable[[View], Tensor], progress: Progress | None = None
) -> np.ndarray:
    """Mean gradients by z_id of what is seen, [N, K] of each `View`: float64 [K, D].

    pictures uint8 [N, C, C, 3], PICTURES of which are used, at each of TIMESTEPS with each of SEEDS. `progress` counts them.
    """
    model, progress = networks.model, progress or silent
    images = to_images(spread(pictures))
    total, done, sums = len(images) * len(SEEDS) * len(TIMESTEPS), 0, 0.0
    with torch.no_grad():
        z_id, z_motion = networks.encode_identity(images), model.encode_motion(images)
        face = hull_mask(model.encode_landmarks(images), model.image_size)
        x_0 = shrink(images, model.image_size)
    batch = max(1, usual_batch(model) // KEPT_FOR_GRADIENT)
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        for timestep in TIMESTEPS:
            noise = torch.randn(x_0.shape, generator=generator)

            def some(rows: range, timestep: int = timestep, noise: Tensor = noise) -> tuple[Tensor, int]:
                part = slice(rows.start, rows.stop)
                clean, z = x_0[part].to(networks.device), z_id[part].to(networks.device).clone().requires_grad_(True)
                t = torch.full((len(clean),), timestep, device=networks.device)
                x_t = model.schedule.add_noise(clean, t, noise[part].to(clean))
                eps = networks.predict_noise(x_t, t, networks.fuse(z, z_motion[part].to(z)))
                outputs = sees(View(z, image_of(x_t, eps, model.schedule.at(t, x_t)), clean, face[part].to(clean)))
                columns = outputs.unbind(1)
                gradients = [torch.autograd.grad(column.sum(), z, retain_graph=column is not columns[-1])[0].sum(0) for column in columns]
                return torch.stack(gradients).cpu().double(), len(clean)

            for gradients, count in model.host.run_batched(some, range(len(images)), batch):
                sums = sums + gradients
                done += count
                progress(PHASE, done, total)
    return (sums / total).numpy()


def tone(views: View) -> Tensor:
    """The face's mean red, green and blue [N, 3]."""
    return (views.estimate * views.face).sum((2, 3)) / views.face.sum((2, 3)).clamp(min=1)


def paste_estimate(views: View, size: int) -> Tensor:
    """The pictures with the estimated faces in them [N, 3, size, size]: only the face counts, as in an edited frame."""
    return F.interpolate(torch.lerp(views.x_0, views.estimate, views.face), (size, size), mode="bilinear", align_corners=False)


def verdicts(networks: Differentiable, weights: np.ndarray) -> Callable[[View], Tensor]:
    """What classifiers with `weights` [K, D] on z_id itself make of a face: [N, K]."""
    w = torch.from_numpy(np.float32(weights)).to(networks.device)
    return lambda views: networks.encode_identity(paste_estimate(views, networks.model.crop_size)) @ w.T


def without(steps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """`steps` [K, D] changed as little as can be so that no `gradients` [R, D] sees them: s - s G^T (G G^T)^-1 G."""
    return steps - steps @ np.linalg.pinv(gradients) @ gradients


def mix_direction(weight: np.ndarray, earned: np.ndarray, unseen: np.ndarray, share: float = SHARE) -> np.ndarray:
    """(1 - share) weight + share earned [D], each of unit length, both without what the gradients `unseen` [R, D] see."""
    both = without(np.stack([weight, earned]), unseen)
    norms = np.linalg.norm(both, axis=1, keepdims=True)
    own, shown = both / np.where(norms == 0, 1, norms)  # an untrained model shows nothing: then the weight alone
    return (1 - share) * own + share * shown


def visible_direction(model, weight: np.ndarray, std: np.ndarray, pictures: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """A direction [D] in the standardised space from a weight [D] there; std [D] of the identities, pictures uint8 [N, C, C, 3] of faces.

    Works under ComfyUI's inference mode; `progress("shown", done, total)` may raise to cancel.
    """
    with torch.inference_mode(False), Differentiable(model) as networks:
        judge = verdicts(networks, (weight / std)[None])
        with torch.enable_grad():
            gradients = mean_gradients(networks, pictures, lambda views: torch.cat([tone(views), judge(views)], 1), progress) * std
    return mix_direction(weight, gradients[3], gradients[:3])
