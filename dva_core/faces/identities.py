"""Faces of sampled frames grouped by identity: which of them are the same person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from dva_core.faces.search import distance
from dva_core.faces.select import unit
from dva_core.faces.types import Face, extent

NEAR = 1.0  # largest move, in sizes of the face, while it is turned away
ALIKE = 0.6  # factor of same_person for a face that is turned away
FRONTAL = 0.75  # how frontal a face must be (see Sight) for its identity vector to be trusted
MOMENT = 8  # samples for which a face may be turned away
LARGER = 2.0  # times the size: no face grows so much from one sample to the next


@dataclass(frozen=True)
class Sight:
    """One face in one sampled frame. `sample`: its number among the samples; `shot`: from 0; `frontal`: 1 for a frontal face, else less."""

    sample: int
    shot: int
    face: Face
    frontal: float


class Group:
    """Sights of one person: the sum of their identity vectors [D], and the best portrait uint8 [P, P, 3] with its quality and frame."""

    def __init__(self, sight: Sight, vector: np.ndarray, portrait: np.ndarray, quality: float) -> None:
        self.sights, self.total = [sight], vector.copy()
        self.portrait, self.quality, self.portrait_sample = portrait, quality, sight.sample

    @property
    def vector(self) -> np.ndarray:
        return unit(self.total)

    def take(self, other: Group) -> None:
        """Add the sights of another group."""
        self.sights = sorted(self.sights + other.sights, key=lambda sight: sight.sample)
        self.total = self.total + other.total
        if other.quality > self.quality:
            self.portrait, self.quality, self.portrait_sample = other.portrait, other.quality, other.portrait_sample


def link(before: Sequence[Group], after: Sequence[Group], same_person: float) -> None:
    """Continue groups that end in the last sample by the new groups, of one sight each, that match them; these are emptied.

    Matched by identity, and by place if the identities are similar.
    """
    if not before or not after:
        return
    cosines = np.stack([group.vector for group in before]) @ np.stack([group.vector for group in after]).T
    far, fits = np.zeros_like(cosines), cosines >= same_person
    for i, group in enumerate(before):
        for j, new in enumerate(after):
            a, b = group.sights[-1].face, new.sights[0].face
            sizes = extent(a.box), extent(b.box)
            far[i, j] = distance(a, b) / max(*sizes, 1e-6)
            fits[i, j] &= max(sizes) < LARGER * min(sizes)
    costs = np.where(fits, 1 - cosines + 0.02 * np.minimum(far, 3.0), 1e3)
    for i, j in zip(*linear_sum_assignment(costs)):
        if fits[i, j]:
            before[i].take(after[j])
            after[j].sights.clear()


def join_turned(groups: Sequence[Group], same_person: float) -> list[Group]:
    """Join groups of one person, split while the face was turned away: identity vectors of such faces are unreliable.

    Two groups of one person in one shot, and a group between them in time and place that is never seen from the front.
    """
    left = sorted(groups, key=lambda group: group.sights[0].sample)
    for turned in list(left):
        first, last = turned.sights[0], turned.sights[-1]
        if last.sample - first.sample >= MOMENT or max(sight.frontal for sight in turned.sights) >= FRONTAL:
            continue
        before = [group for group in left if group.sights[-1].sample == first.sample - 1 and _stays(group.sights[-1], first)]
        after = [group for group in left if group.sights[0].sample == last.sample + 1 and _stays(last, group.sights[0])]
        fits = [(one, other) for one in before for other in after if one.vector @ other.vector >= same_person]
        fits = [pair for pair in fits if turned.vector @ pair[0].vector >= ALIKE * same_person]
        if fits:
            one, other = max(fits, key=lambda pair: pair[0].vector @ turned.vector)
            one.take(turned)
            one.take(other)
            left = [group for group in left if group is not turned and group is not other]
    return left


def _stays(a: Sight, b: Sight) -> bool:
    """Tell whether a face has hardly moved."""
    sizes = extent(a.face.box), extent(b.face.box)
    return a.shot == b.shot and distance(a.face, b.face) < NEAR * max(sizes) and max(sizes) < LARGER * min(sizes)


def merge(groups: Sequence[Group], same_person: float) -> list[Group]:
    """Merge groups of one identity, the most similar first: cosine >= same_person, and never seen in the same sample."""
    groups = list(groups)
    if len(groups) < 2:
        return groups
    vectors = np.stack([group.vector for group in groups])
    cosines = vectors @ vectors.T
    samples = [{sight.sample for sight in group.sights} for group in groups]
    apart = np.array([[i == j or not a.isdisjoint(b) for j, b in enumerate(samples)] for i, a in enumerate(samples)])
    alive = np.ones(len(groups), bool)
    while True:
        open_ = np.where(apart, -2.0, cosines)
        i, j = sorted(divmod(int(open_.argmax()), len(groups)))
        if open_[i, j] < same_person:
            return [group for group, there in zip(groups, alive) if there]
        groups[i].take(groups[j])
        alive[j] = False
        apart[i] |= apart[j]
        apart[:, i] |= apart[:, j]
        apart[j] = apart[:, j] = True
        vectors[i] = groups[i].vector
        cosines[i] = cosines[:, i] = vectors @ vectors[i]
