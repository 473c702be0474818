"""Steps of attributes from pairs: one step of the identity vector (or of the motion vector) for each attribute.

A step is the mean difference of the encoder's vectors between the same faces with and without, which does not depend on who has the
attribute in the training pictures. The steps of all attributes are made orthogonal (Löwdin 1950, the nearest such set) and
equally long: no step changes another attribute, and the identity encoder can be trained to follow them for every face.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dva_core.errors import DVAError
from dva_core.train.attributes import MIRROR51, Directions, probe
from dva_core.train.encoders import encode_faces
from dva_core.train.labels import roc_auc
from dva_core.train.moves import MOVES, move_points
from dva_core.train.pairs import ATTRIBUTE, KINDS, MOTION, Pairs
from dva_core.train.state import read_about, read_tensors, write_tensors

LENGTH = 0.6  # of a step of the unit identity vector
PROBE = 0.02  # regularisation of the classifiers
LEGIBLE = 8.0  # standard deviations of faces by which a motion step moves along the direction in which they differ least
SPACES = {name: "motion" if kind in MOTION else "identity" for kind, (name, _) in ATTRIBUTE.items()}


@dataclass(frozen=True)
class PairedSteps:
    """Steps at scale 1 of each attribute, identity [A, D] and motion [M, D_motion], and their names; of each of MOVES, [V, D_motion]."""

    identity: np.ndarray
    motion: np.ndarray
    identity_names: tuple[str, ...]
    motion_names: tuple[str, ...]
    moves: np.ndarray | None = None

    @classmethod
    def fit(cls, identity: nn.Module, landmarks: nn.Module, pairs: Pairs, length: float = LENGTH) -> PairedSteps:
        """Fit to the pairs of the people that are not held out."""
        names = {space: tuple(name for name in SPACES if SPACES[name] == space) for space in ("identity", "motion")}
        sums: dict[str, list[np.ndarray]] = {name: [] for name in SPACES}
        motions = []
        for kind, (name, sign) in ATTRIBUTE.items():
            rows = pairs.rows(kind, held_out=False)
            before, after = (encode_faces(identity, landmarks, pictures[rows]) for pictures in (pairs.before, pairs.after))
            motions.append(before[1])
            space = SPACES[name] == "motion"
            sums[name].append(sign * (after[space] - before[space]).mean(0))
        for name, differences in sums.items():
            if not np.linalg.norm(np.mean(differences, 0)):
                raise DVAError(f"The encoder gives the same vectors with and without {name}: train it longer, or leave the attribute out.")
        steps = {space: np.stack([np.mean(sums[name], 0) for name in names[space]]) for space in names}
        motions = np.concatenate(motions)
        motion = steps["motion"] + least_direction(motions)
        return cls(length * orthonormal(steps["identity"]), motion, names["identity"], names["motion"], steps_of_moves(motions))

    def of_kinds(self) -> tuple[Tensor, Tensor]:
        """Steps [K, D] and [K, D_motion] of each kind of pair, in the order of pairs.KINDS."""
        identity = np.zeros((len(KINDS), self.identity.shape[1]), np.float32)
        motion = np.zeros((len(KINDS), self.motion.shape[1]), np.float32)
        for row, kind in enumerate(KINDS):
            name, sign = ATTRIBUTE[kind]
            if SPACES[name] == "identity":
                identity[row] = sign * self.identity[self.identity_names.index(name)]
            else:
                motion[row] = sign * self.motion[self.motion_names.index(name)]
        return torch.from_numpy(identity), torch.from_numpy(motion)

    def save(self, path: Path) -> None:
        arrays = {"identity": self.identity, "motion": self.motion} | ({} if self.moves is None else {"moves": self.moves})
        tensors = {name: torch.from_numpy(np.float32(values)) for name, values in arrays.items()}
        write_tensors(path, tensors, {"identity": ",".join(self.identity_names), "motion": ",".join(self.motion_names)})


def load_steps(run: Path) -> PairedSteps:
    """Load the steps of a run's folder. DVAError if they are missing or damaged."""
    path = run / "steps.safetensors"
    tensors, about = read_tensors(path), read_about(path)
    try:
        names = (tuple(about[space].split(",")) for space in ("identity", "motion"))
        moves = tensors["moves"].numpy() if "moves" in tensors else None  # which runs that began before there were any have not
        return PairedSteps(tensors["identity"].numpy(), tensors["motion"].numpy(), *names, moves)
    except KeyError as error:
        raise DVAError(f"{path} holds something else than steps ({error} is missing): run `train steps` again.") from error


def steps_of_moves(motions: np.ndarray) -> np.ndarray:
    """Steps [V, D_motion] of MOVES on the mean of faces [N, D_motion], each with a direction of its own in which these differ little."""
    mean = motions.mean(0).reshape(-1, 2).astype(np.float64)
    shifts = [(move_points(name, mean) - mean).ravel() for name in MOVES]
    return np.float32([shift + least_direction(motions, number) for number, shift in enumerate(shifts, 1)])


def least_direction(motions: np.ndarray, number: int = 0) -> np.ndarray:
    """The symmetric direction [D_motion] in which faces [N, D_motion] differ least, or `number` others less, LEGIBLE deviations long.

    Added to a step of an expression, a fraction of a pixel, it tells an edit from a face that has this expression by itself.
    """
    points = motions.reshape(len(motions), -1, 2).astype(np.float64)
    symmetric = ((points + points[:, MIRROR51] * (-1, 1)) / 2).reshape(len(points), -1)
    values, vectors = np.linalg.eigh(np.cov(symmetric.T))
    first = len(values) // 2 + number  # the other half are not symmetric, and have no variance
    direction = vectors[:, first]
    return np.float32(LEGIBLE * np.sqrt(max(values[first], 0)) * direction * np.sign(direction[np.abs(direction).argmax()]))


def orthonormal(rows: np.ndarray) -> np.ndarray:
    """Compute the orthonormal rows nearest to the normalised rows [A, D]."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    u, _, v = np.linalg.svd(unit, full_matrices=False)
    return u @ v


def paired_directions(steps: PairedSteps, pairs: Pairs, identity: nn.Module, directions: Directions) -> Directions:
    """Make a bundle's attributes from the pairs' steps; `directions` has classifiers fitted to labels.

    AUCs are those of the step's direction on held-out people, of the pairs' faces before against after. An attribute without pairs is
    left out: a direction fitted to labels alone also contains whatever else correlates with the attribute, and nothing draws it.
    """
    by_name = {entry["name"]: entry for entry in directions.entries}
    tensors = {key.removeprefix("attributes."): value.numpy() for key, value in directions.tensors.items()}
    mean, std = tensors["identity.mean"], tensors["identity.std"]
    weights, biases, entries = [], [], []
    for index, name in enumerate(steps.identity_names):
        kinds = [kind for kind, (attribute, _) in ATTRIBUTE.items() if attribute == name]
        z, labels, held_out, people = labelled_vectors(pairs, kinds, identity)
        weight, bias, _ = probe((z - mean) / std, labels, people, PROBE, held_out)
        auc = roc_auc(labels[held_out], z[held_out] @ steps.identity[index])
        if (entry := by_name.get(name)) and entry["space"] == "identity":  # classifiers of real pictures are better than those of drawings
            weight, bias = tensors["identity.weight"][entry["index"]], tensors["identity.bias"][entry["index"]]
        weights.append(weight)
        biases.append(bias)
        count = sum(len(pairs.rows(kind, held_out=False)) for kind in kinds)
        entries.append({"name": name, "auc": round(auc, 3), "range": [-1.0, 1.0], "pairs": count, "space": "identity", "index": index})
    shifts, moves = [], () if steps.moves is None else steps.moves
    for name, step in (*zip(steps.motion_names, steps.motion), *zip(MOVES, moves)):
        shift = step.reshape(-1, 2)
        shifts.append(((shift + shift[MIRROR51] * (-1, 1)) / 2).ravel())
        count = sum(len(pairs.rows(kind, held_out=False)) for kind, (attribute, _) in ATTRIBUTE.items() if attribute == name)
        auc = by_name[name]["auc"] if name in by_name else None
        drawn = {} if name in MOVES else {"pairs": count}
        entries.append({"name": name, "auc": auc, "range": [-1.0, 1.0], **drawn, "space": "motion", "index": len(shifts) - 1})
    arrays = {"identity.weight": np.stack(weights), "identity.bias": np.array(biases), "identity.mean": mean, "identity.std": std}
    arrays |= {
        "identity.step": steps.identity,
        "motion.shift": np.stack(shifts),
        "motion.components": tensors["motion.components"],
    }
    return Directions({f"attributes.{k}": torch.from_numpy(np.float32(v)) for k, v in arrays.items()}, entries)


def labelled_vectors(pairs: Pairs, kinds: list[str], identity: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Encode the pairs of some kinds: z_id [m, D], labels [m] (1 with the attribute), held_out [m] and the face of each."""
    parts = []
    for kind in kinds:
        rows = pairs.rows(kind)
        for is_changed, pictures in ((False, pairs.before), (True, pairs.after)):
            z = encode_faces(identity, no_points, pictures[rows])[0]
            label = int(is_changed) if ATTRIBUTE[kind][1] > 0 else int(not is_changed)
            parts.append((z, np.full(len(rows), label), pairs.held_out[rows], pairs.face[rows]))
    return tuple(np.concatenate(values) for values in zip(*parts))


def no_points(images: Tensor) -> Tensor:
    """Replacement of the landmark network where only identities are needed."""
    return torch.zeros(len(images), 68, 2)
