"""Scale of each attribute's trained step at which a whole decode brings the change of its pairs.

Training matches the change in one evaluation (pair_objective). Over the steps of a decode the changes add up, as each starts from a picture
that already shows some of it: the whole step brings up to 1.7 times the change of the pairs, so lips glow and beards turn black.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dva_core.diffusion.solvers import invert, sample
from dva_core.model.arrays import shrink, to_images
from dva_core.train.pair_objective import move_identity
from dva_core.train.pairs import ATTRIBUTE, KINDS, Pairs

SCALES = (0.4, 0.6, 0.8, 1.0)
LIMITS = {  # of the step, by eye: hair and rims show on all skins, and a change of the whole face looks wrong at full strength
    "Eyeglasses": (0.85, 1.0), "Sunglasses": (0.9, 1.0), "Beard": (0.92, 1.0), "Goatee": (0.88, 1.0), "Freckles": (0.8, 1.0),
    "Young": (0.0, 0.7), "Male": (0.0, 0.65),
}  # fmt: skip
FACES = 8  # held-out people a kind


@torch.no_grad()
def decoded_shares(model, pairs: Pairs, steps: tuple[Tensor, Tensor], most: int = FACES) -> dict[str, list[float]]:
    """Measure the share of each kind's change that a decode brings at each of SCALES, on `most` held-out people.

    The share is the projection of edited - rebuilt onto after - before, in parts of that: 1 where the edit is as strong as the pair.
    steps: [K, D] and [K, D_motion] as of PairedSteps.of_kinds.
    """
    shares = {}
    for kind, id_step, motion_step in zip(KINDS, *steps, strict=True):
        rows = pairs.rows(kind, held_out=True)[:most]
        before, after = (to_images(pictures[rows]) for pictures in (pairs.before, pairs.after))
        z_id, z_motion = model.encode_identity(before), model.encode_motion(before)
        own = model.fuse(z_id, z_motion)
        x_T = invert(model, shrink(before, model.image_size), own)
        rebuilt, target = sample(model, x_T, own), shrink(after - before, model.image_size)
        shares[kind] = []
        for scale in SCALES:
            edited = sample(model, x_T, model.fuse(move_identity(z_id, scale * id_step), z_motion + scale * motion_step))
            shares[kind].append(float(((edited - rebuilt) * target).sum() / target.square().sum()))
    return shares


def gains(shares: Mapping[str, Sequence[float]], limits: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Compute for each attribute the scale at which the share of its kinds reaches 1, within its `limits` (least, most), else at most 1.

    Of an attribute with two kinds, such as older and younger, the stronger one decides.
    """
    scales: dict[str, float] = {}
    for kind, values in shares.items():
        name = ATTRIBUTE[kind][0]
        envelope = np.maximum.accumulate([0.0, *values])
        scale = float(np.interp(1.0, envelope, [0.0, *SCALES])) if envelope[-1] >= 1 else SCALES[-1]
        scales[name] = min(scales.get(name, SCALES[-1]), scale)
    return {name: round(float(np.clip(scale, *limits.get(name, (0.0, 1.0)))), 2) for name, scale in scales.items()}
