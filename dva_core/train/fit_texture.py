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
from dva_core.networks.retouch import PARTED, FaceRetouch
from dva_core.networks.texture import BOX, CHANNELS, FaceRemainder, FaceTexture
from dva_core.networks.unet import UNet
from dva_core.train.conditioner import fold_scaling
from dva_core.train.grow import fit_to_time
from dva_core.train.looks import Looks, place_at, share_of_shade
from dva_core.train.moves import MOVES
from dva_core.train.pair_objective import PairObjective
from dva_core.train.pairs import ATTRIBUTE, DRAWN, KINDS, MOTION

log = logging.getLogger(__name__)

FIRST = {name: kind for kind, (name, _) in ATTRIBUTE.items()}  # one kind of each attribute
MOTION_ROWS = [KINDS.index(kind) for kind in FIRST.values() if kind in MOTION]
MOUTHS, MOVED = len(KINDS), len(KINDS) + len(MOTION)  # behind the patterns of the kinds: those of mouths, then those of MOVES
IDENTITY = [KINDS.index(kind) for kind in FIRST.values() if kind not in MOTION]
STRENGTH = {  # of what the looks show, at scale 1, by eye
    "Wearing_Lipstick": 0.6, "Heavy_Makeup": 0.5, "Freckles": 0.6, "Older": 0.8, "Male": 0.9, "Female": 0.9,
}  # fmt: skip
WORN = ("Eyeglasses", "Sunglasses")  # kinds that do not bend with the face
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
    for row, motion_step in motion_steps(pairs):
        shift = torch.cat([torch.zeros_like(pairs.steps[0][0]), motion_step]).to(conditioner.gain) * conditioner.gain
        step = (conditioner.fusion.weight @ shift).double().cpu()
        read = torch.cat([texture.weights.weight[rank + row], texture.weights.bias[rank + row, None]]).double().cpu()
        layer -= step[:, None] * read
    return layer


def motion_steps(pairs: PairObjective) -> list[tuple[int, Tensor]]:
    """The pattern and the step [D_motion] of each expression and each move."""
    return [(row, pairs.steps[1][row]) for row in MOTION_ROWS] + list(enumerate(pairs.moves, MOVED))


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
    return on_texture(looks.maps, looks.landmarks, texture, texture.size, steps[1])


def on_texture(maps: np.ndarray, landmarks: np.ndarray, texture: FaceTexture, texels: int, motion_steps: Tensor) -> Tensor:
    """Maps [K, C, S, S] of the looks as patterns of texels x texels, [C texels^2, K]; see `patterns_of`."""
    own, patterns = texture.mean.weight.detach().cpu().reshape(1, -1, 2), []
    size = round(texels / BOX[2])
    left, top = (round(side * size) for side in BOX[:2])
    for one, motion_step in zip(maps, motion_steps.cpu()):
        there = torch.from_numpy(landmarks[JAW:])[None] + motion_step.reshape(1, -1, 2)
        moved = place_at(torch.from_numpy(one)[None], there, own, max(size, one.shape[-1]))
        moved = F.interpolate(moved, (size, size), mode="area")
        patterns.append(moved[0, :, top : top + texels, left : left + texels].flatten())
    return torch.stack(patterns, 1)


@torch.no_grad()
def fit_texture(unet: UNet, pairs: PairObjective, looks: Looks, rng: np.random.Generator, generator: torch.Generator) -> None:
    """Fit the patterns, their weights and the gates of the blend.

    DVAError if the texture has fewer patterns than there are kinds.
    """
    texture = unet.texture
    rank, least = texture.patterns.in_features, len(KINDS) if unet.retouch is None else MOVED + len(pairs.moves)
    if rank < least:
        raise DVAError(f"texture_rank must be {least} or more, a pattern for each kind of pair and each move; it is {rank}.")
    fit_weights(texture, pairs, rng)
    conditioner, kept = pairs.objective.conditioner, without_motion(texture, pairs)
    split_face(unet.texture_rest, conditioner.fusion, conditioner.centre, conditioner.gain, pairs.steps[0][IDENTITY], kept)
    fit_gates(unet, pairs.objective.schedule, share_shown(pairs, rng, generator))  # while there are no patterns
    strength = torch.tensor([STRENGTH.get(kind, 1.0) for kind in KINDS])
    texture.patterns.weight[:, : len(KINDS)] = (patterns_of(looks, texture, pairs.steps) * strength).to(texture.patterns.weight)
    if unet.retouch is not None:
        fit_retouch(unet.retouch, texture, looks, pairs.steps, pairs.moves)
        split_mouths(unet.retouch, texture, looks, pairs.steps)


@torch.no_grad()
def fit_retouch(retouch: FaceRetouch, texture: FaceTexture, looks: Looks, steps: tuple[Tensor, Tensor], moves: Tensor) -> None:
    """Fit the maps of a retouch of the same patterns, and say which are worn; `moves` [V, D_motion]: steps of MOVES."""
    patterns = on_texture(looks.retouches, looks.landmarks, texture, retouch.size, torch.cat([steps[1], moves.to(steps[1])]))
    retouch.rigid.weight[[KINDS.index(kind) for kind in WORN]] = 1.0
    retouch.patterns.weight[:, : len(KINDS)] = patterns[:, : len(KINDS)].to(retouch.patterns.weight)
    retouch.patterns.weight[:, MOVED : MOVED + len(moves)] = patterns[:, len(KINDS) :].to(retouch.patterns.weight)


@torch.no_grad()
def split_mouths(retouch: FaceRetouch, texture: FaceTexture, looks: Looks, steps: tuple[Tensor, Tensor]) -> None:
    """Give the lips and teeth of an expression a pattern of their own, for decoded crops; in frames the lips themselves part."""
    rank = texture.patterns.in_features
    for own, kind in enumerate(MOTION, MOUTHS):
        row = KINDS.index(kind)
        share = np.float32(share_of_shade(kind, looks.landmarks)).repeat(CHANNELS, axis=-1)
        outside = on_texture(np.moveaxis(share, -1, 0)[None], looks.landmarks, texture, texture.size, steps[1][[row]])[:, 0]
        whole = texture.patterns.weight[:, row].clone()
        texture.patterns.weight[:, row], texture.patterns.weight[:, own] = outside * whole, (1 - outside) * whole
        for name in ("weight", "bias"):
            values = getattr(texture.weights, name)
            values[[own, rank + own]] = values[[row, rank + row]]
        retouch.closed.weight[own] = PARTED


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
    moving, motions = zip(*motion_steps(pairs))
    steps = [pairs.steps[0][IDENTITY].double().cpu() / typical, torch.stack(motions).double().cpu()]
    read_by = [dict(zip(rows, readers(step.T, space))) for rows, step, space in zip((IDENTITY, moving), steps, spaces)]
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
    for row, name in zip(moving[len(MOTION_ROWS) :], MOVES):
        read = read_by[1][row]
        texture.weights.weight[row], texture.weights.bias[row] = 0.0, 0.0
        texture.weights.weight[rank + row] = (read @ matrix[columns[1]]).to(texture.weights.weight)
        texture.weights.bias[rank + row] = read @ offset[columns[1]] - float((spaces[1] @ read).mean())
        spread[name] = round(float((spaces[1] @ read).std()), 2)
    log.info("texture: spread of faces, in steps: %s", spread)


def readers(steps: Tensor, faces: Tensor) -> Tensor:
    """Rows [K, V] that read from a vector how much of each step [V, K] it has: of all such, those by which faces [N, V] differ least."""
    covariance = faces.double().cpu().T.cov()
    covariance += SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    whitened = torch.linalg.solve(covariance, steps.double().cpu())
    return torch.linalg.solve(steps.double().cpu().T @ whitened, whitened.T).to(steps)
