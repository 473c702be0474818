"""Identity directions from gradients: what a step of z_id does to the generated picture, not only to a classifier.

A classifier's weight, or the difference of two means, points from faces without to faces with an attribute, among vectors of real
faces. A step along it may change the generated picture differently: often a darker or redder face, because attributes correlate with
colour in the training pictures, and little of the attribute. Two gradients with respect to z_id, through the image x_0 that the model
estimates from a noisy picture, show this: of the face's mean colour, and of the classifier's output on the estimated, pasted face.

The direction is therefore a weighted mean of the classifier's weight and of the second gradient, both made orthogonal to the gradients
of the colour. SHARE is the part of the gradient: with 0 a beard is only a shade; with much more the picture fools the classifier rather
than people (docs/training_runs.md). Shifts of the motion are left as they are: removing colour from a smile distorts it.
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
from .differentiable import GRADIENT_MEMORY, Differentiable

TIMESTEPS = (300, 500, 700, 900)
PICTURES, SEEDS = 48, (0, 1)  # how many pictures, each with these noises
SHARE = 0.2
PHASE = "shown"


class View(NamedTuple):
    """N pictures x_0 [N, 3, S, S], the model's estimates of them from noise with z_id [N, D], and the face masks [N, 1, S, S]."""

    z_id: Tensor
    estimate: Tensor
    x_0: Tensor
    face: Tensor


def spread(pictures: np.ndarray, most: int = PICTURES) -> np.ndarray:
    """Choose `most` of the pictures [N, ...], evenly spaced, or all if there are fewer."""
    return pictures[np.linspace(0, len(pictures) - 1, min(most, len(pictures))).astype(int)]


def mean_gradients(
    networks: Differentiable, pictures: np.ndarray, outputs_of: Callable[[View], Tensor], progress: Progress | None = None
) -> np.ndarray:
    """Mean gradients with respect to z_id of the K outputs `outputs_of(view)` [N, K]: float64 [K, D].

    pictures uint8 [N, C, C, 3]: PICTURES of them are used, at each of TIMESTEPS with noise of each of SEEDS. `progress` counts them.
    """
    model, progress = networks.model, progress or silent
    images = to_images(spread(pictures))
    total, done, sums = len(images) * len(SEEDS) * len(TIMESTEPS), 0, 0.0
    with torch.no_grad():
        z_id, z_motion = networks.encode_identity(images), model.encode_motion(images)
        face = hull_mask(model.encode_landmarks(images), model.image_size)
        x_0 = shrink(images, model.image_size)
    batch = max(1, usual_batch(model) // GRADIENT_MEMORY)
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        for timestep in TIMESTEPS:
            noise = torch.randn(x_0.shape, generator=generator)

            def part_gradients(rows: range, timestep: int = timestep, noise: Tensor = noise) -> tuple[Tensor, int]:
                part = slice(rows.start, rows.stop)
                clean, z = x_0[part].to(networks.device), z_id[part].to(networks.device).clone().requires_grad_(True)
                t = torch.full((len(clean),), timestep, device=networks.device)
                x_t = model.schedule.add_noise(clean, t, noise[part].to(clean))
                eps = networks.predict_noise(x_t, t, networks.fuse(z, z_motion[part].to(z)))
                outputs = outputs_of(View(z, image_of(x_t, eps, model.schedule.at(t, x_t)), clean, face[part].to(clean)))
                columns = outputs.unbind(1)
                gradients = [torch.autograd.grad(column.sum(), z, retain_graph=column is not columns[-1])[0].sum(0) for column in columns]
                return torch.stack(gradients).cpu().double(), len(clean)

            for gradients, count in model.host.run_batched(part_gradients, range(len(images)), batch):
                sums = sums + gradients
                done += count
                progress(PHASE, done, total)
    return (sums / total).numpy()


def mean_colour(views: View) -> Tensor:
    """The face's mean red, green and blue [N, 3]."""
    return (views.estimate * views.face).sum((2, 3)) / views.face.sum((2, 3)).clamp(min=1)


def paste_estimate(views: View, size: int) -> Tensor:
    """Paste the estimated faces into the pictures: [N, 3, size, size]."""
    return F.interpolate(torch.lerp(views.x_0, views.estimate, views.face), (size, size), mode="bilinear", align_corners=False)


def classifier_outputs(networks: Differentiable, weights: np.ndarray) -> Callable[[View], Tensor]:
    """`outputs_of` for `mean_gradients`: the outputs [N, K] of linear classifiers with `weights` [K, D] on the pasted faces' identities."""
    w = torch.from_numpy(np.float32(weights)).to(networks.device)
    return lambda views: networks.encode_identity(paste_estimate(views, networks.model.crop_size)) @ w.T


def remove_components(steps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Project `steps` [K, D] onto the complement of the span of `gradients` [R, D]: s - s G^T (G G^T)^-1 G."""
    return steps - steps @ np.linalg.pinv(gradients) @ gradients


def mix_direction(weight: np.ndarray, visible: np.ndarray, nuisance: np.ndarray, share: float = SHARE) -> np.ndarray:
    """(1 - share) weight + share visible [D], each of unit length and without its components along the gradients `nuisance` [R, D]."""
    both = remove_components(np.stack([weight, visible]), nuisance)
    norms = np.linalg.norm(both, axis=1, keepdims=True)
    own, visible_part = both / np.where(norms == 0, 1, norms)  # an untrained model has no gradient: then the weight alone
    return (1 - share) * own + share * visible_part


def visible_direction(model, weight: np.ndarray, std: np.ndarray, pictures: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """A direction [D] in the standardised space from a weight [D] there; std [D] of the identities, pictures uint8 [N, C, C, 3] of faces.

    Works under ComfyUI's inference mode; `progress("shown", done, total)` may raise to cancel.
    """
    with torch.inference_mode(False), Differentiable(model) as networks:
        classifiers = classifier_outputs(networks, (weight / std)[None])

        def colours_and_classifier(views: View) -> Tensor:
            return torch.cat([mean_colour(views), classifiers(views)], 1)

        with torch.enable_grad():
            gradients = mean_gradients(networks, pictures, colours_and_classifier, progress) * std
    return mix_direction(weight, gradients[3], gradients[:3])
