"""Linear classifiers of all attributes at once on the standardised identity vector, trained as in the paper.

Kim et al. (2023), sec. 3.4: binary cross-entropy, Adam 1e-3, 300 k samples, a moving average of the weights. In addition
every class is balanced (a positive weighs negatives / positives), unknown labels are ignored, and a part of the people is held out to
measure balanced accuracy and AUC of each class.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dva_core.edit.attributes import USUAL_RANGE
from dva_core.edit.directions import Direction, encoder_fingerprint
from dva_core.errors import DVAError
from dva_core.model.arrays import to_images
from dva_core.model.bundle import BundleInfo, read_bundle, write_bundle
from dva_core.train.labels import LabelTable, batches, roc_auc, split
from dva_core.train.state import Ema, write_tensors

log = logging.getLogger(__name__)

SAMPLES, BATCH, LEARNING_RATE, EMA = 300_000, 256, 1e-3, 0.999
FEWEST = 10  # pictures with and without, for a class to be fitted
HELD_OUT = 0.2


@dataclass(frozen=True)
class Classifiers:
    """K linear classifiers: logit = weight . (z - mean) / std + bias.

    `weight` [K, D] and `bias` [K] are the moving averages, `raw_weight` and `raw_bias` the last iterates; `figures` has a dict per class:
    name, yes, no, and on held-out people accuracy (balanced) and auc, None if too few labels are known.
    """

    weight: Tensor
    bias: Tensor
    raw_weight: Tensor
    raw_bias: Tensor
    mean: Tensor
    std: Tensor
    figures: list[dict[str, Any]]

    @property
    def names(self) -> list[str]:
        return [figure["name"] for figure in self.figures]

    def save(self, path: Path, encoder: str) -> None:
        """Write to a .safetensors file, with the fingerprint of the identity encoder."""
        tensors = {name: getattr(self, name).float() for name in ("weight", "bias", "raw_weight", "raw_bias", "mean", "std")}
        metadata = {"format": "dva-classifiers", "version": "1", "encoder": encoder, "figures": json.dumps(self.figures)}
        write_tensors(path, tensors, metadata)


def encode_folder(model, folder: Path, files: Sequence[str], batch: int = 32) -> np.ndarray:
    """Encode aligned pictures (any square size) to z_id [n, D], in batches."""
    vectors = []
    for pictures in batches(Path(folder), files, batch):
        size = model.crop_size
        crops = [p if p.shape[0] == size else cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in pictures]
        vectors.append(model.encode_identity(to_images(np.stack(crops))).float().cpu().numpy())
    return np.concatenate(vectors)


def fit_classifiers(
    z_id: np.ndarray,
    table: LabelTable,
    *,
    samples: int = SAMPLES,
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    ema: float = EMA,
    held_out: float = HELD_OUT,
    seed: int = 0,
) -> Classifiers:
    """Fit every attribute of `table` with at least FEWEST pictures of both kinds, from z_id [n, D] of its pictures.

    `samples` pictures are drawn from those not held out, which the statistics are of too. DVAError if no class has enough pictures.
    """
    test = split(len(z_id), table.person, held_out, seed)
    labelled = ~np.isnan(table.labels)
    yes, no = ((table.labels == value)[~test].sum(0) for value in (1, 0))
    columns = np.flatnonzero(np.minimum(yes, no) >= FEWEST)
    if not len(columns):
        raise DVAError(f"No attribute has {FEWEST} pictures with and {FEWEST} without it; add labelled pictures.")
    mean, std = z_id[~test].mean(0), z_id[~test].std(0) + 1e-6
    inputs = torch.from_numpy(np.float32((z_id - mean) / std))
    targets = torch.from_numpy(np.nan_to_num(table.labels[:, columns]).astype(np.float32))
    weights = torch.from_numpy(labelled[:, columns].astype(np.float32))
    balance = torch.from_numpy((no[columns] / yes[columns]).astype(np.float32))
    raw, average = descend(
        inputs[~test], targets[~test], weights[~test], balance, samples, min(batch, int((~test).sum())), learning_rate, ema, seed
    )
    logits = (inputs[test] @ average[0].T + average[1]).numpy()
    figures = []
    for column, k in enumerate(columns):
        rows = labelled[test, k]
        figures.append({"name": table.names[k], **held_out_figures(logits[rows, column], table.labels[test][rows, k])})
        figures[-1] |= {"yes": int((table.labels[:, k] == 1).sum()), "no": int((table.labels[:, k] == 0).sum())}
        log.info("attribute %(name)s: accuracy %(accuracy)s, AUC %(auc)s", figures[-1])
    return Classifiers(*average, *raw, torch.from_numpy(np.float32(mean)), torch.from_numpy(np.float32(std)), figures)


def descend(
    inputs: Tensor, targets: Tensor, weights: Tensor, balance: Tensor, samples: int, batch: int, learning_rate: float, ema: float, seed: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Minimise the mean balanced binary cross-entropy of known labels by Adam: final (weight, bias), and their moving average."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.zeros(targets.shape[1], inputs.shape[1], requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=learning_rate)
    average = Ema({"weight": weight, "bias": bias}, ema)
    for step in range(max(1, samples // batch)):
        rows = torch.randint(len(inputs), (batch,), generator=generator)
        logits = inputs[rows] @ weight.T + bias
        losses = F.binary_cross_entropy_with_logits(logits, targets[rows], pos_weight=balance, reduction="none")
        loss = (losses * weights[rows]).sum() / weights[rows].sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update({"weight": weight, "bias": bias}, step)
    return (weight.detach(), bias.detach()), (average.values["weight"], average.values["bias"])


def held_out_figures(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """Compute balanced accuracy (0.5 is chance) and AUC of logits [n]; None if one class is missing."""
    yes, no = scores[labels == 1], scores[labels == 0]
    if not len(yes) or not len(no):
        return {"accuracy": None, "auc": None}
    accuracy = ((yes > 0).mean() + (no <= 0).mean()) / 2
    return {"accuracy": round(float(accuracy), 4), "auc": round(roc_auc(labels, scores), 4)}


# -- what becomes of them ------------------------------------------------------------------------------------


def to_directions(classifiers: Classifiers, model) -> list[Direction]:
    """Convert to the contents of Direction files: std sqrt(D) w / |w|."""
    encoder, name = encoder_fingerprint(model, "identity"), model.config.get("name", "")
    dim = classifiers.weight.shape[1]
    directions = []
    for w, figure in zip(classifiers.weight.double(), classifiers.figures):
        vector = (classifiers.std.double() * w / w.norm()).numpy() * np.sqrt(dim)
        provenance = {"how": "classifier", "model": name, **{key: figure[key] for key in ("accuracy", "auc", "yes", "no")}}
        directions.append(Direction(vector, "identity", figure["name"], encoder, made=provenance))
    return directions


def into_bundle(classifiers: Classifiers, base: Path, out: Path, names: Sequence[str] = (), least_auc: float = 0.0) -> BundleInfo:
    """Write a new bundle: `base` with these identity attributes instead of its own; its motion attributes stay.

    Classes below `least_auc` are left out, and so are names that the bundle has as motion attributes: expressions live there.
    """
    bundle = read_bundle(base)
    motion = [entry for entry in bundle.config.get("attributes") or () if entry["space"] == "motion"]
    motion_names = {entry["name"] for entry in motion}
    indices = [
        k for k, f in enumerate(classifiers.figures)
        if f["name"] not in motion_names and (not names or f["name"] in names) and (f["auc"] if f["auc"] is not None else 1.0) >= least_auc
    ]  # fmt: skip
    if not indices:
        raise DVAError("None of the classifiers is good enough for the bundle; ask for a lower AUC or label more pictures.")
    keys = ("name", "auc", "accuracy", "yes", "no")
    figures = [{key: classifiers.figures[k][key] for key in keys} for k in indices]
    entries = [{**figure, "space": "identity", "index": i, "range": list(USUAL_RANGE)} for i, figure in enumerate(figures)]
    tensors = {name: tensor for name, tensor in bundle.tensors.items() if not name.startswith("attributes.identity.")}
    tensors |= {f"attributes.identity.{name}": getattr(classifiers, name) for name in ("mean", "std")}
    tensors |= {f"attributes.identity.{name}": getattr(classifiers, name)[indices] for name in ("weight", "bias")}
    text = bundle.metadata.get
    return write_bundle(
        out,
        tensors,
        {**bundle.config, "attributes": [*entries, *motion], "identity_directions": False},  # those were of other classifiers
        licence=text("licence", ""),
        source=text("source", ""),
        model_card=text("model_card", "") + "\nAttribute classifiers trained anew with `train attributes`.",
        precision=text("precision", "fp16"),
    )


def select_columns(table: LabelTable, names: Sequence[str]) -> LabelTable:
    """Find the columns called `names` (None: all). DVAError for an unknown name, or two that differ only slightly."""
    names, by_name = list(dict.fromkeys(names)), {}
    for name in names or table.names:
        if (other := by_name.setdefault(name.casefold(), name)) != name or list(table.names).count(name) > 1:
            raise DVAError(f"The attributes {other} and {name} cannot be told apart by their names; rename one, or name one by --only.")
    unknown = [name for name in names if name not in table.names]
    if unknown:
        raise DVAError(f"The table has no attribute {unknown[0]}; there are {', '.join(table.names)}.")
    return replace(table, names=names, labels=table.labels[:, [table.names.index(n) for n in names]]) if names else table
