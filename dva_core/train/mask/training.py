"""Training of the face parser: visible face and what is in front of it, from labels and drawn occluders."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dva_core.errors import DVAError
from dva_core.model.arrays import to_images
from dva_core.networks.parser import CompactParser
from dva_core.train.encoders import one_cycle
from dva_core.train.faces import FaceSet
from dva_core.train.mask.samples import Sources, label_sheet, load_labels, make_batch, make_sample, sources_of
from dva_core.train.state import read_about, read_tensors, write_network, write_tensors
from dva_core.video.images import save_picture

log = logging.getLogger(__name__)

PEAK = 3e-3  # learning rate
BATCH = 16
SAVE_EVERY = 120.0  # seconds
OVERLAP = 0.5  # weight of the soft Dice loss of the face
STATE = "mask_state.safetensors"


def parser_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of both parts, that of the front weighted by its certainty, and soft Dice (Milletari et al. 2016) of the face.

    logits [B, 2, S, S]; targets [B, 3, S, S]: face, front, certainty of the front.
    """
    face, front, certainty = targets.clamp(0, 1).unbind(1)
    entropy = F.binary_cross_entropy_with_logits(logits[:, 0], face)
    entropy = entropy + (certainty * F.binary_cross_entropy_with_logits(logits[:, 1], front, reduction="none")).sum() / certainty.sum()
    share = logits[:, 0].sigmoid()
    dice = 1 - (2 * (share * face).sum((1, 2)) + 1) / (share.sum((1, 2)) + face.sum((1, 2)) + 1)
    return entropy + OVERLAP * dice.mean()


def overlap(masks: np.ndarray, others: np.ndarray) -> float:
    """Mean intersection over union of bool masks [n, S, S]."""
    both, either = (masks & others).sum((1, 2)), (masks | others).sum((1, 2))
    return float(np.mean(both / np.maximum(either, 1)))


@torch.inference_mode()
def measure(network: nn.Module, sources: Sources, things: int, seed: int = 0) -> dict[str, float]:
    """Intersection over union with the labels, of the network and of the whole hull, with `things` occluders in front of each face."""
    rng = np.random.default_rng(seed)
    samples = [make_sample(rng, sources, row, things) for row in range(len(sources.pictures))]
    images = to_images(np.stack([picture for picture, _ in samples]))
    faces = np.stack([parts[0] for _, parts in samples]) > 0.5
    masks = torch.cat([network(part)[:, 0] for part in images.split(64)]).numpy() > 0
    return {"ours": round(overlap(masks, faces), 4), "hull": round(overlap(sources.labels.hull[sources.label] > 0, faces), 4)}


class Run:
    """Network and optimiser, and the seconds trained, stored in one file."""

    def __init__(self, path: Path, seed: int):
        torch.manual_seed(seed)
        self.path, self.step, self.seconds = path, 0, 0.0
        self.network = CompactParser().to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), PEAK, weight_decay=1e-3)

    def save(self) -> None:
        state = self.optimiser.state_dict()["state"]
        moments = {f"optimiser.{index}.{name}": value for index, values in state.items() for name, value in values.items()}
        weights = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        write_tensors(self.path, {**weights, **moments}, {"step": str(self.step), "seconds": str(self.seconds)})

    def resume(self) -> None:
        """Resume from the file. DVAError if it is missing, or of another network."""
        tensors, about = read_tensors(self.path), read_about(self.path)
        try:
            self.network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
            state = self.optimiser.state_dict()
            for name, value in tensors.items():
                if name.startswith("optimiser."):
                    _, index, key = name.split(".")
                    state["state"].setdefault(int(index), {})[key] = value
            self.optimiser.load_state_dict(state)
            self.step, self.seconds = int(about["step"]), float(about["seconds"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise DVAError(f"{self.path} is no state of this training; remove it and begin anew.") from error


def train_mask(faces: FaceSet, out: Path, *, minutes: float = 25, batch: int = BATCH, seed: int = 0, resume: bool = False) -> dict:
    """Train a CompactParser, write `out`, and return the overlap with the labels of held-out people, without and with occluders.

    Beside `out`: the labels (mask_labels.npz), a sheet of 100 of them to check by eye (mask_labels.png), and the state, to resume from.
    """
    labels = load_labels(out.parent / "mask_labels.npz", faces)
    save_picture(out.parent / "mask_labels.png", label_sheet(faces, labels))
    sources = sources_of(faces, labels, np.flatnonzero(labels.usable & ~faces.held_out), seed)
    log.info("mask: %d of %d labels are used; %d pictures", labels.usable.sum(), len(faces), len(sources.pictures))
    run = Run(out.parent / STATE, seed)
    if resume:
        run.resume()
    network, last, last_save = run.network.train(), time.monotonic(), run.seconds
    while (progress := run.seconds / (60 * minutes)) < 1:
        images, targets = make_batch((seed, run.step), sources, batch)
        run.optimiser.param_groups[0]["lr"] = one_cycle(progress, PEAK)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        loss = parser_loss(logits, targets)
        run.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        run.optimiser.step()
        run.step += 1
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if run.step % 50 == 0:
            log.info("mask: step %d, %.0f %% of the time, loss %.3f", run.step, 100 * progress, loss.item())
        if run.seconds - last_save > SAVE_EVERY:
            run.save()
            last_save = run.seconds
    run.save()
    network.eval()
    held_out = sources_of(faces, labels, np.flatnonzero(labels.usable & faces.held_out), seed)
    figures = {
        "samples": run.step * batch,
        "minutes": minutes,
        "labels used": int(labels.usable.sum()),
        "overlap": {name: measure(network, held_out, things) for name, things in (("bare", 0), ("one thing in front", 1))},
    }
    write_network(out, network)
    log.info("mask: %s", figures)
    return figures
