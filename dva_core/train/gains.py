"""Gains: the scale of each attribute's step at which a whole decode gives the change of its pairs.

The strength of a step is not known before: without path_objective a decode gives up to 1.7 times the change, because the responses of
its evaluations accumulate; with it nine tenths, because uncertain estimates are smaller.
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

SCALES = (0.4, 0.7, 1.0, 1.3, 1.6)
LIMITS = {  # of the gain, chosen by eye: soft, dark videos respond less than sharp portraits, where an edit must not look painted
    "Eyeglasses": (1.15, 1.15), "Sunglasses": (1.7, 1.7), "Beard": (1.25, 1.25), "Goatee": (1.05, 1.05), "Mustache": (1.1, 1.1),
    "5_o_Clock_Shadow": (1.0, 1.0), "Wearing_Lipstick": (0.0, 0.8), "Heavy_Makeup": (0.0, 0.9), "Bushy_Eyebrows": (0.0, 1.1),
    "Freckles": (0.0, 1.0), "Young": (0.0, 0.9), "Male": (0.0, 0.85), "Smiling": (1.0, 1.0),
}  # fmt: skip
TEXTURE_STEP = 1.2  # of the step, with a texture, so that it is shown whole by people who read less than nothing too
TEXTURE_SHIFT = 1.05  # of a motion step, likewise: its own size, so that half a scale is half of it
FACES = 8  # held-out people a kind


@torch.no_grad()
def decoded_shares(model, pairs: Pairs, steps: tuple[Tensor, Tensor], most: int = FACES) -> dict[str, list[float]]:
    """Measure the share of each kind's change that a decode gives at each of SCALES, on `most` held-out people.

    The share is the projection of edited - rebuilt onto after - before, relative to it: 1 if the edit is as strong as the pair.
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
    """Compute for each attribute the scale at which the share of its kinds reaches 1; the last of SCALES if it does not.

    For an attribute with two kinds, such as older and younger, the stronger one decides. `limits` are (least, most) of some attributes.
    """
    scales: dict[str, float] = {}
    for kind, values in shares.items():
        name = ATTRIBUTE[kind][0]
        envelope = np.maximum.accumulate([0.0, *values])
        scale = float(np.interp(1.0, envelope, [0.0, *SCALES])) if envelope[-1] >= 1 else SCALES[-1]
        scales[name] = min(scales.get(name, SCALES[-1]), scale)
    return {name: round(float(np.clip(scale, *limits.get(name, (0.0, SCALES[-1])))), 2) for name, scale in scales.items()}
