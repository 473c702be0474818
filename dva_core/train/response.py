"""Identity directions as the finished model shows them: what a step of z_id does to the picture, not only to the classifier.

A classifier's weight is the way from faces without to faces with an attribute among vectors of real faces. What the noise predictor
makes of a step along it is another matter: most of it may be a darker or redder face, for attributes go along with colour in the pictures
(men's are darker), and little of it the attribute. The model itself tells, by gradients through the image that it estimates from a noisy
picture: of the face's mean colour, and of each attribute's verdict on the estimated, pasted face. The verdict is that of the classifier on
the face encoded anew; of sex and age, whose labels a teacher gave, the teacher's, where it is at hand.

So a direction is a mean of two: the classifier's weight, and the step by which the picture earns the verdict soonest, both without what
changes the colour and, for sex and age, each other's verdict. Of the second it has a share: with none, a beard is a shade; with much, the
picture shows what convinces the judge rather than people (docs/training_runs.md). Shifts of the motion are left as they are: taking
colour out of a smile bends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.finder import to_images
from dva_core.networks.hull import hull_mask
from dva_core.train.teacher_network import AgeAndSex

TIMESTEPS = (300, 500, 700, 900)
PICTURES, SEEDS = 48, (0, 1)  # how many pictures, each with these noises
SHARE = 0.2
TEACHERS_SHARE = {"Male": 0.3}  # where the verdict is the teacher's
APART = {"Male": ("Young",), "Young": ("Male",)}  # what an attribute's direction must not show besides


class Shown(NamedTuple):
    """What the model sees in N noisy pictures x_0 [N, 3, S, S]: its estimate, by z_id [N, D], and the face mask [N, 1, S, S]."""

    z_id: Tensor
    estimate: Tensor
    x_0: Tensor
    face: Tensor


def shown(model, pictures: np.ndarray) -> Iterator[Shown]:
    """At each of TIMESTEPS, with gradients by z_id; `pictures` uint8 [N, C, C, 3], PICTURES of which are used, with each of SEEDS."""
    images = to_images(pictures[np.linspace(0, len(pictures) - 1, min(PICTURES, len(pictures))).astype(int)])
    size = model.image_size
    with torch.no_grad():
        z_id, z_motion = model.encode_identity(images), model.encode_motion(images)
        face = hull_mask(model.encode_landmarks(images), size)
        x_0 = F.interpolate(images, (size, size), mode="area")
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        for timestep in TIMESTEPS:
            t = torch.full((len(images),), timestep)
            x_t = model.schedule.add_noise(x_0, t, torch.randn(x_0.shape, generator=generator))
            a, z = model.schedule.at(t, x_t), z_id.clone().requires_grad_(True)
            with torch.enable_grad():
                yield Shown(z, (x_t - (1 - a).sqrt() * model.predict_noise(x_t, t, model.fuse(z, z_motion))) / a.sqrt(), x_0, face)


def mean_gradients(model, pictures: np.ndarray, sees: Callable[[Shown], Tensor]) -> np.ndarray:
    """Mean gradients by z_id of what is seen, [N, K] of each `shown`: float64 [K, D]."""
    found = []
    for seen in shown(model, pictures):
        rows = [torch.autograd.grad(column.sum(), seen.z_id, retain_graph=True)[0].mean(0) for column in sees(seen).unbind(1)]
        found.append(torch.stack(rows).double())
    return torch.stack(found).mean(0).numpy()


def tone(seen: Shown) -> Tensor:
    """The face's mean red, green and blue [N, 3]."""
    return (seen.estimate * seen.face).sum((2, 3)) / seen.face.sum((2, 3)).clamp(min=1)


def verdicts(model, names: Sequence[str], weights: np.ndarray, teacher: AgeAndSex | None = None) -> Callable[[Shown], Tensor]:
    """What is made of a face, [N, K] for the attributes `names`: by classifiers with `weights` [K, D] on z_id itself, or by the teacher.

    Of the estimate only the face counts, as when it is pasted.
    """
    w = torch.from_numpy(np.float32(weights))

    def judge(seen: Shown) -> Tensor:
        pasted = F.interpolate(torch.lerp(seen.x_0, seen.estimate, seen.face), (model.crop_size,) * 2, mode="bilinear", align_corners=False)
        found = dict(zip(names, (model.run("identity_encoder", pasted) @ w.T).unbind(1)))
        taught = {} if teacher is None else dict(zip(teacher.NAMES, teacher(pasted).unbind(1)))
        return torch.stack([taught.get(name, value) for name, value in found.items()], 1)

    return judge


def without(steps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """`steps` [K, D] changed as little as can be so that no `gradients` [R, D] sees them: s - s G^T (G G^T)^-1 G."""
    return steps - steps @ np.linalg.pinv(gradients) @ gradients


def shown_directions(
    model, names: Sequence[str], weights: np.ndarray, std: np.ndarray, pictures: np.ndarray, teachers: Path | None = None
) -> np.ndarray:
    """Directions [K, D] in the standardised space of the attributes `names`, from their classifiers' weights [K, D] there.

    std [D] of the identities; pictures uint8 [N, C, C, 3] of faces; teachers: the folder with age_gender.onnx, for Male and Young.
    """
    teacher = None if teachers is None else AgeAndSex(teachers)
    judge = verdicts(model, names, weights / std, teacher)
    gradients = mean_gradients(model, pictures, lambda seen: torch.cat([tone(seen), judge(seen)], 1)) * std
    colours, earns = gradients[:3], gradients[3:]
    directions = []
    for name, weight, verdict in zip(names, weights, earns):
        others = [earns[[names.index(other)]] for other in APART.get(name, ()) if other in names]
        both = without(np.stack([weight, verdict]), np.concatenate([colours, *others]))
        norms = np.linalg.norm(both, axis=1, keepdims=True)
        own, earned = both / np.where(norms == 0, 1, norms)  # an untrained model shows nothing: then the weight alone
        share = SHARE if teacher is None else TEACHERS_SHARE.get(name, SHARE)
        directions.append((1 - share) * own + share * earned)
    return np.stack(directions)
