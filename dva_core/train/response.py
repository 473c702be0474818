"""Identity directions as the finished model shows them: what a step of z_id does to the picture, not only to the classifier.

A classifier's weight is the way from faces without to faces with an attribute among vectors of real faces. What the noise predictor
makes of a step along it is another matter: most of it may be a darker or redder face, for attributes go along with colour in the pictures
(men's are darker), and little of it the attribute. The model itself tells, by gradients through the image that it estimates from a noisy
picture: of the face's mean colour, and of each classifier's verdict on the estimated face, pasted and encoded anew.

So a direction is a mean of two: the classifier's weight, and the step by which the picture earns the verdict soonest, both without what
changes the colour and, for sex and age, each other's verdict. Of the second it has SHARE: none, and a beard is a shade; much, and the
picture shows what convinces the encoder rather than people (docs/training_runs.md). Shifts of the motion are left as they are: taking
colour out of a smile bends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.finder import to_images
from dva_core.networks.hull import hull_mask

TIMESTEPS = (300, 500, 700, 900)
PICTURES = 32
SHARE = 0.2
APART = {"Male": ("Young",), "Young": ("Male",)}  # what an attribute's direction must not show besides


class Shown(NamedTuple):
    """What the model sees in N noisy pictures x_0 [N, 3, S, S]: its estimate, by z_id [N, D], and the face mask [N, 1, S, S]."""

    z_id: Tensor
    estimate: Tensor
    x_0: Tensor
    face: Tensor


def shown(model, pictures: np.ndarray, seed: int = 0) -> Iterator[Shown]:
    """At each of TIMESTEPS, with gradients by z_id; `pictures` uint8 [N, C, C, 3], PICTURES of which are used."""
    images = to_images(pictures[np.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).astype(int)])
    size, generator = model.image_size, torch.Generator().manual_seed(seed)
    with torch.no_grad():
        z_id, z_motion = model.encode_identity(images), model.encode_motion(images)
        face = hull_mask(model.encode_landmarks(images), size)
        x_0 = F.interpolate(images, (size, size), mode="area")
    for timestep in TIMESTEPS:
        t = torch.full((len(images),), timestep)
        x_t = model.schedule.add_noise(x_0, t, torch.randn(x_0.shape, generator=generator))
        a, z = model.schedule.at(t, x_t), z_id.clone().requires_grad_(True)
        with torch.enable_grad():
            yield Shown(z, (x_t - (1 - a).sqrt() * model.predict_noise(x_t, t, model.fuse(z, z_motion))) / a.sqrt(), x_0, face)


def by_z_id(values: Tensor, z_id: Tensor) -> Tensor:
    """Gradients of the sums of values [N, K] by z_id [N, D], their mean over N: [K, D]."""
    rows = [torch.autograd.grad(column.sum(), z_id, retain_graph=True)[0].mean(0) for column in values.unbind(1)]
    return torch.stack(rows).double()


def tone_gradients(model, pictures: np.ndarray, seed: int = 0) -> np.ndarray:
    """Mean gradients of the face's red, green and blue by z_id: float64 [3, D]."""
    found = [
        by_z_id((s.estimate * s.face).sum((2, 3)) / s.face.sum((2, 3)).clamp(min=1), s.z_id) for s in shown(model, pictures, seed)
    ]  # fmt: skip
    return torch.stack(found).mean(0).numpy()


def verdict_gradients(model, weights: np.ndarray, pictures: np.ndarray, seed: int = 0) -> np.ndarray:
    """Mean gradients by z_id of weights . z' with z' the identity that is found in the estimated face: float64 [K, D].

    weights [K, D] of classifiers on z_id itself. Of the estimate only the face counts, as when it is pasted.
    """
    w, found = torch.from_numpy(np.float32(weights)), []
    for s in shown(model, pictures, seed):
        pasted = F.interpolate(torch.lerp(s.x_0, s.estimate, s.face), (model.crop_size,) * 2, mode="bilinear", align_corners=False)
        found.append(by_z_id(model.run("identity_encoder", pasted) @ w.T, s.z_id))
    return torch.stack(found).mean(0).numpy()


def without(steps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """`steps` [K, D] changed as little as can be so that no `gradients` [R, D] sees them: s - s G^T (G G^T)^-1 G."""
    return steps - steps @ np.linalg.pinv(gradients) @ gradients


def shown_directions(model, names: Sequence[str], weights: np.ndarray, std: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Directions [K, D] in the standardised space of the attributes `names`, from their classifiers' weights [K, D] there.

    std [D] of the identities; pictures uint8 [N, C, C, 3] of faces.
    """
    tone = tone_gradients(model, pictures) * std
    verdicts = verdict_gradients(model, weights / std, pictures) * std
    directions = []
    for name, weight, verdict in zip(names, weights, verdicts):
        others = [verdicts[[names.index(other)]] for other in APART.get(name, ()) if other in names]
        both = without(np.stack([weight, verdict]), np.concatenate([tone, *others]))
        norms = np.linalg.norm(both, axis=1, keepdims=True)
        own, earned = both / np.where(norms == 0, 1, norms)  # an untrained model shows nothing: then the weight alone
        directions.append((1 - SHARE) * own + SHARE * earned)
    return np.stack(directions)
