"""How a direction changes the score of every attribute of the model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .attributes import AttributeSet
from .directions import Direction, check_encoder


class Score(NamedTuple):
    """An attribute before and after a step.

    For identity: the classifier's logits (`before`, `after`), which `probability` converts to 0..1. For motion: how many times the
    attribute's own shift was added to the motion (`before` is 0).
    """

    name: str
    space: str
    before: float
    after: float

    @property
    def change(self) -> float:
        return self.after - self.before


def probability(logit: float) -> float:
    """The logistic function: logit -> 0..1."""
    return float(0.5 * (1 + np.tanh(0.5 * logit)))


def logits(attributes: AttributeSet, z_id: np.ndarray) -> dict[str, float]:
    """The logit w . (z - mean) / std + b of every identity attribute, for z_id [D] at unit length, as in the classifiers' training."""
    entries = [entry for entry in attributes.entries if entry.space == "identity"]
    if not entries:
        return {}
    t = attributes.tensors
    z = np.asarray(z_id, np.float64)
    z = (z / np.linalg.norm(z) - t["identity.mean"].reshape(-1)) / t["identity.std"].reshape(-1)
    values = t["identity.weight"] @ z + t["identity.bias"].reshape(-1)
    return {entry.name: float(values[entry.index]) for entry in entries}


def measure_direction(direction: Direction, model, z_id: np.ndarray, scale: float = 1.0) -> list[Score]:
    """How each attribute's score moves when `direction` is applied at `scale` to the identity z_id [D], the largest change first.

    A direction of motion is measured against the motion attributes only. Raises DVAError for a direction of another encoder.
    """
    check_encoder(direction, model)
    attributes = AttributeSet.from_model(model)
    step = scale * direction.vector.astype(np.float64)
    if direction.space == "identity":
        before, after = logits(attributes, z_id), logits(attributes, np.asarray(z_id, np.float64) + step)
        scores = [Score(name, "identity", before[name], after[name]) for name in before]
    else:
        shifts = {entry.name: attributes.shift(entry.name) for entry in attributes.entries if entry.space == "motion"}
        scores = [Score(name, "motion", 0.0, float(step @ shift / (shift @ shift))) for name, shift in shifts.items() if np.any(shift)]
    return sorted(scores, key=lambda score: -abs(score.change))


def table(scores: list[Score]) -> str:
    """The scores as lines for a person."""
    if not scores:
        return "The model has no attributes to measure by."
    width = max(len(score.name) for score in scores)
    if scores[0].space == "motion":
        return "\n".join(f"{score.name:<{width}}  {score.change:+.2f} of its own step" for score in scores)
    return "\n".join(
        f"{s.name:<{width}}  {probability(s.before):.2f} -> {probability(s.after):.2f}   (logit {s.before:+.2f} -> {s.after:+.2f})"
        for s in scores
    )
