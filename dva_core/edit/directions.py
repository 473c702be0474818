"""Directions: an edit as a small file, to save, share, combine, and apply to any decomposition made with the same encoder.

A direction v is one step of the identity or of the motion, at scale 1, in the units of that vector:

    identity    z_id'        = l2norm(z_id + scale v)            (Kim et al. 2023, sec. 3.4: how both editing methods end)
    motion      z_motion[n]' = z_motion[n] + scale v             for every frame n

A trained attribute gives a direction too: with w its classifier's weight on (z - mean) / std, v = std sqrt(D) w / |w|
(`from_attribute`).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..decomposition import Decomposition, check_model
from ..errors import DVAError, MissingFileError
from ..files import atomic_write
from ..model.checks import weights_digest
from .attributes import LARGEST_SCALE, USUAL_RANGE, AttributeSet
from .curves import Scale, parse_scale, sample_scale, scale_to_json, strengths
from .whom import on_people

FORMAT, VERSION = "dva-direction", 1
FACTS = ("space", "name", "encoder", "range", "made")  # in every file; `region` was added later
SPACES = {"identity": "identity_encoder", "motion": "motion_encoder"}
SUFFIX = ".safetensors"
LARGEST_VECTOR = 1 << 16  # numbers; what a direction has at most
SMALL = 1 << 19  # bytes; no direction's file has more


@dataclass(frozen=True, eq=False)
class Direction:
    """One step at scale 1, and its origin.

    vector   [D] float32, in the units of the vector it is added to
    space    "identity" or "motion"
    name     of what it changes
    encoder  SHA-256 of the encoder of that space (`encoder_fingerprint`)
    range    sensible scales
    made     how it was made, as plain JSON
    region   of the face that it changes (see faces.regions); None: the whole face
    """

    vector: np.ndarray
    space: str
    name: str
    encoder: str
    range: tuple[float, float] = USUAL_RANGE
    made: Mapping[str, Any] = field(default_factory=dict)
    region: str | None = None

    def __post_init__(self) -> None:
        vector = np.array(self.vector, np.float32).reshape(-1)  # a copy: nobody else holds it
        vector.setflags(write=False)
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "range", (float(self.range[0]), float(self.range[1])))
        if not (isinstance(self.name, str) and isinstance(self.encoder, str) and isinstance(self.made, Mapping)):
            raise DVAError("The direction lacks its name, its encoder or how it was made; get it again.")
        if not isinstance(self.space, str) or self.space not in SPACES:
            raise DVAError(f"The direction {self.name} is of a space {self.space!r} that is not known; use {' or '.join(SPACES)}.")
        if not vector.size or not np.isfinite(vector).all():
            raise DVAError(f"The direction {self.name} holds numbers that are not finite; make it again.")

    @property
    def about(self) -> str:
        """Describe it in a line: name, how it was made, sensible scales."""
        made, (low, high) = self.made, self.range
        of = [str(name) for name in made["of"]] if isinstance(made.get("of"), (list, tuple)) else []
        how = {
            "text": f'from the text "{made.get("target")}" (instead of "{made.get("source")}")',
            "attribute": "a trained attribute of the model",
            "pictures": f"from {made.get('with')} pictures with it and {made.get('without')} without",
            "frames": "from two frames of a video",
            "scaled": "a multiple of another",
            "added": f"the sum of {', '.join(of)}",
            "orthogonal": f"made independent of {', '.join(of[1:])}",
        }.get(str(made.get("how")), str(made.get("how") or "of unknown origin"))
        return f"{self.name}: a direction of {self.space}, {how}; strengths from {low:g} to {high:g} make sense."

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON; the vector as base64 of its little-endian float32, so that it is restored exactly."""
        return {**self._facts(), "vector": base64.b64encode(self.vector.astype("<f4").tobytes()).decode("ascii")}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Direction:
        """Restore a direction from `to_json`. DVAError for anything else."""
        try:
            vector = np.frombuffer(base64.b64decode(record["vector"], validate=True), "<f4")
            return cls(vector, **{key: record[key] for key in FACTS}, region=record.get("region"))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            if isinstance(error, DVAError):
                raise
            raise DVAError("The record of a direction is damaged; apply the direction's file instead.") from error

    def save(self, path: str | Path) -> Path:
        """Write a .safetensors file of a few kB atomically. DVAError for another suffix or a path that cannot be written."""
        path = Path(path)
        if path.suffix != SUFFIX:
            raise DVAError(f"A direction needs a name that ends in {SUFFIX}; call it {path.with_suffix(SUFFIX)}.")
        metadata = {"format": FORMAT, "version": str(VERSION), "direction": json.dumps(self._facts(), ensure_ascii=False)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as partial:
                save_file({"vector": self.vector}, partial, metadata=metadata)
        except (OSError, SafetensorError) as error:
            raise DVAError(f"{path} cannot be written ({error}); choose a folder with room that you may write to.") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> Direction:
        """Read the file of a direction. DVAError if it is missing, damaged, of another format, or of an unknown version."""
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"There is no direction {path}; check the path.")
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise DVAError(f"{path} is not a direction; give a file that Save Direction or `direction` wrote.")
                if metadata.get("version") != str(VERSION):
                    version = metadata.get("version")
                    raise DVAError(f"{path} has version {version} of the format and this program reads {VERSION}; update the program.")
                if math.prod(file.get_slice("vector").get_shape()) > LARGEST_VECTOR:
                    raise DVAError(f"{path} is far too large for a direction; get it again.")
                vector, facts = file.get_tensor("vector"), json.loads(metadata["direction"])
            return cls(vector, **{key: facts[key] for key in FACTS}, region=facts.get("region"))
        except DVAError:
            raise
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError, OverflowError, RecursionError) as error:
            raise DVAError(f"{path} is damaged or no direction; get it again.") from error

    def _facts(self) -> dict[str, Any]:
        facts = {"name": self.name, "space": self.space, "encoder": self.encoder, "range": list(self.range), "made": dict(self.made)}
        facts |= {} if self.region is None else {"region": self.region}
        return json.loads(json.dumps(facts))  # fail here, not when saving, if something cannot be stored


def encoder_fingerprint(model, space: str) -> str:
    """The digest of the encoder whose vectors form `space`, independent of the rest of the model."""
    return weights_digest(getattr(model, SPACES[space]).state_dict(), space)


def check_encoder(direction: Direction, model) -> None:
    """DVAError if the direction was made with another encoder than the model's, whose vectors are not comparable."""
    ours = encoder_fingerprint(model, direction.space)
    if direction.encoder != ours:
        theirs = f"{direction.made.get('model') or 'another model'}'s, {direction.encoder[:12]}"
        raise DVAError(
            f"The direction {direction.name} was made with another {direction.space} encoder ({theirs}) than this model's "
            f"({ours[:12]}); use a model with that encoder or make the direction again."
        )


def check_scale_of(name: str, scale: Any, range: tuple[float, float] = USUAL_RANGE) -> Scale:
    """Return `scale`, a number or a Curve, if its magnitude is at most LARGEST_SCALE; else DVAError naming `name` and a sensible range."""
    scale = parse_scale(scale, name)
    for value in strengths(scale):
        if not math.isfinite(value) or abs(value) > LARGEST_SCALE:
            raise DVAError(f"The scale {value:g} of {name} makes no sense; use a number from {range[0]:g} to {range[1]:g}.")
    return scale


@on_people
def apply_direction(decomposition: Decomposition, model, direction: Direction | Mapping[str, Any], scale: Scale = 1.0) -> Decomposition:
    """Apply `direction` (or its `to_json`) at `scale`, the same in all frames or a curve over time; no frame is read.

    The operation records the whole direction, so that it can be repeated without its file. `person`: whom of several people to edit,
    by numbers or names; None: all. Raises DVAError for a direction of another encoder, a scale out of bounds, or a decomposition of
    another model.
    """
    check_model(decomposition, model)
    direction = direction if isinstance(direction, Direction) else Direction.from_json(direction)
    check_encoder(direction, model)
    scale = check_scale_of(direction.name, scale, direction.range)
    operation = {"name": "direction", "direction": direction.to_json(), "scale": scale_to_json(scale)}
    strength = sample_scale(scale, decomposition.frame_index, decomposition.info.rate)
    if isinstance(strength, float) and not strength:
        return decomposition.with_edit(operation)
    weights = np.array([strength]) if isinstance(strength, float) else strength[:, None]
    step = decomposition.with_identity_step if direction.space == "identity" else decomposition.with_motion_step
    return step(operation, direction.vector[None], weights)


# -- operations ----------------------------------------------------------------------------------------------


def scale_direction(direction: Direction, factor: float) -> Direction:
    """Multiply a direction by `factor`. DVAError for a factor that is not finite."""
    if not math.isfinite(factor):
        raise DVAError(f"The factor {factor:g} of {direction.name} makes no sense; use a finite number.")
    return _derive(direction, np.float64(factor) * direction.vector, f"{factor:g} {direction.name}", "scaled", [direction], [factor])


def add_directions(directions: Sequence[Direction], factors: Sequence[float] | None = None) -> Direction:
    """Add directions: sum_i factors[i] directions[i]. DVAError unless all are of one space and one encoder."""
    factors = [1.0] * len(directions) if factors is None else list(factors)
    if not directions or len(factors) != len(directions):
        raise DVAError(f"There are {len(directions)} directions and {len(factors)} factors to add; give one factor for each.")
    check_same_space(directions)
    if not all(map(math.isfinite, factors)):
        raise DVAError("A factor of the directions makes no sense; use finite numbers.")
    total = sum(np.float64(factor) * direction.vector for factor, direction in zip(factors, directions))
    name = " + ".join(direction.name if factor == 1 else f"{factor:g} {direction.name}" for factor, direction in zip(factors, directions))
    return _derive(directions[0], total, name, "added", directions, factors)


def orthogonal_to(direction: Direction, others: Sequence[Direction], std: np.ndarray | None = None) -> Direction:
    """Remove from `direction` its components along all `others`: "Beard without changing Male".

    With `std` [D], by which attribute classifiers standardise identities (`identity_std`), orthogonality is that of the
    standardised space. A classifier's logit is linear there with its own direction as gradient, so what is orthogonal to an
    attribute's direction leaves that attribute's logit unchanged. DVAError if nothing is left, or for another space or encoder.
    """
    if not others:
        return direction
    check_same_space([direction, *others])
    std = np.ones(direction.vector.size) if std is None or direction.space != "identity" else np.asarray(std, np.float64).reshape(-1)
    u = direction.vector / std
    basis, upper = np.linalg.qr(np.stack([other.vector / std for other in others], 1))
    independent = np.abs(np.diag(upper)) > 1e-6 * max(1e-30, np.abs(upper).max())  # others that lie along others already
    basis = basis[:, independent]
    rest = u - basis @ (basis.T @ u)
    if np.linalg.norm(rest) < 1e-4 * np.linalg.norm(u):
        names = ", ".join(other.name for other in others)
        raise DVAError(f"Nothing is left of {direction.name} without {names}; leave one of them out.")
    name = f"{direction.name} without {', '.join(other.name for other in others)}"
    return _derive(direction, rest * std, name, "orthogonal", [direction, *others], None)


def check_same_space(directions: Sequence[Direction]) -> None:
    """DVAError unless all are of one space and one encoder."""
    first = directions[0]
    for other in directions[1:]:
        if other.space != first.space:
            raise DVAError(
                f"{first.name} is a direction of {first.space} and {other.name} one of {other.space}; combine directions of one space."
            )
        if other.encoder != first.encoder or other.vector.size != first.vector.size:
            raise DVAError(f"{first.name} and {other.name} were made with different {first.space} encoders; make them with the same.")


def from_attribute(model, name: str) -> Direction:
    """Convert a trained attribute of the model to a direction; DVAError for a name it does not have."""
    attributes = AttributeSet.from_model(model)
    entry = attributes[name]
    vector = attributes.shift(entry.name)[:] if entry.space == "motion" else identity_std(model) * attributes.step(entry.name)
    record = {"how": "attribute", "attribute": entry.name, "auc": entry.auc, "model": model.config.get("name", "")}
    return Direction(vector, entry.space, entry.name, encoder_fingerprint(model, entry.space), entry.range, record, entry.region)


def identity_std(model) -> np.ndarray:
    """Standard deviation [D] of identities in the training of the model's attributes; ones if the model has none."""
    tensors = AttributeSet.from_model(model).tensors
    return tensors["identity.std"].reshape(-1) if "identity.std" in tensors else np.ones(model.identity_dim)


def _derive(first: Direction, vector: np.ndarray, name: str, how: str, parents: Sequence[Direction], factors) -> Direction:
    """Make a direction from others; records their names and factors, and the region if it is the same for all."""
    region = first.region if how != "added" or len({parent.region for parent in parents}) == 1 else None
    record = {"how": how, "of": [parent.name for parent in parents], "model": first.made.get("model", "")}
    record |= {} if factors is None else {"factors": [float(f) for f in factors]}
    return replace(first, vector=vector, name=name, region=region, made=record)
