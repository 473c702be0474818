"""The edit of a whole decode, trained on the states that the decode passes through.

`pair_objective` trains the response of one evaluation, from a picture without the change. In a decode each evaluation starts from a
picture that already shows some of the change, blurred, and adds to it, so the network is trained on those states too. A pair's picture
is inverted with its own vector and decoded twice, with its own vector and with the moved one; at each state of the second decode the
estimate of x_0 must be that of the first plus the pair's change, so that edited - rebuilt, which is pasted, equals the change. The
problem is the exposure bias of diffusion models (Ning et al. 2023), the solution that of DAgger (Ross et al. 2011): training on own states.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dva_core.diffusion.schedule import image_of
from dva_core.diffusion.solvers import STEPS, invert, sample
from dva_core.train.pair_objective import FULL_SIGMA, CrossedPairs, PairObjective
from dva_core.train.pairs import KINDS

POOL = 2048  # states kept; the oldest go first
WHOLE_SHARE = 0.6  # share of the decodes with the whole change; the others have LEAST_LEVEL or more of it
LEAST_LEVEL = 0.3
OTHER_STEPS = (8, 24)  # every third decode has a number of steps between these, the others the default
FIGURE_PEOPLE = 4  # a kind


class States(NamedTuple):
    """States of edited decodes: x_t [N, 3, S, S] at timesteps t [N], the moved vectors, the target estimate of x_0, its mask and amount."""

    x_t: Tensor
    t: Tensor
    z_id: Tensor
    z_motion: Tensor
    target: Tensor
    mask: Tensor
    amount: Tensor


class Recorder:
    """A noise model for two decodes in one batch, [own ; moved]: records the states of the second and the image estimates of the first."""

    def __init__(self, objective):
        self.objective, self.schedule, self.config = objective, objective.schedule, objective.config  # with the timestep power
        self.states: list[tuple[Tensor, Tensor, Tensor]] = []

    def predict_noise(self, x_t: Tensor, t: Tensor, z_face: Tensor) -> Tensor:
        eps = self.objective.predict_noise(x_t, t, z_face)
        own, moved = x_t.chunk(2)
        image = image_of(own, eps.chunk(2)[0], self.schedule.at(t[: len(own)], own)).clamp(-1, 1)
        self.states.append((moved, t[len(own) :], image))
        return eps


class PathObjective:
    """Decodes pairs from time to time, keeps the states, and measures the error of the image estimate at them."""

    def __init__(self, pairs: PairObjective):
        self.pairs, self.objective = pairs, pairs.objective
        self.states: States | None = None
        self.age = 0

    def levels(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        target = np.where(rng.random(count) < WHOLE_SHARE, 1.0, rng.uniform(LEAST_LEVEL, 1.0, count))
        return torch.zeros(count), torch.from_numpy(np.float32(target))

    @torch.no_grad()
    def decode(self, batch: CrossedPairs, steps: int = STEPS) -> tuple[Tensor, Tensor, Recorder]:
        """Decode pairs with their own vectors and with the moved ones: rebuilt, edited [B, 3, S, S] and the states in between."""
        fuse, recorder = self.objective.conditioner.fuse, Recorder(self.objective)
        z_face = [fuse(*vectors) for vectors in (batch.own, batch.moved)]
        x_T = invert(self.objective, batch.x_0, z_face[0], steps)
        rebuilt, edited = sample(recorder, torch.cat([x_T, x_T]), torch.cat(z_face), steps).chunk(2)
        return rebuilt, edited, recorder

    def renew(self, count: int, rng: np.random.Generator, generator: torch.Generator) -> None:
        """Add the states of `count` new pairs to the pool."""
        batch = self.pairs.cross_pairs(self.pairs.draw_rows(count, rng), rng, generator, levels=self.levels(count, rng))
        steps = STEPS if rng.random() < 2 / 3 else int(rng.integers(*OTHER_STEPS, endpoint=True))
        recorded = self.decode(batch, steps)[2].states
        repeats = len(recorded)
        fresh = States(
            torch.cat([x_t for x_t, _, _ in recorded]).half(),
            torch.cat([t for _, t, _ in recorded]),
            *(v.repeat(repeats, 1) for v in batch.moved),
            torch.cat([image + batch.change for _, _, image in recorded]).half(),
            batch.mask.repeat(repeats, 1, 1, 1).half(),
            batch.amount.repeat(repeats),
        )
        states = self.states or States(*(v[:0] for v in fresh))
        self.states = States(*(torch.cat(parts)[-POOL:] for parts in zip(states, fresh)))

    def loss(self, count: int, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        """The mean error of the image estimate at `count` states of the pool, relative to the pair's change."""
        if self.age % self.objective.settings.path_every == 0:
            self.renew(count, rng, generator)
        self.age += 1
        rows = torch.from_numpy(rng.integers(len(self.states.t), size=count)).to(self.states.t.device)
        states = States(*(v[rows].float() if v.is_floating_point() else v[rows] for v in self.states))
        eps = self.objective.predict_noise(states.x_t, states.t, self.objective.conditioner.fuse(states.z_id, states.z_motion))
        a = self.objective.schedule.at(states.t, states.x_t)
        weight = self.pairs.place(states.mask) * ((1 - a).sqrt() / FULL_SIGMA).clamp(max=1)
        error = image_of(states.x_t, eps, a) - states.target
        total = (error.abs() * weight).mean((1, 2, 3))
        for axis in (2, 3):  # edges, such as thin rims, which single pixels do not capture
            edges = error.diff(dim=axis).abs() * weight.narrow(axis, 1, weight.shape[axis] - 1)
            total = total + self.objective.settings.path_edges * edges.mean((1, 2, 3))
        return (total / states.amount).mean()

    @torch.no_grad()
    def errors(self, most: int = FIGURE_PEOPLE) -> dict[str, tuple[float, float]]:
        """Of held-out people by kind: the share of the pair's change in a decode, and the error of edited - rebuilt relative to it."""
        figures = {}
        for kind, rows in zip(KINDS, self.pairs.held_out_rows):
            batch = self.pairs.cross_pairs(rows[:most])
            rebuilt, edited, _ = self.decode(batch)
            change, place = edited - rebuilt, self.pairs.place(batch.mask)
            share = (change * batch.change).sum() / batch.change.square().sum()
            error = ((change - batch.change).abs() * place).sum() / (batch.change.abs() * place).sum()
            figures[kind] = tuple(round(float(v), 3) for v in (share, error))
        return figures
