"""Training samples of the face parser: labelled faces, also with drawn glasses and beards, and drawn occluders in front."""

from __future__ import annotations

import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from dva_core.errors import DVAError
from dva_core.files import atomic_write
from dva_core.model.arrays import to_images
from dva_core.train import drawings
from dva_core.train.augment import reframe, relight, soften, uniform
from dva_core.train.faces import FaceSet
from dva_core.train.mask.labels import Label, cut_label, polygon
from dva_core.train.mask.occluders import draw_occluder, lay_on
from dva_core.train.mask.scene import Scene

log = logging.getLogger(__name__)

ACCESSORIES = ("Eyeglasses", "Sunglasses", "Beard")  # one of these is drawn on a copy of each face without any
NOT_DRAWN_ON = ("Eyeglasses", "Sunglasses", "Beard", "Wearing_Hat", "Bangs")
THINGS = (0.3, 0.45, 0.25)  # shares of the samples with none, one and two things in front
ROOM = 0.12  # share of the picture below the chin in which the front is known
ELSEWHERE = 0.1  # weight of pixels where probably nothing is in front
DARKER = 0.35  # share of the samples with another gamma
BORDER = (255, 0, 255)


@dataclass
class LabelledFaces:
    """Labels of n faces, rows as of their FaceSet: face, hull uint8 [n, S, S] of 0 and 1; score float32 [n], 0 or less is not used."""

    face: np.ndarray
    hull: np.ndarray
    score: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        return self.score > 0


def label_faces(faces: FaceSet) -> LabelledFaces:
    """Label all faces; their pictures, landmarks and labels by eye are used."""
    has = {name: faces.labels[:, faces.names.index(name)] == 1 for name in NOT_DRAWN_ON}
    labels: list[Label] = []
    for row in range(len(faces)):
        labels.append(
            cut_label(
                faces.pictures[row],
                faces.landmarks[row],
                covered_brows=bool(has["Bangs"][row] or has["Wearing_Hat"][row]),
                glasses=bool(has["Eyeglasses"][row] or has["Sunglasses"][row]),
                beard=bool(has["Beard"][row]),
            )
        )
        if row % 200 == 0:
            log.info("mask: %d of %d faces labelled", row, len(faces))
    return LabelledFaces(
        np.stack([label.face for label in labels]).astype(np.uint8),
        np.stack([label.hull for label in labels]).astype(np.uint8),
        np.array([label.score for label in labels], np.float32),
    )


def load_labels(path: Path, faces: FaceSet) -> LabelledFaces:
    """Read the labels in `path`, or create them there. DVAError for a file of other faces."""
    if not path.is_file():
        labels = label_faces(faces)
        with atomic_write(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **vars(labels))
        return labels
    try:
        with np.load(path, allow_pickle=False) as file:
            labels = LabelledFaces(**{key: file[key] for key in file.files})
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DVAError(f"{path} is damaged; remove it, and the labels are made again.") from error
    if labels.face.shape != faces.pictures.shape[:3]:
        raise DVAError(f"{path} holds labels of other faces; remove it, or name the faces it was made of.")
    return labels


def label_sheet(faces: FaceSet, labels: LabelledFaces, count: int = 100, columns: int = 10, seed: int = 0) -> np.ndarray:
    """Draw `count` faces with everything labelled as not face tinted, and crossed out if the label is not used: RGB uint8."""
    rows = np.sort(np.random.default_rng(seed).choice(len(faces), min(count, len(faces)), replace=False))
    tiles = []
    for row in rows:
        tile = faces.pictures[row].copy()
        outside = labels.face[row] == 0
        tile[outside] = tile[outside] // 2 + np.array(BORDER, np.uint8) // 2
        if not labels.usable[row]:
            cv2.line(tile, (0, 0), (tile.shape[1], tile.shape[0]), (255, 0, 0), 3)
        tiles.append(cv2.putText(tile, str(row), (2, len(tile) - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0)))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return rearrange(np.stack(tiles), "(r c) h w rgb -> (r h) (c w) rgb", c=columns)


@dataclass
class Sources:
    """Pictures to train with: uint8 [m, S, S, 3]; `label` [m], the row of the label of each; landmarks [n, 68, 2] in 0..1, by that row."""

    pictures: np.ndarray
    label: np.ndarray
    landmarks: np.ndarray
    labels: LabelledFaces


def sources_of(faces: FaceSet, labels: LabelledFaces, rows: np.ndarray, seed: int) -> Sources:
    """The faces `rows`, and copies of those without glasses or beard with drawn ones."""
    rng = np.random.default_rng(seed)
    has = np.any([faces.labels[:, faces.names.index(name)] == 1 for name in NOT_DRAWN_ON], axis=0)
    bare = rows[~has[rows]]
    copies = []
    for row in bare:
        kind = ACCESSORIES[rng.integers(len(ACCESSORIES))]
        copies.append(drawings.draw(kind, faces.pictures[row], faces.landmarks[row], drawings.style(kind, rng)).picture)
    pictures = np.concatenate([faces.pictures[rows], np.stack(copies)]) if copies else faces.pictures[rows]
    return Sources(pictures, np.concatenate([rows, bare]), faces.landmarks / faces.pictures.shape[1], labels)


def room_below(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The area of beards below the chin: landmarks [68, 2] in 0..1 -> bool [size, size]."""
    jaw = landmarks[3:14]
    return polygon(cv2.convexHull(np.float32(np.concatenate([jaw, jaw + (0, ROOM)]) * size))[:, 0], size)


def make_sample(rng: np.random.Generator, sources: Sources, row: int, things: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draw one face with `things` occluders in front of it (None: a random number, THINGS).

    Returns the picture uint8 [S, S, 3], and float32 [3, S, S]: visible face, what is in front, certainty of the latter.
    """
    picture, label = sources.pictures[row], sources.label[row]
    size = len(picture)
    face, hull = (np.float32(part[label]) for part in (sources.labels.face, sources.labels.hull))
    front, certainty = hull * (1 - face), np.where((hull > 0) | room_below(sources.landmarks[label], size), 1, ELSEWHERE).astype(np.float32)
    count = rng.choice(len(THINGS), p=THINGS) if things is None else things
    for _ in range(count):
        donor = sources.pictures[rng.integers(len(sources.pictures))]
        thing = draw_occluder(rng, Scene(picture, sources.landmarks[label], donor))
        picture = lay_on(rng, picture, thing)
        face, front, certainty = face * (1 - thing.alpha), np.maximum(front, thing.alpha), np.maximum(certainty, thing.alpha)
    return picture, np.stack([face, front, certainty])


def make_batch(seed: tuple[int, ...], sources: Sources, count: int) -> tuple[Tensor, Tensor]:
    """Draw `count` samples: images [B, 3, S, S] in [-1, 1], and targets [B, 3, S, S] as of `make_sample`."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    samples = [make_sample(rng, sources, row) for row in rng.integers(len(sources.pictures), size=count)]
    images, targets = to_images(np.stack([picture for picture, _ in samples])), torch.from_numpy(np.stack([parts for _, parts in samples]))
    points = torch.from_numpy(sources.landmarks[:1]).expand(count, -1, -1).float()
    both, _ = reframe(torch.cat([images, targets], 1), points, generator, turn=5, zoom=0.12, shift=0.04)
    images, targets = both[:, :3], both[:, 3:]
    gamma = torch.where(torch.rand(count, generator=generator) < DARKER, uniform(count, -0.5, 0.9, generator), torch.zeros(count)).exp()
    images = ((images + 1) / 2).clamp(0, 1) ** gamma.view(-1, 1, 1, 1) * 2 - 1
    return soften(relight(images, generator), generator), targets
