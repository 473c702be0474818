"""Fit of a face texture: its patterns are what each kind of pair changes on the mean face (`looks`).

A change such as glasses makes of a pixel x the value x + A + B x, where A and B depend on the place in the face alone. A linear function of
z_face reads how much of each kind is meant; the other parts of the network see z_face without it. The texture, where the motion encoder
places it, is then the change that training asks for (`pair_objective`).
"""

from __future__ import annotations

import logging

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.diffusion.schedule import Schedule, image_of
from dva_core.errors import DVAError
from dva_core.model.autoencoder import JAW
from dva_core.networks.texture import BOX, FaceRemainder, FaceTexture
from dva_core.networks.unet import UNet
from dva_core.train.conditioner import fold_scaling
from dva_core.train.grow import fit_to_time
from dva_core.train.looks import Looks, place_at
from dva_core.train.pair_objective import PairObjective, move_identity
from dva_core.train.pairs import ATTRIBUTE, DRAWN, KINDS, MOTION

log = logging.getLogger(__name__)

FIRST = {name: kind for kind, (name, _) in ATTRIBUTE.items()}  # one kind of each attribute
IDENTITY = [KINDS.index(kind) for kind in FIRST.values() if kind not in MOTION]
STRENGTH = {  # of what the looks show, at scale 1, by eye
    "Freckles": 0.7, "Older": 0.65, "Younger": 0.6, "Male": 0.75, "Female": 0.6, "Wearing_Lipstick": 0.8, "Heavy_Makeup": 0.75,
    "Bushy_Eyebrows": 0.85,
}  # fmt: skip
PEOPLE = 64  # of each kind's, from which the spread of faces is measured
FULL_SIGMA = 0.1  # standard deviation of the noise from which the texture is blended whole; a picture with less shows it already
MEASURED = 24  # timesteps at which `share_shown` is measured
SHRINKAGE = 0.01  # of the covariance of faces


@torch.no_grad()
def read_landmarks(texture: FaceTexture, fusion: nn.Linear, centre: Tensor, gain: Tensor) -> None:
    """Let `texture` read the landmarks from z_face: the pseudo-inverse of z_face = fusion((v - centre) gain), v = [z_id ; z_motion].

    DVAError if z_face is shorter than v, so that they cannot be read from it.
    """
    if fusion.out_features < fusion.in_features:
        raise DVAError(
            f"With a texture face_dim must be {fusion.in_features} or more, the length of both vectors; it is {fusion.out_features}."
        )
    count = texture.points.out_features
    inverse = torch.linalg.pinv(fusion.weight.double().cpu())[-count:] / gain[-count:].double().cpu()[:, None]
    texture.points.weight.copy_(inverse)
    texture.points.bias.copy_(-inverse @ fusion.bias.double().cpu())
    texture.mean.weight.copy_(centre[-count:, None])


@torch.no_grad()
def split_face(rest: FaceRemainder, fusion: nn.Linear, centre: Tensor, gain: Tensor, steps: Tensor) -> None:
    """Fit `rest` to the fusion layer, as of `read_landmarks`: z_face without the identity steps [K, D], which are orthogonal."""
    inputs = rest.identity.out_features
    weight, bias = fold_scaling(*(v.double().cpu() for v in (fusion.weight, fusion.bias, centre, gain)))
    read = torch.linalg.pinv(weight)[:inputs]
    unit = F.normalize(steps.double().cpu(), dim=1)
    without = read - unit.T @ (unit @ read)
    rest.identity.weight.copy_(without)
    rest.identity.bias.copy_(-without @ bias)
    rest.fusion.weight.copy_(weight[:, :inputs])
    rest.others.weight.copy_(torch.eye(len(weight)) - weight[:, :inputs] @ read)
    rest.others.bias.copy_(weight[:, :inputs] @ (read @ bias))


@torch.no_grad()
def fit_gates(unet: UNet, schedule: Schedule, shown: np.ndarray | None = None) -> None:
    """Fit the gates of the blend (see TextureBlend) as functions of t, by least squares; below FULL_SIGMA they fall to 0 with the noise.

    `shown` [T]: the share of a drawing in x_t that the prediction shows anyway, see `share_shown`. None: none.
    """
    a = schedule.alphas_cumprod.double().cpu()
    sigma = (1 - a).sqrt()
    if schedule.prediction == "v":  # x_0 = sqrt(a) x_t - sigma v
        gates = torch.stack([-1 / sigma, -a.sqrt() / sigma, torch.ones_like(a)], 1)
    else:  # x_0 = (x_t - sigma epsilon) / sqrt(a)
        gates = torch.stack([-a.sqrt() / sigma, -1 / sigma, torch.ones_like(a)], 1)
    gates = gates * (sigma / FULL_SIGMA).clamp(max=1).square()[:, None]
    shown = torch.zeros_like(a) if shown is None else torch.from_numpy(shown).double()
    weight, bias = fit_to_time(unet, torch.cat([gates, shown[:, None]], 1), sigma)  # errors as they are in the image
    unet.texture_blend.gates.weight.copy_(weight)
    unet.texture_blend.gates.bias.copy_(bias)


@torch.no_grad()
def share_shown(pairs: PairObjective, rng: np.random.Generator, generator: torch.Generator) -> np.ndarray:
    """Measure the share of a drawing in x_t that the estimate of x_0 shows without being told of it by z_face, at each timestep [T]."""
    objective = pairs.objective
    rows = np.concatenate([rng.choice(pairs.train_rows[KINDS.index(kind)], 4) for kind in DRAWN])
    batch = pairs.cross_pairs(rows, rng, generator, levels=(torch.zeros(len(rows)), torch.ones(len(rows))))
    z_face = objective.conditioner.fuse(*batch.own)
    visited = np.unique(np.round(np.linspace(0, 1, MEASURED) ** 2 * (objective.schedule.train_steps - 1)).astype(int))
    noise = torch.randn(batch.x_0.shape, generator=generator).to(batch.x_0)
    shares = []
    for step in visited:
        t = torch.full((len(rows),), int(step), device=batch.x_0.device)
        a = objective.schedule.at(t, batch.x_0)
        estimates = []
        for x_0 in (batch.x_0, batch.x_0 + batch.change):
            x_t = objective.schedule.add_noise(x_0, t, noise)
            estimates.append(image_of(x_t, objective.predict_noise(x_t, t, z_face), a))
        seen = (estimates[1] - estimates[0]) * batch.change
        shares.append(float(seen.sum() / batch.change.square().sum()))
    log.info("texture: share of a drawing that is shown anyway, by timestep: %s", dict(zip(visited.tolist(), np.round(shares, 2).tolist())))
    return np.interp(np.arange(objective.schedule.train_steps), visited, np.clip(shares, 0, 1))


def patterns_of(looks: Looks, texture: FaceTexture, steps: tuple[Tensor, Tensor]) -> Tensor:
    """Patterns [6 size^2, K] of the kinds: the maps of the looks moved from the landmarks of the looks to those of the texture's mean face.

    What a motion step changes is looked up where the step puts the landmarks, for that is where an edit shows it.
    """
    points, patterns = looks.landmarks[JAW:], []
    own = texture.mean.weight.detach().cpu().reshape(1, -1, 2)
    size = round(texture.size / BOX[2])
    left, top = (round(side * size) for side in BOX[:2])
    for maps, motion_step in zip(looks.maps, steps[1].cpu()):
        there = torch.from_numpy(points)[None] + motion_step.reshape(1, -1, 2)
        moved = place_at(torch.from_numpy(maps)[None], there, own, max(size, maps.shape[-1]))
        moved = F.interpolate(moved, (size, size), mode="area")
        patterns.append(moved[0, :, top : top + texture.size, left : left + texture.size].flatten())
    return torch.stack(patterns, 1)


@torch.no_grad()
def fit_texture(unet: UNet, pairs: PairObjective, looks: Looks, rng: np.random.Generator, generator: torch.Generator) -> None:
    """Fit the patterns, their weights and the gates of the blend.

    DVAError if the texture has fewer patterns than there are kinds.
    """
    texture = unet.texture
    if texture.patterns.in_features < len(KINDS):
        raise DVAError(f"texture_rank must be {len(KINDS)} or more, a pattern for each kind of pair; it is {texture.patterns.in_features}.")
    conditioner = pairs.objective.conditioner
    split_face(unet.texture_rest, conditioner.fusion, conditioner.centre, conditioner.gain, pairs.steps[0][IDENTITY])
    vectors = []
    for rows in pairs.train_rows:
        vectors.append(pairs.cross_pairs(rng.choice(rows, min(PEOPLE, len(rows)), replace=False)).own)
    fit_weights(texture, pairs, *(torch.cat(parts) for parts in zip(*vectors)))
    fit_gates(unet, pairs.objective.schedule, share_shown(pairs, rng, generator))  # while there are no patterns
    strength = torch.tensor([STRENGTH.get(kind, 1.0) for kind in KINDS])
    texture.patterns.weight[:, : len(KINDS)] = (patterns_of(looks, texture, pairs.steps) * strength).to(texture.patterns.weight)


@torch.no_grad()
def fit_weights(texture: FaceTexture, pairs: PairObjective, z_id: Tensor, z_motion: Tensor) -> None:
    """Let the texture read how much of each kind is meant, from people's z_id [N, D] and z_motion [N, M].

    It reads the step of a kind as 1, those of the other attributes and the identity's length as 0, and people as nearly 0 as that allows.
    """
    fuse, faces = pairs.objective.conditioner.fuse, pairs.objective.conditioner.fuse(z_id, z_motion)
    steps = []
    for kind in FIRST.values():
        id_step, motion_step = (step[KINDS.index(kind)].to(faces) for step in pairs.steps)
        steps.append((fuse(move_identity(z_id, id_step), z_motion + motion_step) - faces).mean(0))
    someone = z_id.mean(0, keepdim=True)
    length = fuse(2 * someone, z_motion[:1]) - fuse(someone, z_motion[:1])  # by which z_face changes with that of the identity
    of_attribute, mean = dict(zip(FIRST, readers(torch.stack([*steps, length[0]], 1), faces))), faces.mean(0)
    signs = {kind: sign * ATTRIBUTE[FIRST[name]][1] for kind, (name, sign) in ATTRIBUTE.items()}
    rows = torch.stack([signs[kind] * of_attribute[ATTRIBUTE[kind][0]] for kind in KINDS])
    texture.weights.weight[: len(KINDS)], texture.weights.bias[: len(KINDS)] = rows, -rows @ mean
    spread = dict(zip(KINDS, ((faces - mean) @ rows.T).std(0).tolist()))
    log.info("texture: spread of faces, in steps: %s", {kind: round(value, 2) for kind, value in spread.items()})


def readers(steps: Tensor, faces: Tensor) -> Tensor:
    """Rows [K, F] that read from z_face how much of each step [F, K] it has: of all such, those by which faces [N, F] differ least.

    An edit restores the length of the identity, and so changes what all rows read in proportion to what they read before.
    """
    covariance = faces.double().cpu().T.cov()
    covariance += SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    whitened = torch.linalg.solve(covariance, steps.double().cpu())
    return torch.linalg.solve(steps.double().cpu().T @ whitened, whitened.T).to(steps)
