"""Fine-tuning of the identity encoder on pairs, so that each attribute is one step of the vector, the same for all faces."""

from __future__ import annotations

import logging
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.model.arrays import to_images
from dva_core.train.augment import reframe, relight, soften
from dva_core.train.encoders import encode_faces, one_cycle
from dva_core.train.labels import roc_auc
from dva_core.train.pair_steps import PairedSteps, no_points
from dva_core.train.pairs import KINDS, MOTION, Pairs
from dva_core.train.synthesis import Variants

log = logging.getLogger(__name__)

CHANGED_SHARE = 0.5  # share of a batch that are changed pictures, the rest are faces as they are
FINER = {  # drawn more often, as they are seen less well
    "Mustache": 2.0, "Heavy_Makeup": 1.5, "Wearing_Lipstick": 2.5, "Bushy_Eyebrows": 3.0, "Freckles": 4.0, "Younger": 1.5, "Older": 1.5,
}  # fmt: skip
RATE = 1e-3


def targets_of(vectors: Tensor, kinds: Tensor, steps: Tensor) -> Tensor:
    """Move unit vectors [B, D] by the steps [K, D] of their kinds."""
    return F.normalize(vectors + steps[kinds], dim=1)


def train_pair_identity(
    network: nn.Module,
    variants: Variants,
    pairs: Pairs,
    steps: PairedSteps,
    held_out: np.ndarray,
    *,
    minutes: float = 12,
    batch: int = 64,
    seed: int = 0,
) -> dict:
    """Continue the training of `network` in place; returns its figures on held-out people.

    The target of an unchanged face is its vector before the training (`held_out` bool [n] over the variants never trains), that of a
    changed face the vector of the face before the change, moved by the step.
    """
    torch.manual_seed(seed)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    moves = steps.of_kinds()[0]
    vectors_before = torch.from_numpy(encode_faces(network, no_points, variants.pictures)[0])
    without = torch.from_numpy(encode_faces(network, no_points, pairs.before)[0])
    plain_rows, pair_rows = np.flatnonzero(~held_out), np.flatnonzero(~pairs.held_out)
    network.requires_grad_(True).train()
    often = np.array([FINER.get(kind, 1.0) for kind in KINDS])[pairs.kind[pair_rows]]
    often /= often.sum()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    start, step, pair_count = time.monotonic(), 0, int(CHANGED_SHARE * batch)
    while (progress := (time.monotonic() - start) / (60 * minutes)) < 1:
        pair_part, plain = (
            np.sort(rng.choice(pair_rows, pair_count, p=often)),
            np.sort(rng.choice(plain_rows, batch - pair_count)),
        )
        target = torch.cat([targets_of(without[pair_part], torch.from_numpy(pairs.kind[pair_part]), moves), vectors_before[plain]])
        images = to_images(np.concatenate([pairs.after[pair_part], variants.pictures[plain]]))
        images, _ = reframe(images, torch.zeros(batch, 68, 2), generator, turn=3, zoom=0.08, shift=0.03)
        images = soften(relight(images, generator, 0.6), generator, 0.3)
        optimiser.param_groups[0]["lr"] = one_cycle(progress, RATE)
        with torch.autocast("cpu", torch.bfloat16):
            z = network(images)
        loss = 1 - (F.normalize(z.float(), dim=1) * target).sum(1)
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
        step += 1
        if step % 100 == 0:
            log.info(
                "identity: step %d, %.0f %%, off %.3f changed, %.3f plain",
                step,
                100 * progress,
                *(v.mean() for v in loss.split(pair_count)),
            )
    network.eval().requires_grad_(False)
    figures = {"samples": step * batch, "minutes": minutes, **measure(network, pairs, steps)}
    rows = np.flatnonzero(held_out)
    z = torch.from_numpy(encode_faces(network, no_points, variants.pictures[rows])[0])
    figures["cosine_to_before"] = round(float((z * vectors_before[rows]).sum(1).mean()), 4)
    log.info("identity: %s", figures)
    return figures


def measure(network: nn.Module, pairs: Pairs, steps: PairedSteps) -> dict[str, dict[str, tuple[float, float]]]:
    """Figures on held-out people by kind: AUC of the step's direction, changed faces against unchanged ones, and mean cosine between the
    difference of a pair and the step.
    """
    figures = {}
    for kind, step in zip(KINDS, steps.of_kinds()[0].numpy()):
        if kind in MOTION:
            continue
        rows = pairs.rows(kind, held_out=True)
        before, after = (encode_faces(network, no_points, v[rows])[0] for v in (pairs.before, pairs.after))
        unit = step / np.linalg.norm(step)
        step_of_pair = after - before
        cosine = (step_of_pair @ unit / np.linalg.norm(step_of_pair, axis=1)).mean()
        auc = roc_auc(np.repeat((0, 1), len(rows)), np.r_[before @ unit, after @ unit])
        figures[kind] = (round(auc, 3), round(float(cosine), 3))
    return {"auc_and_cosine": figures}
