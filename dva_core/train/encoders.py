"""Distillation of the small landmark and identity networks.

Landmarks: the teacher's points, transformed along with every augmentation. Identity: the teacher's embedding, plus
the attribute labels through one linear layer, so that the attributes to be edited stay linearly predictable.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dva_core.model.arrays import to_images
from dva_core.model.autoencoder import JAW
from dva_core.networks.compact import CompactIdentity, CompactLandmarks
from dva_core.train.augment import reframe, relight, soften
from dva_core.train.faces import FaceSet
from dva_core.train.state import read_network, write_network
from dva_core.train.synthesis import Variants

log = logging.getLogger(__name__)

CHANCE = 0.55  # AUC below which the probe counts as chance


def encode_faces(
    identity: nn.Module, landmarks: nn.Module, pictures: np.ndarray, batch: int = 64, device: torch.device | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Encode uint8 pictures [n, S, S, 3]: z_id [n, D], unit, and the 51 inner landmarks [n, 102] in 0..1."""
    z_id, motion = [], []
    with torch.inference_mode():
        for start in range(0, len(pictures), batch):
            images = to_images(pictures[start : start + batch]).to(device)
            z_id.append(identity(images).cpu())
            motion.append(landmarks(images).clamp(0, 1)[:, JAW:].flatten(1).cpu())
    return torch.cat(z_id).numpy(), torch.cat(motion).numpy()


class Batches:
    """Endless random batches of variants of training people; `minutes` limits the training."""

    def __init__(self, faces: FaceSet, variants: Variants, batch: int, minutes: float, seed: int):
        held_out = np.isin(variants.original, np.flatnonzero(faces.held_out))
        self.rows, self.held_out = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        self.batch, self.seconds = batch, minutes * 60
        self.rng, self.generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def __iter__(self):
        """Yields (row indices [batch], share of the time used in 0..1)."""
        start = time.monotonic()
        while (progress := (time.monotonic() - start) / self.seconds) < 1:
            yield np.sort(self.rng.choice(self.rows, self.batch, replace=False)), progress


def one_cycle(progress: float, peak: float) -> float:
    """Learning-rate factor at `progress` of the run: a short rise, then a cosine to 0."""
    return peak * min(1.0, progress / 0.03) * 0.5 * (1 + np.cos(np.pi * progress))


def train_landmarks(faces: FaceSet, variants: Variants, out: Path, *, minutes: float = 20, batch: int = 48, seed: int = 0) -> dict:
    """Fit CompactLandmarks, write `out`, and return the mean error on held-out people in pixels of a 256-pixel picture."""
    torch.manual_seed(seed)
    network = CompactLandmarks().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    batches = Batches(faces, variants, batch, minutes, seed)
    side = variants.pictures.shape[1]
    for step, (rows, progress) in enumerate(batches):
        images, points = to_images(variants.pictures[rows]), torch.from_numpy(variants.landmarks[rows]) / side
        images, points = reframe(images, points, batches.generator, turn=9, zoom=0.22, shift=0.08)
        images = soften(relight(images, batches.generator), batches.generator)
        optimiser.param_groups[0]["lr"] = one_cycle(progress, 2e-3)
        loss = (network(images) - points).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 0:
            log.info("landmarks: step %d, %.0f %% of the time, error %.2f px of 256", step, 100 * progress, loss.item() * 256)
    network.eval()
    rows = batches.held_out[variants.group[batches.held_out] >= 0]
    with torch.inference_mode():
        points = torch.cat([network(to_images(variants.pictures[part])) for part in np.array_split(rows, max(1, len(rows) // 64))])
    error = np.linalg.norm(points.numpy() - variants.landmarks[rows] / side, axis=-1) * 256
    result = {"samples": (step + 1) * batch, "minutes": minutes, "error_px_of_256": round(float(error.mean()), 3),
              "inner_error_px_of_256": round(float(error[:, 17:].mean()), 3)}  # fmt: skip
    write_network(out, network)
    log.info("landmarks: %s", result)
    return result


@torch.no_grad()
def forget_expression(network: CompactIdentity, faces: FaceSet, rounds: int = 5) -> None:
    """Project the directions that predict expressions out of the identity vector, in place; they belong to the motion vector.

    Null-space projection (Ravfogel et al. 2020): fit a linear probe, project its direction out of the last layer, and repeat.
    """
    from dva_core.train.attributes import EXPRESSIONS, probe

    features = []
    hook = network.head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    for start in range(0, len(faces), 64):
        network(to_images(faces.pictures[start : start + 64]))
    hook.remove()
    pooled = torch.cat(features)
    for _ in range(rounds):
        for name in EXPRESSIONS:
            labels = faces.labels[:, faces.names.index(name)]
            labelled = ~np.isnan(labels)
            z = F.normalize(network.head(pooled), dim=1).numpy()[labelled]
            weight, _, auc = probe(z, labels[labelled].astype(int), faces.person[labelled], 10.0)
            log.info("identity: %s was told with AUC %.3f", name, auc)
            if auc < CHANCE:
                continue
            unit = F.normalize(torch.from_numpy(weight).float(), dim=0)
            keep = torch.eye(len(unit)) - torch.outer(unit, unit)
            network.head.weight.copy_(keep @ network.head.weight)
            network.head.bias.copy_(keep @ network.head.bias)


def train_identity(
    faces: FaceSet,
    variants: Variants,
    out: Path,
    *,
    minutes: float = 30,
    batch: int = 48,
    seed: int = 0,
    label_weight: float = 0.3,
    start: Path | None = None,
) -> dict:
    """Fit CompactIdentity, from `start` if given, write `out`, and return the mean cosine to the teacher on held-out people."""
    torch.manual_seed(seed)
    network = CompactIdentity().to(memory_format=torch.channels_last)
    if start:
        read_network(start, network)
    head = nn.Linear(128, faces.labels.shape[1])
    optimiser = torch.optim.AdamW([*network.parameters(), *head.parameters()], 2e-3, weight_decay=1e-2)
    batches = Batches(faces, variants, batch, minutes, seed)
    labels = torch.from_numpy(np.r_[faces.labels, np.full((1, faces.labels.shape[1]), np.nan, np.float32)])
    positive = torch.from_numpy(np.nanmean(faces.labels, 0))
    balance = ((1 - positive) / positive).clamp(0.2, 8)
    targets, side = torch.from_numpy(variants.embedding), variants.pictures.shape[1]
    for step, (rows, progress) in enumerate(batches):
        images, points = to_images(variants.pictures[rows]), torch.from_numpy(variants.landmarks[rows]) / side
        images, _ = reframe(images, points, batches.generator, turn=4, zoom=0.1, shift=0.04)
        images = soften(relight(images, batches.generator, 0.7), batches.generator, 0.3)
        optimiser.param_groups[0]["lr"] = one_cycle(progress, 2e-3)
        z = network(images)
        like = 1 - (z * targets[rows]).sum(1).mean()
        label = labels[torch.from_numpy(variants.original[rows])]
        labelled = ~label.isnan()
        label_loss = z.new_zeros(())
        if labelled.any():
            label_loss = F.binary_cross_entropy_with_logits(
                head(8 * z)[labelled], label[labelled], pos_weight=balance.expand_as(label)[labelled]
            )
        loss = like + label_weight * label_loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 0:
            log.info(
                "identity: step %d, %.0f %% of the time, cosine %.3f, labels %.3f", step, 100 * progress, 1 - like.item(), label_loss.item()
            )
    network.eval()
    forget_expression(network, faces)
    rows = batches.held_out
    with torch.inference_mode():
        z = torch.cat([network(to_images(variants.pictures[part])) for part in np.array_split(rows, max(1, len(rows) // 64))])
    result = {"samples": (step + 1) * batch, "minutes": minutes, "cosine_to_teacher": round(float((z * targets[rows]).sum(1).mean()), 4)}
    write_network(out, network)
    log.info("identity: %s", result)
    return result
