"""Fit of a face texture to drawn pairs: what a drawing does to a pixel at each place of the face, by least squares.

A drawing such as glasses changes a pixel x to x + A + B x, where A and B depend on the place in the face alone. Both are regressed on the
pairs of each kind, at every texel, in the coordinates of the landmarks by which they were drawn: those of the motion encoder are a pixel
or two off, and would blur rims and lips. A linear function of z_face reads how much of each kind is meant; the other parts of the network
see z_face without it. The texture is then the change that training asks for (`pair_objective`).
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
from dva_core.networks.texture import FaceRemainder, FaceTexture
from dva_core.networks.unet import UNet
from dva_core.train.conditioner import fold_scaling
from dva_core.train.grow import fit_to_time
from dva_core.train.pair_objective import PairObjective, move_identity
from dva_core.train.pairs import ATTRIBUTE, DRAWN, KINDS

log = logging.getLogger(__name__)

OTHERS = tuple({name: kind for kind, (name, _) in ATTRIBUTE.items() if kind not in DRAWN}.values())  # one of each attribute
PAIRS = 256  # of a kind
BATCH = 32
LEAST_SIGMA = 0.1  # below it the picture is nearly without noise and shows the texture already
LEAST_VARIANCE = 0.01  # of the pixels at a texel, which keeps B small where all faces are alike
MEASURED = 24  # timesteps at which `share_shown` is measured
SHOWN_POWER = 0.5  # so that a decode does not fall behind: what it misses at strong noise it does not make up for
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
    """Fit the gates of the blend, by least squares: as functions of t they turn x_0 + A + B x_0 into the network's prediction.

    `shown` [T]: the share of a drawing in x_t that the prediction shows anyway, see `share_shown`; so much less is blended. None: none.
    """
    a = schedule.alphas_cumprod.double().cpu()
    sigma = (1 - a).sqrt()
    if schedule.prediction == "v":  # v = (sqrt(a) x_t - x_0) / sigma
        gates = torch.stack([-torch.ones_like(a), -a.sqrt(), sigma], 1)
    else:  # epsilon = (x_t - sqrt(a) x_0) / sigma
        gates = torch.stack([-a.sqrt(), -torch.ones_like(a), sigma], 1)
    gates = gates / sigma.clamp(min=LEAST_SIGMA)[:, None]
    if shown is not None:
        gates = gates * (1 - torch.from_numpy(shown)[:, None]).pow(SHOWN_POWER)
    weight, bias = fit_to_time(unet, gates)
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
    log.info("texture: share of a drawing that is shown anyway, by timestep: %s", dict(zip(visited.tolist(), np.round(shares, 2))))
    return np.interp(np.arange(objective.schedule.train_steps), visited, np.clip(shares, 0, 1))


class Regression:
    """Sums for the regression of changes y on pixels x, at each texel and channel: y = A + B x."""

    def __init__(self, size: int) -> None:
        self.size, self.sums = size, torch.zeros(5, 3, size**2, dtype=torch.float64)

    def add(self, at: Tensor, x: Tensor, y: Tensor) -> None:
        """at [B, H, W, 2], -1..1 within the texture; x and y [B, 3, H, W]."""
        texel = ((at + 1) / 2 * self.size).floor().long()
        inside = ((texel >= 0) & (texel < self.size)).all(-1)
        index = (texel[..., 1] * self.size + texel[..., 0])[inside]
        for channel in range(3):
            p, q = x[:, channel][inside].double(), y[:, channel][inside].double()
            for sums, values in zip(self.sums[:, channel], (torch.ones_like(p), p, q, p * p, p * q)):
                sums.index_add_(0, index, values)

    def solve(self) -> Tensor:
        """A and B [6, size, size]; 0 where no pixel was."""
        n, x, y, xx, xy = self.sums
        n = n.clamp(min=1)
        slope = (xy - x * y / n) / (xx - x * x / n + LEAST_VARIANCE * n)
        return torch.cat([(y - slope * x) / n, slope]).reshape(6, self.size, self.size).float()


@torch.no_grad()
def fit_texture(unet: UNet, pairs: PairObjective, rng: np.random.Generator, generator: torch.Generator) -> None:
    """Fit the patterns, their weights and the gates of the blend to the training pairs of the kinds in DRAWN.

    DVAError if the texture has fewer patterns than there are kinds.
    """
    texture = unet.texture
    if texture.patterns.in_features < len(DRAWN):
        raise DVAError(f"texture_rank must be {len(DRAWN)} or more, a pattern for each drawn kind; it is {texture.patterns.in_features}.")
    conditioner, identity_steps = pairs.objective.conditioner, pairs.steps[0][[KINDS.index(kind) for kind in DRAWN]]
    split_face(unet.texture_rest, conditioner.fusion, conditioner.centre, conditioner.gain, identity_steps)
    vectors, patterns = [], []
    for kind in DRAWN:
        rows = pairs.train_rows[KINDS.index(kind)]
        rows = rng.choice(rows, min(PAIRS, len(rows)), replace=False)
        regression = Regression(texture.size)
        for part in np.array_split(rows, max(1, len(rows) // BATCH)):
            batch = pairs.cross_pairs(part)
            vectors.append(batch.own)
            points = torch.from_numpy(pairs.pairs.landmarks[part][:, JAW:] / pairs.pairs.before.shape[1]).to(batch.x_0)
            at = texture.coordinates(points, texture.mean.weight.reshape(1, -1, 2).expand_as(points))
            regression.add(at.cpu(), batch.x_0.cpu(), batch.change.cpu())
        patterns.append(regression.solve().flatten())
        log.info("texture: %s fitted to %d pairs", kind, len(rows))
    fit_weights(texture, pairs, *(torch.cat(parts) for parts in zip(*vectors)))
    fit_gates(unet, pairs.objective.schedule, share_shown(pairs, rng, generator))  # while there are no patterns
    texture.patterns.weight[:, : len(DRAWN)] = torch.stack(patterns, 1).to(texture.patterns.weight)


@torch.no_grad()
def fit_weights(texture: FaceTexture, pairs: PairObjective, z_id: Tensor, z_motion: Tensor) -> None:
    """Let the texture read how much of each kind in DRAWN is meant, from people's z_id [N, D] and z_motion [N, M].

    It reads the step of a kind as 1, those of the other attributes and the identity's length as 0, and people as nearly 0 as that allows.
    """
    fuse, count = pairs.objective.conditioner.fuse, len(DRAWN)
    faces = fuse(z_id, z_motion)
    steps = []
    for kind in (*DRAWN, *OTHERS):
        id_step, motion_step = (step[KINDS.index(kind)].to(faces) for step in pairs.steps)
        steps.append((fuse(move_identity(z_id, id_step), z_motion + motion_step) - faces).mean(0))
    someone = z_id.mean(0, keepdim=True)
    length = fuse(2 * someone, z_motion[:1]) - fuse(someone, z_motion[:1])  # by which z_face changes with that of the identity
    rows, mean = readers(torch.stack([*steps, length[0]], 1), faces)[:count], faces.mean(0)
    texture.weights.weight[:count], texture.weights.bias[:count] = rows, -rows @ mean
    log.info("texture: spread of faces, in steps: %s", dict(zip(DRAWN, np.round(((faces - mean) @ rows.T).std(0).tolist(), 2))))


def readers(steps: Tensor, faces: Tensor) -> Tensor:
    """Rows [K, F] that read from z_face how much of each step [F, K] it has: of all such, those by which faces [N, F] differ least.

    An edit restores the length of the identity, and so changes what all rows read in proportion to what they read before.
    """
    covariance = faces.double().cpu().T.cov()
    covariance += SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    whitened = torch.linalg.solve(covariance, steps.double().cpu())
    return torch.linalg.solve(steps.double().cpu().T @ whitened, whitened.T).to(steps)
