"""Editing by named attributes: one step of the clip's identity, or one shift of its motion, the same in all frames.

Identity (Kim et al. 2023, sec. 3.4, classifier-based editing): with w the weight of a linear attribute classifier on
the standardised identity vector,

    z' = l2norm(denorm(norm(z) + scale sqrt(D) w / |w|)),   norm(z) = (z - mean) / std.

Motion: an identity network is trained to ignore expression, so a smile is a shift of the landmarks instead,
z_motion[n]' = z_motion[n] + scale * shift for every frame n.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..decomposition import Decomposition, check_model
from ..errors import DVAError

LARGEST_SCALE = 10.0
USUAL_RANGE = (-1.0, 1.0)


@dataclass(frozen=True)
class Attribute:
    """One attribute of a bundle: its space ("identity" or "motion"), its row there, held-out AUC and usual scales."""

    name: str
    space: str
    index: int
    auc: float | None = None
    range: tuple[float, float] = USUAL_RANGE


@dataclass(frozen=True)
class AttributeSet:
    """The attributes of a model with their tensors: `weight` [K, D], `mean` [D], `std` [D] of the identity, `shift` [M, D_motion]."""

    entries: tuple[Attribute, ...]
    tensors: Mapping[str, np.ndarray]

    @classmethod
    def from_model(cls, model) -> AttributeSet:
        """Reads `model.config["attributes"]` and the model's `attributes.*` tensors."""
        prefix = "attributes."
        held = {key[len(prefix) :]: value for key, value in model.state_dict().items() if key.startswith(prefix)}
        entries = tuple(
            Attribute(entry["name"], entry["space"], int(entry["index"]), entry.get("auc"), tuple(entry.get("range") or USUAL_RANGE))
            for entry in model.config.get("attributes") or ()
        )
        return cls(entries, {key: value.detach().double().cpu().numpy() for key, value in held.items()})

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    def __getitem__(self, name: str) -> Attribute:
        """The attribute called `name`, whatever its case; DVAError with the nearest names when there is none."""
        known = {entry.name.lower(): entry for entry in self.entries}
        if name.lower() in known:
            return known[name.lower()]
        if not known:
            raise DVAError(f"This model has no attributes, so {name} cannot be edited; load a model whose bundle has them.")
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(known[n].name for n in near)}?" if near else f"there are {', '.join(self.names)}."
        raise DVAError(f"This model has no attribute {name}; {advice}")

    def check(self, scales: Mapping[str, float]) -> dict[str, float]:
        """`scales` under the attributes' proper names; DVAError for an unknown name or a scale that makes no sense."""
        return {self[name].name: check_scale(self[name], scale) for name, scale in scales.items()}

    def step(self, name: str) -> np.ndarray:
        """[D], the step of the standardised identity at scale 1: sqrt(D) w / |w|."""
        w = self.weight(name)
        return math.sqrt(len(w)) * w / np.linalg.norm(w)

    def weight(self, name: str) -> np.ndarray:
        return self.tensors["identity.weight"][self[name].index]

    def shift(self, name: str) -> np.ndarray:
        """[D_motion], the shift of the motion vector at scale 1."""
        return self.tensors["motion.shift"][self[name].index]


def check_scale(attribute: Attribute, scale: float) -> float:
    """`scale` as a float, when it is finite and at most LARGEST_SCALE in size; else DVAError naming a sensible range."""
    low, high = attribute.range
    if not math.isfinite(scale) or abs(scale) > LARGEST_SCALE:
        raise DVAError(
            f"The scale {scale:g} of {attribute.name} makes no sense; "
            f"use a number from {low:g} to {high:g} ({LARGEST_SCALE:g} at the very most)."
        )
    return float(scale)


def edit_identity(z_id: np.ndarray, attributes: AttributeSet, scales: Mapping[str, float], normalize: bool = True) -> np.ndarray:
    """z_id [D] moved along the identity attributes in `scales`, of unit length (system.md: the paper's classifier edit).

    With `normalize` the steps are summed in the standardised space, where every dimension weighs the same; without,
    as in the authors' code, the raw weights are added to the vector itself: l2norm(z + sum scale sqrt(D) w).
    """
    z = np.asarray(z_id, np.float64)
    if normalize:
        mean, std = attributes.tensors["identity.mean"].reshape(-1), attributes.tensors["identity.std"].reshape(-1)
        moved = (z - mean) / std + sum(scale * attributes.step(name) for name, scale in scales.items())
        moved = moved * std + mean
    else:
        moved = z + sum(scale * math.sqrt(len(z)) * attributes.weight(name) for name, scale in scales.items())
    return (moved / np.linalg.norm(moved)).astype(np.float32)


def apply_attributes(decomposition: Decomposition, model, scales: Mapping[str, float], normalize: bool = True) -> Decomposition:
    """`decomposition` with the attributes in `scales` changed, each in the space it lives in; no frame is touched.

    scales     name -> signed strength, e.g. {"Young": -0.6, "Smiling": 0.4}; usually 0.2 to 1 either way. 0 changes nothing.
    normalize  step in the standardised identity space (as the paper does); False: in the raw one.

    Raises DVAError for an unknown name, a scale that is not a number or out of bounds, or a clip of another model.
    """
    check_model(decomposition, model)
    attributes = AttributeSet.from_model(model)
    scales = attributes.check(scales)
    identity = {name: scale for name, scale in scales.items() if scale and attributes[name].space == "identity"}
    motion = {name: scale for name, scale in scales.items() if scale and attributes[name].space == "motion"}
    z_id = edit_identity(decomposition.current_z_id, attributes, identity, normalize) if identity else None
    shift = None
    if motion:
        before = 0.0 if decomposition.motion_shift is None else decomposition.motion_shift
        shift = before + sum(scale * attributes.shift(name) for name, scale in motion.items())
    operation = {"name": "attributes", "scales": scales, "normalize": bool(normalize)}
    return decomposition.with_edit(operation, z_id=z_id, motion_shift=shift)
