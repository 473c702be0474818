"""More people and expressions from few pictures: morphs by landmarks, and warped mouths, eyes and brows.

A morph of two faces, each warped onto their mean landmarks and blended, is a third person whose identity vector the
teacher computes. A warp of mouth, eyes and brows along the principal components of real landmark variation
gives several "frames" of one person, which the training of the diffusion model needs (Kim et al. 2023, sec. 3.3).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dva_core.faces.warp import thin_plate_map
from dva_core.train.arrays import Arrays, load_of_run
from dva_core.train.faces import FaceSet
from dva_core.train.teachers import Teachers

log = logging.getLogger(__name__)

MOVING = np.r_[17:27, 36:48, 48:68]  # brows, eyes, mouth: what an expression moves
JAW = np.r_[4:13]  # follows the mouth when it opens


def anchors(size: int) -> np.ndarray:
    """Points [12, 2] on the border, which warps leave in place."""
    side = np.linspace(0, size, 4)
    return np.array([(x, y) for x in side for y in side if x in (0, size) or y in (0, size)])


def warp(picture: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Warp `picture` [S, S, 3] so that its points `source` move to `target` and the border stays."""
    border = anchors(len(picture))
    backward = thin_plate_map(np.r_[source, border], np.r_[target, border], len(picture))
    return cv2.remap(picture, backward[..., 0], backward[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


@dataclass
class ExpressionModel:
    """Principal components of how mouths, eyes and brows differ between aligned faces, each in its own unit.

    components [k, 68, 2] in units of the distance between the eyes, scaled to one standard deviation.
    """

    components: np.ndarray

    @classmethod
    def fit(cls, landmarks: np.ndarray, keep: int = 8) -> ExpressionModel:
        relative = np.stack([normalise(points)[0] for points in landmarks])
        relative = relative - relative.mean(0)
        moving = np.zeros_like(relative)
        moving[:, MOVING] = relative[:, MOVING]
        # what is common to a part (its place) belongs to the person; what remains is its shape
        for part in (np.r_[36:42], np.r_[42:48]):
            moving[:, part] -= moving[:, part].mean(1, keepdims=True)
        _, values, rows = np.linalg.svd(moving.reshape(len(moving), -1), full_matrices=False)
        return cls((rows[:keep] * (values[:keep, None] / np.sqrt(len(moving)))).reshape(keep, 68, 2))

    def sample(self, landmarks: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
        """Give `landmarks` [68, 2] of one face another expression; `strength` in standard deviations."""
        relative, scale, rotation, centre = normalise(landmarks)
        points = relative + np.tensordot(rng.normal(0, strength, len(self.components)), self.components, 1)
        points[36:48] += rng.uniform(0, 0.5) * (rng.random() < 0.3) * blink(points)
        opening = rng.exponential(0.12) * (rng.random() < 0.4)
        points[JAW, 1] += 0.6 * opening
        points[[55, 56, 57, 58, 59, 65, 66, 67], 1] += opening
        return points * scale @ rotation.T + centre


def blink(relative: np.ndarray) -> np.ndarray:
    """Step [12, 2] that closes both eyes of a normalised face."""
    step = np.zeros((12, 2))
    for start in (0, 6):
        eye = relative[36 + start : 42 + start]
        for upper, lower in ((1, 5), (2, 4)):
            step[start + upper, 1] = (eye[lower] - eye[upper])[1]
    return step


def normalise(landmarks: np.ndarray) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Move landmarks to the eyes' midpoint, level, one eye distance long; returns them and (scale, rotation, centre) to undo it."""
    left, right = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    axis = right - left
    scale = float(np.hypot(*axis))
    cos, sin = axis / scale
    rotation = np.array([[cos, -sin], [sin, cos]])
    centre = (left + right) / 2
    return (landmarks - centre) @ rotation / scale, scale, rotation, centre


@dataclass
class Variants(Arrays):
    """Groups of pictures of one (real or morphed) person each: group [n] names it, label [n] the row of the original or -1."""

    pictures: np.ndarray
    landmarks: np.ndarray
    embedding: np.ndarray
    group: np.ndarray
    original: np.ndarray

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Those pictures, uint8 [k, S, S, 3] (see `frames.TrainingFrames`)."""
        return self.pictures[rows]


def load_variants(run: Path) -> Variants:
    """Load the variants of a run's folder. DVAError if they are missing or damaged."""
    return load_of_run(Variants, run, "variants")


def morph(first, second, share: float):
    """Blend two faces (picture, landmarks, points5) along their landmarks; `share` of the first in 0..1."""
    points = share * first[1] + (1 - share) * second[1]
    a, b = (warp(picture, landmarks, points).astype(np.float32) for picture, landmarks, _ in (first, second))
    picture = np.clip(share * a + (1 - share) * b + 0.5, 0, 255).astype(np.uint8)
    return picture, points, share * first[2] + (1 - share) * second[2]


def make_variants(
    faces: FaceSet, teachers: Teachers, *, frames: int = 4, morphs: int = 2600, strength: float = 0.6, seed: int = 0
) -> Variants:
    """Make `frames` expressions of every face and of `morphs` blends, with the teacher's identity vector of each picture.

    Held-out people are in no blend, so that nothing of them is trained on.
    """
    rng = np.random.default_rng(seed)
    model = ExpressionModel.fit(faces.landmarks)
    pictures, landmarks, points5, group, original = [], [], [], [], []
    yaw = (faces.landmarks[:, 30, 0] - faces.landmarks[:, 36:48, 0].mean(1)) / np.ptp(faces.landmarks[:, 36:48, 0], axis=1)
    training_rows = np.flatnonzero(~faces.held_out)
    for index in range(len(faces) + morphs):
        if index < len(faces):
            base = faces.pictures[index], faces.landmarks[index], faces.points5[index]
        else:
            first = rng.choice(training_rows)
            near = training_rows[
                np.argsort(np.abs(yaw[training_rows] - yaw[first]))[1:60]
            ]  # heads of the same pose blend without double edges
            second = rng.choice(near)
            pair = [(faces.pictures[i], faces.landmarks[i], faces.points5[i]) for i in (first, second)]
            base = morph(*pair, rng.uniform(0.3, 0.7))
        for frame in range(frames):
            target = base[1] if frame == 0 else model.sample(base[1], rng, strength)
            pictures.append(base[0] if frame == 0 else warp(base[0], base[1], target))
            landmarks.append(target)
            points5.append(base[2])  # the identity teacher is aligned by the unmoved points, as a video's frames nearly are
            group.append(index)
            original.append(index if index < len(faces) else -1)
        if index % 500 == 0:
            log.info("variants: person %d of %d", index, len(faces) + morphs)
    pictures, points5 = np.stack(pictures), np.stack(points5)
    embedding = np.concatenate([teachers.embed(pictures[i : i + 32], points5[i : i + 32]) for i in range(0, len(pictures), 32)])
    return Variants(pictures, np.float32(landmarks), embedding.astype(np.float32), np.array(group), np.array(original))
