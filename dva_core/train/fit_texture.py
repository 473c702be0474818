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
from dva_core.train.pair_objective import PairObjective
from dva_core.train.pairs import ATTRIBUTE, DRAWN, KINDS, MOTION

log = logging.getLogger(__name__)

FIRST = {name: kind for kind, (name, _) in ATTRIBUTE.items()}  # one kind of each attribute
IDENTITY = [KINDS.index(kind) for kind in FIRST.values() if kind not in MOTION]
STRENGTH = {  # of what the looks show, at scale 1, by eye
    "Wearing_Lipstick": 0.6, "Heavy_Makeup": 0.5, "Bushy_Eyebrows": 0.6, "Freckles": 0.6, "Older": 0.8, "Male": 0.9, "Female": 0.9,
}  # fmt: skip
PEOPLE = 64  # of each kind's, from which the spread of faces is measured
FULL_SIGMA = 0.04  # standard deviation of the noise from which the texture is blended whole; a picture with less shows it already
MEASURED = 24  # timesteps at which `share_shown` is measured
SHRINKAGE = 0.01  # of the covariance of faces


def inverse(fusion: nn.Linear, centre: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix [V, F] and offset [V] that read v = [z_id ; z_motion] from z_face = fusion((v - centre) gain), by the pseudo-inverse.

    DVAError if z_face is shorter than v, so that it cannot be read.
    """
    if fusion.out_features < fusion.in_features:
        raise DVAError(
            f"With a texture face_dim must be {fusion.in_features} or more, the length of both vectors; it is {fusion.out_features}."
        )
    weight, bias = fold_scaling(*(v.detach().double().cpu() for v in (fusion.weight, fusion.bias, centre, gain)))
    matrix = torch.linalg.pinv(weight)
    return matrix, -matrix @ bias


@torch.no_grad()
def read_landmarks(texture: FaceTexture, fusion: nn.Linear, centre: Tensor, gain: Tensor) -> None:
    """Let `texture` read the landmarks from z_face, as displacements from `centre`."""
    count = texture.points.out_features
    matrix, offset = inverse(fusion, centre, gain)
    texture.points.weight.copy_(matrix[-count:])
    texture.points.bias.copy_(offset[-count:] - centre[-count:].double().cpu())
    texture.mean.weight.copy_(centre[-count:, None])


@torch.no_grad()
def split_face(rest: FaceRemainder, fusion: nn.Linear, centre: Tensor, gain: Tensor, steps: Tensor, kept: Tensor | None = None) -> None:
    """Fit `rest` to the fusion layer, as of `inverse`: z_face without the identity steps [K, D], which are orthogonal.

    `kept` [F, F + 1]: what z_face becomes, as a linear layer with its bias, before the identity is taken from it (see `without_motion`).
    """
    inputs = rest.identity.out_features
    weight = fold_scaling(*(v.double().cpu() for v in (fusion.weight, fusion.bias, centre, gain)))[0][:, :inputs]
    matrix, offset = (part[:inputs] for part in inverse(fusion, centre, gain))
    unit = F.normalize(steps.double().cpu(), dim=1)
    rest.identity.weight.copy_(matrix - unit.T @ (unit @ matrix))
    rest.identity.bias.copy_(offset - unit.T @ (unit @ offset))
    rest.fusion.weight.copy_(weight)
    others = torch.eye(len(weight), dtype=weight.dtype) - weight @ matrix
    kept = torch.eye(len(weight), len(weight) + 1) if kept is None else kept.cpu()
    rest.others.weight.copy_(others @ kept[:, :-1].double())
    rest.others.bias.copy_(others @ kept[:, -1].double() - weight @ offset)


def without_motion(texture: FaceTexture, pairs: PairObjective) -> Tensor:
    """A linear layer [F, F + 1] that takes the motion steps out of z_face, as far as the texture reads them."""
    conditioner, size, rank = pairs.objective.conditioner, texture.weights.in_features, texture.patterns.in_features
    layer = torch.eye(size, size + 1, dtype=torch.float64)
    for row in (KINDS.index(kind) for kind in MOTION):
        shift = torch.cat([torch.zeros_like(pairs.steps[0][row]), pairs.steps[1][row]]).to(conditioner.gain) * conditioner.gain
        step = (conditioner.fusion.weight @ shift).double().cpu()
        read = torch.cat([texture.weights.weight[rank + row], texture.weights.bias[rank + row, None]]).double().cpu()
        layer -= step[:, None] * read
    return layer


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
    fit_weights(texture, pairs, rng)
    conditioner, kept = pairs.objective.conditioner, without_motion(texture, pairs)
    split_face(unet.texture_rest, conditioner.fusion, conditioner.centre, conditioner.gain, pairs.steps[0][IDENTITY], kept)
    fit_gates(unet, pairs.objective.schedule, share_shown(pairs, rng, generator))  # while there are no patterns
    strength = torch.tensor([STRENGTH.get(kind, 1.0) for kind in KINDS])
    texture.patterns.weight[:, : len(KINDS)] = (patterns_of(looks, texture, pairs.steps) * strength).to(texture.patterns.weight)


@torch.no_grad()
def fit_weights(texture: FaceTexture, pairs: PairObjective, rng: np.random.Generator) -> None:
    """Let the texture read how much of each kind is meant.

    It reads the step of a kind as 1, those of the other attributes as 0, and people as nearly 0 as that allows: on average 0 of the faces
    that are shown before a change of the kind.
    """
    conditioner, rank = pairs.objective.conditioner, texture.patterns.in_features
    matrix, offset = inverse(conditioner.fusion, conditioner.centre, conditioner.gain)
    own = [pairs.cross_pairs(rng.choice(rows, min(PEOPLE, len(rows)), replace=False)).own for rows in pairs.train_rows]
    own = [tuple(part.double().cpu() for part in vectors) for vectors in own]
    unit = F.normalize(pairs.steps[0][IDENTITY].double().cpu(), dim=1)

    def length(z_id: Tensor) -> Tensor:
        return (z_id - z_id @ unit.T @ unit).norm(dim=1, keepdim=True)

    spaces = [torch.cat([z_id / length(z_id) for z_id, _ in own]), torch.cat([z_motion for _, z_motion in own])]
    typical = float(length(torch.cat([z_id for z_id, _ in own])).mean())
    first = [IDENTITY, [KINDS.index(kind) for kind in FIRST.values() if kind in MOTION]]
    steps = [pairs.steps[0][first[0]].double().cpu() / typical, pairs.steps[1][first[1]].double().cpu()]
    read_by = [dict(zip(rows, readers(step.T, space))) for rows, step, space in zip(first, steps, spaces)]
    columns, spread = (slice(0, spaces[0].shape[1]), slice(spaces[0].shape[1], None)), {}
    for row, (kind, (z_id, z_motion)) in enumerate(zip(KINDS, own)):
        name, sign = ATTRIBUTE[kind]
        space = int(kind in MOTION)
        read = sign * ATTRIBUTE[FIRST[name]][1] * read_by[space][KINDS.index(FIRST[name])]
        place = row + rank * space
        texture.weights.weight[[row, rank + row]], texture.weights.bias[[row, rank + row]] = 0.0, 0.0
        texture.weights.weight[place] = (read @ matrix[columns[space]]).to(texture.weights.weight)
        texture.weights.bias[place] = read @ offset[columns[space]]
        texture.weights.bias[rank + row] -= float(((z_motion if space else z_id / length(z_id)) @ read).mean())
        spread[kind] = round(float((spaces[space] @ read).std()), 2)
    log.info("texture: spread of faces, in steps: %s", spread)


def readers(steps: Tensor, faces: Tensor) -> Tensor:
    """Rows [K, V] that read from a vector how much of each step [V, K] it has: of all such, those by which faces [N, V] differ least."""
    covariance = faces.double().cpu().T.cov()
    covariance += SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    whitened = torch.linalg.solve(covariance, steps.double().cpu())
    return torch.linalg.solve(steps.double().cpu().T @ whitened, whitened.T).to(steps)
