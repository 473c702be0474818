"""Attribute directions: a linear classifier on the identity vector for each attribute, a landmark shift for each expression.

The space of an attribute is the one whose linear probe predicts it better on held-out people. The identity
network is trained to ignore expression, so a smile is found in the motion vector (Kim et al. 2023 edit the identity only).
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dva_core.edit.expression import REGIONS, components_of, mask_regions, without_head_motion
from dva_core.errors import DVAError, MissingDependencyError
from dva_core.faces.align import MIRROR68
from dva_core.model.autoencoder import JAW
from dva_core.train.faces import FaceSet
from dva_core.train.labels import roc_auc

log = logging.getLogger(__name__)

LEAST_AUC = 0.8
EXPRESSIONS = ("Smiling", "Mouth_Slightly_Open")
EXPRESSION_GAIN = 4.0  # factor of the mean difference: the starter's response is weaker than the step
MIRROR51 = np.asarray(MIRROR68)[JAW:] - JAW
COMPONENTS = 20  # components of landmark motion stored in the bundle; expressions are projected on them
FOLDS = 5
LEAST_HELD_OUT = 4  # pictures with and without, among people that no network has seen, for an AUC on these


@dataclass
class Directions:
    """Attributes of a bundle: `tensors` under `attributes.*`, and `entries` for the configuration."""

    tensors: dict[str, Tensor]
    entries: list[dict]


def probe(
    inputs: np.ndarray, labels: np.ndarray, people: np.ndarray, regularisation: float, held_out: np.ndarray | None = None
) -> tuple[np.ndarray, float, float]:
    """Fit a balanced logistic probe: weight [D], bias and AUC.

    The AUC is measured on people that the probe did not see; on the rows `held_out` (bool [n]) alone if given and sufficient.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise MissingDependencyError("Fitting attributes needs scikit-learn: pip install scikit-learn.") from error
    scores = np.zeros(len(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fit, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(inputs, labels, people):
            model = LogisticRegression(C=regularisation, class_weight="balanced", max_iter=500).fit(inputs[fit], labels[fit])
            scores[test] = model.decision_function(inputs[test])
        model = LogisticRegression(C=regularisation, class_weight="balanced", max_iter=500).fit(inputs, labels)
    enough = held_out is not None and min(labels[held_out].sum(), (1 - labels[held_out]).sum()) >= LEAST_HELD_OUT
    rows = held_out if enough else slice(None)
    return model.coef_[0], float(model.intercept_[0]), roc_auc(labels[rows], scores[rows])


def expression_shift(motion: np.ndarray, labels: np.ndarray, sets: np.ndarray, components: int = 12) -> np.ndarray:
    """Compute the shift [102] of the inner landmarks from faces without an expression to faces with it.

    The difference of the means within each set of pictures (so that differences between sets cancel), without translation and scaling of
    the whole face, projected on the main components of landmark differences, and made symmetric. It is restricted to the mouth, without
    its mean vertical shift: the face square is aligned to the corners of the mouth, so that a mean lift of the mouth is one of the
    square, and editing with it paints a second lip above the first.
    """
    differences, weights = [], []
    for name in np.unique(sets):
        in_set = sets == name
        yes, no = motion[in_set & (labels == 1)], motion[in_set & (labels == 0)]
        if len(yes) >= 5 and len(no) >= 5:
            differences.append(yes.mean(0) - no.mean(0))
            weights.append(1 / (1 / len(yes) + 1 / len(no)))
    if not differences:
        raise DVAError("No set of pictures shows both faces with and without the expression, five of each at least: add labelled pictures.")
    shift = np.average(differences, axis=0, weights=weights).reshape(-1, 2)
    mean = motion.mean(0).reshape(-1, 2)
    shift = without_head_motion(shift.ravel(), mean.ravel())
    _, _, rows = np.linalg.svd(motion - motion.mean(0), full_matrices=False)
    shift = (shift @ rows[:components].T @ rows[:components]).reshape(-1, 2)
    shift = (shift + shift[MIRROR51] * (-1, 1)) / 2
    return mask_regions(shift - shift[REGIONS["mouth"]].mean(0), ["mouth"])


def fit_directions(
    faces: FaceSet, z_id: np.ndarray, motion: np.ndarray, regularisation: float = 0.02, expression_gain: float = EXPRESSION_GAIN
) -> Directions:
    """Fit every labelled attribute that a probe predicts with AUC >= LEAST_AUC on unseen people, in the space that encodes it.

    z_id [n, D] and motion [n, 102] belong to the rows of `faces`. AUCs are of the people held out from the networks too.
    """
    mean, std = z_id.mean(0), z_id.std(0) + 1e-6
    motion_std = (motion - motion.mean(0)) / (motion.std(0) + 1e-6)
    weights, biases, shifts, entries = [], [], [], []
    for column, name in enumerate(faces.names):
        labelled = ~np.isnan(faces.labels[:, column])
        labels, people = faces.labels[labelled, column].astype(int), faces.person[labelled]
        if min(labels.sum(), len(labels) - labels.sum()) < 2 * FOLDS:
            continue
        held_out_rows = faces.held_out[labelled]
        weight, bias, auc = probe(((z_id - mean) / std)[labelled], labels, people, regularisation, held_out_rows)
        _, _, motion_auc = probe(motion_std[labelled], labels, people, regularisation, held_out_rows)
        by_motion = name in EXPRESSIONS
        best = motion_auc if by_motion else auc
        log.info("attribute %s: AUC identity %.3f, motion %.3f%s", name, auc, motion_auc, "" if best >= LEAST_AUC else ", left out")
        if best < LEAST_AUC:
            continue
        counts = {"yes": int(labels.sum()), "no": int(len(labels) - labels.sum())}
        entry = {"name": name, "auc": round(best, 3), "range": [-1.0, 1.0], **counts}
        if by_motion:
            shifts.append(expression_gain * expression_shift(motion[labelled], labels, faces.source[labelled]))
            entries.append(entry | {"space": "motion", "index": len(shifts) - 1})
        else:
            weights.append(weight)
            biases.append(bias)
            entries.append(entry | {"space": "identity", "index": len(weights) - 1})
    tensors = {}
    if weights:
        tensors |= {"identity.weight": np.stack(weights), "identity.bias": np.array(biases), "identity.mean": mean, "identity.std": std}
    if shifts:
        tensors |= {"motion.shift": np.stack(shifts), "motion.components": components_of(motion, variance=1.0, most=COMPONENTS)}
    return Directions({f"attributes.{k}": torch.from_numpy(np.float32(v)) for k, v in tensors.items()}, entries)
