"""Pairs of pictures: the same face without and with an attribute, drawn (`drawings`) or made by prototypes (`prototypes`).

The directions of the attributes are computed from them, and identity encoder and noise predictor are trained on them.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dva_core.errors import DVAError
from dva_core.model.autoencoder import JAW
from dva_core.train import drawings, spectacles, strands
from dva_core.train.arrays import Arrays, load_of_run
from dva_core.train.faces import FaceSet
from dva_core.train.looks import SIZE, Looks, fit_looks
from dva_core.train.moves import MOVES, move_points
from dva_core.train.prototypes import Prototypes, suitable
from dva_core.train.prototypes.change import Recipe, recipe
from dva_core.train.synthesis import Variants

log = logging.getLogger(__name__)

# kind of a pair -> the attribute it belongs to, and whether the changed face has more (1) or less (-1) of it
ATTRIBUTE = {
    "Eyeglasses": ("Eyeglasses", 1), "Sunglasses": ("Sunglasses", 1), "Beard": ("Beard", 1), "Goatee": ("Goatee", 1),
    "Mustache": ("Mustache", 1), "5_o_Clock_Shadow": ("5_o_Clock_Shadow", 1), "Wearing_Lipstick": ("Wearing_Lipstick", 1),
    "Heavy_Makeup": ("Heavy_Makeup", 1), "Bushy_Eyebrows": ("Bushy_Eyebrows", 1), "Freckles": ("Freckles", 1),
    "Older": ("Young", -1), "Younger": ("Young", 1), "Male": ("Male", 1), "Female": ("Male", -1), "Smiling": ("Smiling", 1),
}  # fmt: skip
KINDS = tuple(ATTRIBUTE)
DRAWN = tuple(kind for kind in KINDS if kind in drawings.KINDS)  # the others are made by prototypes
MOTION = ("Smiling",)  # kinds that are a change of the motion vector
WITHOUT = {  # labels that a face must not have before it is changed
    "Eyeglasses": ("Eyeglasses", "Sunglasses"), "Sunglasses": ("Eyeglasses", "Sunglasses"), "Beard": ("Beard",),
    "Goatee": ("Beard",), "Mustache": ("Beard", "Mustache"), "5_o_Clock_Shadow": ("Beard", "5_o_Clock_Shadow"),
    "Wearing_Lipstick": ("Wearing_Lipstick", "Beard"), "Heavy_Makeup": ("Wearing_Lipstick", "Beard", "Sunglasses"),
    "Bushy_Eyebrows": ("Sunglasses",), "Freckles": ("Beard",), "Older": ("Sunglasses",), "Younger": ("Sunglasses",),
    "Male": ("Sunglasses",), "Female": ("Sunglasses",),
}  # fmt: skip
# One style per kind: a single step of the vector can show only one, and would show the blurred mean of several
LOOK_SEED = 5
LOOKS = {
    "Eyeglasses": {"shape": 2, "material": 0, "thick": 0.05, "colour": [0.05, 0.042, 0.038], "width": 1.05, "height": 1.05, "drop": 0.04,
                   "tint": 0.08, "lens": [0.3, 0.3, 0.32], "shine": 0.2, "shine_at": 0.2,
                   "shine_tilt": 0.8, "shine_wide": 0.2, "shadow": 0.35},
    "Sunglasses": {"shape": 3, "material": 0, "thick": 0.06, "colour": [0.05, 0.05, 0.05], "width": 1.1, "height": 1.12, "tint": 1.0,
                   "fade": 0.0, "lens": [0.035, 0.035, 0.04], "shine": 0.25},
    "Beard": {"own": 0.75, "tone": 2, "shade": 0.95, "cheek": 0.5, "long": 0.25, "full": 0.9, "soft": 0.07, "moustache": 0, "wide": 1.0,
              "thick": 1.1, "ring": 1, "contrast": 0.5},
    "Goatee": {"own": 0.75, "tone": 2, "shade": 0.9, "long": 0.2, "full": 0.9, "soft": 0.06, "moustache": 0, "ring": 1, "contrast": 0.5},
    "Mustache": {"own": 0.7, "tone": 2, "shade": 0.85, "full": 0.93, "moustache": 0, "wide": 1.05, "thick": 1.2, "contrast": 0.6},
    "5_o_Clock_Shadow": {"own": 0.7, "tone": 0, "shade": 1.0, "cheek": 0.5, "ring": 1, "contrast": 0.6},
    "Wearing_Lipstick": {"lip": [0.55, 0.06, 0.1], "lip_cover": 0.8, "gloss": 0.15},
    "Heavy_Makeup": {"lip": [0.55, 0.08, 0.14], "lip_cover": 0.8, "gloss": 0.12, "eye": [0.14, 0.09, 0.1], "eye_cover": 0.7,
                     "eye_high": 0.9, "liner": 1.0, "wing": 0.5, "blush": 0.3, "blush_hue": 0.4, "smooth": 0.5},
    "Bushy_Eyebrows": {"thick": 1.35, "dark": 0.95, "long": 1.1, "unkempt": 0.25},
    "Freckles": {"strength": 1.0, "count": 420, "size": 1.0},
    "Older_Skin": {"strength": 1.2, "forehead": 3, "crow": 4, "cheek": 0.9, "bags": 1.1, "mottle": 0.4},
    "Older": {"strength": 1.25, "texture": 1.0, "grey": 0.9, "donor": None}, "Younger": {"strength": 1.2, "smooth": 0.85, "lipstick": 0.3},
    "Male": {"strength": 1.25, "stubble": 0.7}, "Female": {"strength": 1.25, "smooth": 0.8, "lipstick": 0.7},
    "Smiling": {"strength": 1.15, "texture": 0.5, "mouth": 1.0, "donor": None},
}  # fmt: skip
SMILE = Recipe({"closed smile": 1.8}, {})  # of the retouch
IN_A_TASK = 40  # pairs a process makes at a time


@dataclass
class Pairs(Arrays):
    """n pairs; the rows of all arrays correspond.

    before, after: uint8 [n, S, S, 3]; mask: uint8 [n, S, S], 255 where the picture was changed; landmarks: float32 [n, 68, 2] of `before`
    in pixels; kind: int [n], a row of KINDS; face: int [n], the row of the face in its FaceSet; held_out: bool [n].
    """

    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray
    kind: np.ndarray
    face: np.ndarray
    held_out: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)

    def rows(self, kind: str, held_out: bool | None = None) -> np.ndarray:
        """The rows of one kind, of held-out people or of the others."""
        chosen = self.kind == KINDS.index(kind)
        return np.flatnonzero(chosen if held_out is None else chosen & (self.held_out == held_out))


def load_pairs(run: Path) -> Pairs:
    """Load the pairs of a run's folder. DVAError if they are missing or damaged."""
    return load_of_run(Pairs, run, "pairs")


def candidates(kind: str, faces: FaceSet) -> np.ndarray:
    """Rows of `faces` without the attribute on which it would be visible."""
    ok = np.ones(len(faces), bool)
    for name in WITHOUT.get(kind, ()):
        ok &= ~(faces.labels[:, faces.names.index(name)] == 1)
    if kind not in drawings.KINDS:
        ok &= suitable(kind, faces)
    return np.flatnonzero(ok)


def change(
    kind: str, picture: np.ndarray, landmarks: np.ndarray, seed: int, prototypes: Prototypes | None
) -> tuple[np.ndarray, np.ndarray]:
    """Change one face: the picture and the mask, float32 0..1; a function of the arguments alone."""
    if kind in drawings.KINDS:
        return tuple(drawings.draw(kind, picture, landmarks, look_of(kind)))
    look = prototypes.look(kind, np.random.default_rng(seed)) | LOOKS[kind]  # a different donor each time
    changed = prototypes.change(kind, picture, landmarks, look)
    if kind == "Older":
        lined = drawings.draw("Older_Skin", changed.picture, changed.landmarks, look_of("Older_Skin"))
        return lined.picture, np.maximum(changed.mask, lined.mask)
    return changed.picture, changed.mask


def look_of(kind: str) -> dict:
    """The style in which a kind is drawn."""
    return drawings.style(kind, np.random.default_rng(LOOK_SEED)) | LOOKS[kind]


def make_looks(faces: FaceSet, prototypes: Prototypes, seed: int = 0) -> Looks:
    """Fit what each kind changes on the mean face, with the style of the pairs."""
    return fit_looks(
        faces, KINDS, candidates, lambda *face: change(*face, prototypes)[0], lambda *mean: move(*mean, prototypes), draw_layer, seed
    )


def draw_layer(kind: str, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """A and B of a kind that is drawn on the mean face with `landmarks` [68, 2] itself; None for the others."""
    if kind in strands.KINDS:
        return strands.hair(kind, look_of(kind), landmarks, SIZE)
    return spectacles.glasses(kind, landmarks, SIZE) if kind in spectacles.KINDS else None


def move(kind: str, landmarks: np.ndarray, prototypes: Prototypes) -> np.ndarray:
    """Where a kind, or one of MOVES, moves the `landmarks` [68, 2] of a face, in 0..1 of the crop.

    A smile has closed lips, so that a mouth that talks goes on talking.
    """
    if kind in MOVES:
        return np.concatenate([landmarks[:JAW], move_points(kind, landmarks[JAW:])])
    if kind in drawings.KINDS:
        return landmarks
    does = SMILE if kind == "Smiling" else recipe(kind, prototypes.look(kind, np.random.default_rng(LOOK_SEED)) | LOOKS[kind])
    return prototypes.move_landmarks(landmarks, does)


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)  # the processes share the cores already


def _make(tasks: list[tuple[str, np.ndarray, np.ndarray, int]], prototypes: Prototypes | None) -> list[tuple[np.ndarray, np.ndarray]]:
    return [change(*task, prototypes) for task in tasks]


def make_pairs(faces: FaceSet, variants: Variants, prototypes: Prototypes, *, each: int = 600, seed: int = 0, processes: int = 1) -> Pairs:
    """Make `each` pairs of every kind from the faces' pictures in the expressions of `variants`; an eighth of them of held-out people.

    Raises DVAError if no face can show a kind.
    """
    rng = np.random.default_rng(seed)
    of_face = [np.flatnonzero(variants.original == row) for row in range(len(faces))]
    rows, kinds = [], []
    for number, kind in enumerate(KINDS):
        possible = candidates(kind, faces)
        for part, count in ((possible[~faces.held_out[possible]], each), (possible[faces.held_out[possible]], max(8, each // 8))):
            if not len(part):
                raise DVAError(f"No face can be given a pair of {kind}: add faces without it.")
            chosen = np.resize(rng.permutation(part), count)
            rows += [rng.choice(of_face[face]) for face in chosen]
            kinds += [number] * count
    rows, kinds = np.array(rows), np.array(kinds)
    seeds = rng.integers(2**31, size=len(rows))
    tasks = [(KINDS[k], variants.pictures[row], variants.landmarks[row], int(s)) for k, row, s in zip(kinds, rows, seeds)]
    after, masks = [], []
    for done, changes in enumerate(make_changes(tasks, prototypes, processes)):
        after += [picture for picture, _ in changes]
        masks += [np.uint8(255 * mask + 0.5) for _, mask in changes]
        if done % 20 == 0:
            log.info("pairs: %d of %d", len(after), len(tasks))
    face = variants.original[rows]
    return Pairs(
        variants.pictures[rows], np.stack(after), np.stack(masks), variants.landmarks[rows], kinds, face, faces.held_out[face]
    )  # fmt: skip


def make_changes(tasks: list, prototypes: Prototypes | None, processes: int) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """Yield `change` for each (kind, picture, landmarks, seed), computed in parallel; drawn kinds need no prototypes."""
    parts = [tasks[i : i + IN_A_TASK] for i in range(0, len(tasks), IN_A_TASK)]
    if processes == 1:
        yield from (_make(part, prototypes) for part in parts)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with OpenCV threads would wait for them forever
    with ProcessPoolExecutor(processes, spawn, _one_thread) as pool:
        yield from pool.map(partial(_make, prototypes=prototypes), parts)
