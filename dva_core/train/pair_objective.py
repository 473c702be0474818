"""The response to an edit, trained on pairs (`pairs`): an attribute's step must change the picture as in its pair, and nothing else.

One noisy picture x_t is evaluated with two conditions: its own, and its own moved by the attribute's step. The difference of the two
estimates of x_0 must equal the difference of the pair inside the changed region, and zero outside. The noise map of one face is thus
combined with the vector of the other, and the vector that is trained is the one that an edit uses. The loss is added
to L_simple and L_reg (Kim et al. 2023, sec. 3.4), which are unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.hosts.devices import to_device
from dva_core.model.arrays import shrink, to_images
from dva_core.model.autoencoder import JAW
from dva_core.networks.unet import UNet
from dva_core.train.augment import reframe, relight, soften
from dva_core.train.pairs import KINDS, MOTION, Pairs

LEAST_SIZE = 0.004  # least value of a pair's mean weighted change, so that pairs that hardly differ do not dominate
LEAST_T = 20  # below it the noise is too weak for x_0 to be moved by a prediction of v
FULL_SIGMA = 0.25  # standard deviation of the noise from which the response has full weight
HARDER = {  # drawn more often, as these are learnt more slowly or used most
    "Older": 3.0, "Younger": 2.0, "Smiling": 7.0, "Eyeglasses": 2.0, "Beard": 1.5, "Wearing_Lipstick": 1.5, "Heavy_Makeup": 1.5,
}  # fmt: skip
SHARES = np.array([HARDER.get(kind, 1.0) for kind in KINDS])
SHARES /= SHARES.sum()
OWN_SHARE = 0.25  # share of the pairs of a motion kind that use their own difference; the others use the mean


class CrossedPairs(NamedTuple):
    """Pairs ready for the network: the picture x_0 [B, 3, S, S] at its level of the change, two vectors, the change and its mask.

    `own` and `moved` are each identities [B, D] and motions [B, M]. `amount` [B] is the mean weighted change of the whole pair.
    """

    x_0: Tensor
    own: tuple[Tensor, Tensor]
    moved: tuple[Tensor, Tensor]
    change: Tensor
    mask: Tensor
    amount: Tensor


def motion_of(points: Tensor) -> Tensor:
    """z_motion [B, M] of landmarks [B, 1, 68, 2]."""
    return points.flatten(0, 1)[:, JAW:].flatten(1)


def move_identity(z_id: Tensor, step: Tensor) -> Tensor:
    """Add `step` to identities [B, D] and restore their length."""
    return F.normalize(z_id + step, dim=1) * z_id.norm(dim=1, keepdim=True)


class PairObjective:
    """Draws pairs and measures the response to their steps; `steps` as of PairedSteps.of_kinds, `moves` [V, D_motion] of MOVES.

    `from_after` is the share of pairs whose vectors come from the changed picture: useful once the identity encoder follows the steps.
    """

    def __init__(self, objective, pairs: Pairs, steps: tuple[Tensor, Tensor], from_after: float, moves: Tensor | None = None):
        self.objective, self.pairs, self.steps, self.from_after = objective, pairs, steps, from_after
        self.moves = steps[1][:0] if moves is None else moves
        self.train_rows = [pairs.rows(kind, held_out=False) for kind in KINDS]
        self.held_out_rows = [pairs.rows(kind, held_out=True) for kind in KINDS]
        self.is_motion = torch.tensor([kind in MOTION for kind in KINDS])
        self.textured: UNet | None = None  # the noise predictor, once its texture is fitted

    def draw_rows(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return np.array([rng.choice(self.train_rows[k]) for k in rng.choice(len(KINDS), count, p=SHARES)])

    def levels(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw the share of the change in the noisy picture, and in the moved vector: mostly 0 and 1, some 1 and 0, some between."""
        kind, between = rng.random(count), rng.random((2, count))
        own = np.select([kind < 0.65, kind < 0.8], [0.0, 1.0], between[0])
        target = np.select([kind < 0.5, kind < 0.65, kind < 0.8], [1.0, between[1], 0.0], between[1])
        return tuple(torch.from_numpy(np.float32(v)) for v in (own, target))

    def cross_pairs(
        self,
        rows: np.ndarray,
        rng: np.random.Generator | None = None,
        generator: torch.Generator | None = None,
        levels: tuple[Tensor, Tensor] | None = None,
    ) -> CrossedPairs:
        """The pairs of `rows`; with a generator augmented in framing and light, at random levels; without, unchanged, from 0 to 1.

        With `levels` [B] the picture and the moved vector are at those, and the vectors are those of the picture before.
        """
        objective, settings = self.objective, self.objective.settings
        kinds = torch.from_numpy(self.pairs.kind[rows].astype(np.int64))
        mask = to_device(torch.from_numpy(self.pairs.mask[rows])[:, None], objective.device).float() / 255
        stack = torch.cat([*(to_images(pictures[rows], objective.device) for pictures in (self.pairs.before, self.pairs.after)), mask], 1)
        if rng is None:
            own, target, base = torch.zeros(len(rows)), torch.ones(len(rows)), torch.zeros(len(rows), dtype=torch.bool)
        else:
            nowhere = torch.zeros(len(rows), 68, 2)
            stack, _ = reframe(stack, nowhere, generator, turn=settings.turn, zoom=settings.zoom, shift=settings.shift)
            wide = relight(torch.cat([stack[:, :3], stack[:, 3:6]], 3), generator, settings.light)
            before, after = wide.chunk(2, 3)
            picture = soften(before, generator, settings.soften)  # degraded like a soft video; the drawing on it stays sharp
            stack = torch.cat([picture, (after + picture - before).clamp(-1, 1), stack[:, 6:]], 1)
            own, target = levels or self.levels(len(rows), rng)
            base = torch.from_numpy(rng.random(len(rows)) < (0 if levels else self.from_after))
        before, after, mask = stack[:, :3], stack[:, 3:6], stack[:, 6:]
        picture = torch.where(base[:, None, None, None].to(before.device), after, before)
        z_id, points = objective.conditioner.encode(picture[:, None])
        motion = motion_of(points)
        id_step, motion_step = (step[kinds].to(motion) for step in self.steps)
        moving = self.is_motion[kinds].nonzero()[:, 0]
        if count := len(moving):
            moving = to_device(moving, objective.device)
            ends = [motion_of(objective.conditioner.encode(v[moving][:, None])[1]) for v in (before, after)]
            own_motion = torch.from_numpy(np.ones(count, bool) if rng is None else rng.random(count) < OWN_SHARE)
            motion_step[moving] = torch.where(own_motion[:, None].to(motion.device), ends[1] - ends[0], motion_step[moving])

        def vectors(level: Tensor) -> tuple[Tensor, Tensor]:
            by = (level - base.float())[:, None].to(motion)
            return move_identity(z_id, by * id_step), motion + by * motion_step

        size = objective.config["image_size"]
        x_before, x_after, place = (shrink(v, size) for v in (before, after, mask))
        at_level = self.pictures_at(x_before, x_after, vectors)
        x_0, whole = at_level(own).contiguous(memory_format=torch.channels_last), at_level(torch.ones_like(own)) - x_before
        amount = (whole.abs() * self.place(place)).mean((1, 2, 3)).clamp(min=LEAST_SIZE)
        return CrossedPairs(x_0, vectors(own), vectors(target), at_level(target) - x_0, place, amount)

    def pictures_at(self, before: Tensor, after: Tensor, vectors: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor], Tensor]:
        """A function of levels [B] of the change, whose z_id and z_motion are `vectors` of them: the pictures [B, 3, S, S] at these.

        They are between those before and after, or with a fitted texture those before and what the texture makes of them. The texture
        lies where the motion encoder finds the face; asked for the picture after, a pixel or two away, the network would learn to blur it.
        """
        if self.textured is None:
            return lambda level: before + level[:, None, None, None].to(before) * (after - before)
        network, fuse = self.textured, self.objective.conditioner.fuse

        @torch.no_grad()
        def texture_at(level: Tensor) -> Tensor:
            return network.texture_of(fuse(*vectors(level)))

        none = texture_at(torch.zeros(len(before)))

        def textured(level: Tensor) -> Tensor:
            return (before + network.texture_change(before, none, texture_at(level))).clamp(-1, 1)

        return textured

    def place(self, mask: Tensor) -> Tensor:
        """Weight of an error of the response at each pixel."""
        return 1 + self.objective.settings.pair_focus * mask

    def estimates(self, batch: CrossedPairs, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """eps of the own vector, the change of the estimated image by the moved one, and sigma [B, 1, 1, 1]."""
        schedule = self.objective.schedule
        x_t = schedule.add_noise(batch.x_0, t, noise)
        z_face = self.objective.conditioner.fuse(*(torch.cat(parts) for parts in zip(batch.own, batch.moved)))
        eps = self.objective.predict_noise(torch.cat([x_t, x_t]), torch.cat([t, t]), z_face)
        own, moved = eps.chunk(2)
        a = schedule.at(t, x_t)
        return own, (own - moved) * ((1 - a) / a).sqrt(), (1 - a).sqrt()

    def loss(self, count: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of `count` new pairs, and the plain means of L_simple and of the response's error."""
        objective, settings = self.objective, self.objective.settings
        batch = self.cross_pairs(self.draw_rows(count, rng), rng, generator)
        draw = objective.draw(batch.x_0, generator)
        t = draw.t.clamp(min=LEAST_T)
        own, change, sigma = self.estimates(batch, t, draw.noise_1)
        simple = (own - draw.noise_1).abs().mean((1, 2, 3))
        error = (change - batch.change).abs() * self.place(batch.mask) * (sigma / FULL_SIGMA).clamp(max=1)
        answer = error.mean((1, 2, 3)) / batch.amount  # relative to the pair's change, so that lips weigh as much as a beard
        noisiness = (sigma.square() / (1 - sigma.square())).sqrt().flatten()
        return (objective.simple_weight(noisiness) * simple + settings.pair_weight * answer).mean(), simple.mean(), answer.mean()

    @torch.no_grad()
    def answers(self, timesteps: tuple[int, ...] = (150, 350, 600), most: int = 24) -> dict[str, tuple[float, float]]:
        """Of held-out people by kind: the share of the pair's change in the response; the sum of the change outside over the pair's."""
        figures, generator = {}, torch.Generator().manual_seed(2)
        for kind, rows in zip(KINDS, self.held_out_rows):
            batch, sums = self.cross_pairs(rows[:most]), np.zeros(4)
            for step in timesteps:
                t = torch.full((len(batch.x_0),), step, device=batch.x_0.device)
                noise = torch.randn(batch.x_0.shape, generator=generator).to(batch.x_0)
                change = self.estimates(batch, t, noise)[1]
                outside = change.abs() * (1 - batch.mask)
                sums += [float(v.sum()) for v in (change * batch.change, batch.change.square(), outside, batch.change.abs())]
            figures[kind] = tuple(round(float(v), 3) for v in (sums[0] / sums[1], sums[2] / sums[3]))
        return figures
