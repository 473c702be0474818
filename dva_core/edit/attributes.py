"""Editing by named attributes: one step of the identity, or one shift of the motion, the same in all frames.

Identity (Kim et al. 2023, sec. 3.4, classifier-based editing): with w the weight of a linear attribute classifier on
the standardised identity vector,

    z' = l2norm(denorm(norm(z) + scale sqrt(D) w / |w|)),   norm(z) = (z - mean) / std.

Motion: an identity network is trained to ignore expression, so a smile is a shift of the landmarks instead,
z_motion[n]' = z_motion[n] + scale * shift for every frame n.

Where a model moves the frame's own pixels, the expressions of shapes.py are attributes too.

A scale may be a curve over time (see curves.py): frame n then gets the edit at the curve's strength in frame n.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..decomposition import Decomposition, check_model
from ..errors import DVAError
from .curves import Scale, parse_scale, sample_scale, scale_to_json, strengths
from .shapes import SHAPES, shape_step
from .whom import on_people

LARGEST_SCALE = 10.0
USUAL_RANGE = (-1.0, 1.0)


@dataclass(frozen=True)
class Attribute:
    """One attribute of a bundle.

    space   "identity" or "motion"; `index` is its row in the tensors of that space
    auc     of its classifier or direction on held-out people
    range   usual scales
    region  of the face that its edit changes (see faces.regions); None: the whole face
    """

    name: str
    space: str
    index: int
    auc: float | None = None
    range: tuple[float, float] = USUAL_RANGE
    region: str | None = None


@dataclass(frozen=True)
class AttributeSet:
    """The attributes of a model with their tensors.

    Identity: `weight` [K, D] of the classifiers, `mean` [D], `std` [D]; optionally `direction` [K, D], along which edits move instead of
    the weights (train/visible_directions.py), and `step` [K, D], the step of z_id at scale 1 (train/pair_steps.py).
    Motion: `shift` [M, D_motion]. `retired` lists names of attributes that earlier versions of the model had.
    """

    entries: tuple[Attribute, ...]
    tensors: Mapping[str, np.ndarray]
    retired: tuple[str, ...] = ()

    @classmethod
    def from_model(cls, model) -> AttributeSet:
        """Read `model.config["attributes"]` and the model's `attributes.*` tensors."""
        prefix = "attributes."
        buffers = {key[len(prefix) :]: value for key, value in model.state_dict().items() if key.startswith(prefix)}
        tensors = {key: value.detach().cpu().numpy().astype(np.float64) for key, value in buffers.items()}
        if shapes := shapes_of(model.config):
            own = tensors.get("motion.shift", np.zeros((0, model.config["motion_dim"])))
            tensors["motion.shift"] = np.concatenate([own, np.stack([shape_step(shape.name) for shape in shapes])])
        return cls(entries_of(model.config), tensors, tuple(model.config.get("retired_attributes") or ()))

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    def __getitem__(self, name: str) -> Attribute:
        """Look up an attribute by name, ignoring case; DVAError with the nearest names if there is none."""
        entries = {entry.name.lower(): entry for entry in self.entries}
        if name.lower() in entries:
            return entries[name.lower()]
        if not entries:
            raise DVAError(f"This model has no attributes, so {name[:100]} cannot be edited; load a model whose bundle has them.")
        if name.lower() in (retired_names := {retired.lower(): retired for retired in self.retired}):
            raise DVAError(
                f"This model no longer edits {retired_names[name.lower()]}, because the edit was not visible; "
                f"take it out, or choose of {', '.join(self.names)}."
            )
        near = difflib.get_close_matches(name.lower(), entries, n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(entries[n].name for n in near)}?" if near else f"there are {', '.join(self.names)}."
        raise DVAError(f"This model has no attribute {name[:100]}; {advice}")

    def check(self, scales: Mapping[str, Any]) -> dict[str, Scale]:
        """Return `scales` under the attributes' proper names; DVAError for an unknown name or an invalid scale."""
        if not isinstance(scales, Mapping) or not all(isinstance(name, str) for name in scales):
            raise DVAError('The attributes to change are no names with numbers; give for example {"Young": -0.6}.')
        return {self[name].name: check_scale(self[name], parse_scale(scale, name)) for name, scale in scales.items()}

    def step(self, name: str) -> np.ndarray:
        """Step [D] of the standardised identity at scale 1: learned from pairs, else sqrt(D) w / |w| with w the direction."""
        if "identity.step" in self.tensors:
            return self.tensors["identity.step"][self[name].index] / self.tensors["identity.std"].reshape(-1)
        w = self.direction(name)
        return math.sqrt(len(w)) * w / np.linalg.norm(w)

    def direction(self, name: str) -> np.ndarray:
        """Direction [D] of an edit: the model's own, else the classifier's weight, as in the paper."""
        return self.tensors.get("identity.direction", self.tensors["identity.weight"])[self[name].index]

    def weight(self, name: str) -> np.ndarray:
        """Weight [D] of the classifier on the standardised identity."""
        return self.tensors["identity.weight"][self[name].index]

    def shift(self, name: str) -> np.ndarray:
        """Shift [D_motion] of the motion vector at scale 1."""
        return self.tensors["motion.shift"][self[name].index]


def entries_of(config: Mapping[str, Any]) -> tuple[Attribute, ...]:
    """List the attributes of a bundle's configuration, and the shapes that its model moves faces to."""
    return own_entries(config) + shapes_of(config)


def shapes_of(config: Mapping[str, Any]) -> tuple[Attribute, ...]:
    """SHAPES as attributes, behind the configuration's own ones of the motion; none for a model without a retouch."""
    if not (config.get("noise_predictor") or {}).get("retouch_size"):
        return ()
    own = own_entries(config)
    first, taken = sum(entry.space == "motion" for entry in own), {entry.name.lower() for entry in own}
    names = [name for name in SHAPES if name.lower() not in taken]
    return tuple(Attribute(name, "motion", first + i, range=SHAPES[name].range) for i, name in enumerate(names))


def own_entries(config: Mapping[str, Any]) -> tuple[Attribute, ...]:
    """List the attributes of a bundle's configuration alone."""
    return tuple(
        Attribute(
            entry["name"],
            entry["space"],
            int(entry["index"]),
            entry.get("auc"),
            tuple(entry.get("range") or USUAL_RANGE),
            entry.get("region"),
        )
        for entry in config.get("attributes") or ()
    )


def check_scale(attribute: Attribute, scale: Scale) -> Scale:
    """Return `scale` if its magnitude, at all keys of a curve, is at most LARGEST_SCALE; else DVAError naming a sensible range."""
    low, high = attribute.range
    for strength in strengths(scale):
        if not math.isfinite(strength) or abs(strength) > LARGEST_SCALE:
            raise DVAError(
                f"The scale {strength:g} of {attribute.name} makes no sense; "
                f"use a number from {low:g} to {high:g} ({LARGEST_SCALE:g} at the very most)."
            )
    return scale


def identity_step(attributes: AttributeSet, name: str, normalize: bool = True) -> np.ndarray:
    """Step [D] of the identity at scale 1, before normalisation: std sqrt(D) w / |w|, or sqrt(D) w without `normalize`.

    The paper's edit is denorm(norm(z) + s) = z + std s, so z' = l2norm(z + scale * identity_step(name)). Without `normalize` the raw
    weight is added to the vector itself, as in the authors' code.
    """
    if normalize:
        return attributes.tensors["identity.std"].reshape(-1) * attributes.step(name)
    direction = attributes.direction(name)
    return math.sqrt(len(direction)) * direction


@on_people
def apply_attributes(decomposition: Decomposition, model, scales: Mapping[str, Any], normalize: bool = True) -> Decomposition:
    """Change the attributes in `scales`, each in its space, and return the new decomposition; no frame is read.

    scales     name -> signed strength, e.g. {"Young": -0.6, "Smiling": 0.4}; usually 0.2 to 1 either way. 0 changes nothing.
               Instead of a number a curve over time: a `Curve`, or its JSON form, {"0s": 0, "1.5s": -0.8, "curve": "smooth"}
    normalize  step in the standardised identity space (as the paper does); False: in the raw one
    person     whom of several people to edit, by numbers or names; None: all

    A curve with the same number at all keys gives exactly the plain edit.
    Raises DVAError for an unknown name, a scale that is not a number or out of bounds, or a decomposition of another model.
    """
    check_model(decomposition, model)
    attributes = AttributeSet.from_model(model)
    scales = attributes.check(scales)
    operation = {"name": "attributes", "scales": {n: scale_to_json(s) for n, s in scales.items()}, "normalize": bool(normalize)}
    values = {name: sample_scale(scale, decomposition.frame_index, decomposition.info.rate) for name, scale in scales.items()}
    nonzero = {name: value for name, value in values.items() if np.any(value)}
    result = decomposition.with_edit(operation)
    identity = {name: value for name, value in nonzero.items() if attributes[name].space == "identity"}
    if identity:
        vectors = np.stack([identity_step(attributes, name, normalize) for name in identity])
        result = result.with_identity_step(None, vectors, weights_of(identity, result.faces))
    motion = {name: value for name, value in nonzero.items() if attributes[name].space == "motion"}
    for over_time in (False, True):  # plain numbers are added to the one shift, curves become separate steps
        part = {name: value for name, value in motion.items() if bool(np.ndim(value)) == over_time}
        if part:
            vectors = np.stack([attributes.shift(name) for name in part])
            result = result.with_motion_step(None, vectors, weights_of(part, result.faces))
    return result


def weights_of(values: Mapping[str, Any], faces: int) -> np.ndarray:
    """Stack to [K] numbers, or to [F, K] if some values are strengths [F] over time."""
    shape = (faces,) if any(np.ndim(value) for value in values.values()) else ()
    return np.stack([np.broadcast_to(np.asarray(value, np.float64), shape) for value in values.values()], axis=-1)
