"""Prototypes by regression: the effects of age, sex and a smile on shape and on shape-normalised colour, independent of each other.

A difference of two group means (Rowland and Perrett 1995) contains whatever else differs between the groups; the coefficient of a
linear regression with the other attributes, the head's turn and the set as further variables does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.align import MIRROR68
from dva_core.train.faces import FaceSet
from dva_core.train.prototypes.space import SIZE, MeanSpace, tone
from dva_core.train.synthesis import normalise

HAIRY = ("Beard", "Mustache", "5_o_Clock_Shadow")
COVARIATES = HAIRY + ("Wearing_Lipstick", "Eyeglasses", "Sunglasses", "Gray_Hair", "Bangs", "Wearing_Hat")
YOUNG_AT, OLD_AT = 27.0, 68.0  # years by the teacher, between which ageing is taken as linear
FRONTAL = 0.16  # largest turn (see `turn`) of faces that colours are measured on


def turn(landmarks: np.ndarray) -> np.ndarray:
    """Signed rotation of the heads [n]: horizontal offset of the nose's tip from the eyes' middle, in eye distances."""
    return (landmarks[:, 30, 0] - landmarks[:, 36:48, 0].mean(1)) / np.ptp(landmarks[:, 36:48, 0], axis=1)


def label(faces: FaceSet, name: str, unknown: float = 0.0) -> np.ndarray:
    """A column of labels [n], `unknown` where it is missing."""
    if name not in faces.names:
        raise DVAError(f"These faces have no label {name}: read them with read_faces from a folder with the labels of faces128.")
    return np.nan_to_num(faces.labels[:, faces.names.index(name)], nan=unknown)


def years(faces: FaceSet) -> np.ndarray:
    """Ages [n]; if no numbers were read, 27 for the young and 68 for the others."""
    rough = np.where(label(faces, "Young", 0.5) > 0.5, YOUNG_AT, OLD_AT)
    return rough if faces.age is None else np.where(np.isnan(faces.age), rough, faces.age)


def design(faces: FaceSet) -> dict[str, np.ndarray]:
    """Variables of the regression by name, each [n]."""
    relative = np.stack([normalise(points)[0] for points in faces.landmarks])
    smiling, open_mouth = label(faces, "Smiling"), label(faces, "Mouth_Slightly_Open")
    yaw = turn(faces.landmarks)
    variables = {
        "one": np.ones(len(faces)),
        "Old": np.clip((years(faces) - YOUNG_AT) / (OLD_AT - YOUNG_AT), 0, 1),
        "Male": label(faces, "Male", 0.5),
        "closed smile": smiling * (1 - open_mouth),
        "open smile": smiling * open_mouth,
        "open": (1 - smiling) * open_mouth,
        "turn": yaw,
        "turn squared": yaw**2,
        "nod": relative[:, 30, 1] - relative[:, 27, 1],
        "nose": relative[:, 33, 1] - relative[:, 30, 1],
    }
    variables |= {name: label(faces, name) for name in COVARIATES}
    for name in HAIRY:  # unknown on a man: some stubble is likely, and 0 would attribute it to his sex
        unknown = np.isnan(faces.labels[:, faces.names.index(name)])
        variables[name] = np.where(unknown, 0.5 * variables["Male"], variables[name])
    variables |= {f"set {name}": (faces.source == name).astype(float) for name in np.unique(faces.source)[1:]}
    return variables


@dataclass
class Effects:
    """Effect of each variable: shape[name] [68, 2] in eye distances, colour[name] float32 [SIZE, SIZE, 3] in logarithms.

    mean: float32 [SIZE, SIZE, 3], the mean face relative to its skin's tone.
    """

    shape: dict[str, np.ndarray]
    colour: dict[str, np.ndarray]
    mean: np.ndarray


def solve(matrix: np.ndarray, moments: np.ndarray, ridge: float) -> np.ndarray:
    """Solve the normal equations with a ridge, which keeps coefficients of nearly constant variables small."""
    return np.linalg.solve(matrix + ridge * np.eye(len(matrix)), moments)


def fit_effects(faces: FaceSet, space: MeanSpace, lights) -> Effects:
    """Regression over `faces`; `lights` yields (row, light [SIZE, SIZE, 3]) of those on which colours are measured."""
    variables = design(faces)
    names = list(variables)
    x = np.stack(list(variables.values()), 1)
    relative = np.stack([normalise(points)[0] for points in faces.landmarks]).reshape(len(faces), -1)
    shapes = solve(x.T @ x, x.T @ relative, 1.0).reshape(-1, 68, 2)
    matrix, moments = np.zeros((len(names), len(names))), np.zeros((len(names), SIZE * SIZE * 3), np.float32)
    mean, count = np.zeros((SIZE, SIZE, 3)), 0
    for row, light in lights:
        light = light - tone(light, space.regions["skin"])
        matrix += np.outer(x[row], x[row])
        moments += np.outer(x[row], light.ravel()).astype(np.float32)
        mean, count = mean + light, count + 1
    if count < 2 * len(names):
        raise DVAError(f"{count} frontal faces are too few for prototypes: give at least {2 * len(names)}.")
    colours = solve(matrix, moments, 2.0).reshape(-1, SIZE, SIZE, 3).astype(np.float32)
    return Effects(
        {name: (s + s[MIRROR68] * [-1, 1]) / 2 for name, s in zip(names, shapes)},
        {name: (c + c[:, ::-1]) / 2 for name, c in zip(names, colours)},
        ((mean + mean[:, ::-1]) / 2 / count).astype(np.float32),
    )
