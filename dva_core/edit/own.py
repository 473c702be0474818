"""An attribute of your own from a few pictures with and without it, preferably of the same people.

Five to fifty vectors are too few for a covariance, so the direction is the difference of the means of both sets, with all
dimensions weighted alike. Identity: with zs = (z - mean) / std by the model's statistics,

    w = mean(zs with) - mean(zs without),      v = std sqrt(D) w / |w|

as long as a trained attribute's step (Kim et al. 2023, sec. 3.4), so that scales are comparable. Motion: v = the difference of the
landmarks' means, without translation, rotation and scaling of the whole face. With pairs of one person each, the mean is over the
differences of the pairs, in which the person's identity cancels.

A difference of vectors may look different in the generated picture. Unless `shown` is off, an identity's direction is therefore mixed with
the model's own gradient on these pictures (see gradients.py). That removes the skin's colour from it, so turn it off for a tan or a blush.

The score is a leave-pair-out estimate (Airola et al. 2009): for every pair of a picture with and one without it (or the given
pairs) the direction is computed from all other pictures, and must rank the one with it higher.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..errors import DVAError, MissingFileError
from ..faces.align import crop_face, quad_from_landmarks
from ..faces.finder import FaceFinder
from ..faces.select import largest
from ..model.arrays import to_images
from ..progress import Progress
from ..video.images import SUFFIXES, read_rgb
from .attributes import AttributeSet
from .directions import SPACES, Direction, encoder_fingerprint
from .expression import without_head_motion
from .gradients import PICTURES as GRADIENT_PICTURES
from .gradients import spread, visible_direction
from .scope import find_region

logger = logging.getLogger(__name__)

FEWEST = 5
POOR = 0.7  # below this score the pictures hardly determine the attribute
MOST = 200  # pictures of each kind; for more use `train attributes`


@dataclass(frozen=True)
class OwnAttribute:
    """A direction made from pictures; `score` is the share of left-out pairs that it ranks correctly (0.5 is chance)."""

    direction: Direction
    score: float
    with_it: int
    without: int

    def describe(self) -> str:
        """Describe it in a line."""
        verdict = "" if self.score >= POOR else "; that is little better than guessing, so use more or clearer pictures"
        kind = "pairs" if self.direction.made.get("pairs") else f"and {self.without}"
        return (
            f"{self.direction.name} from {self.with_it} {kind} pictures: {self.score:.0%} of left-out pictures "
            f"are told apart rightly (50% is chance){verdict}."
        )


def own_attribute(
    model,
    with_it: Sequence[np.ndarray],
    without: Sequence[np.ndarray],
    name: str,
    *,
    space: str = "identity",
    pairs: bool = False,
    shown: bool = True,
    region: str | None = None,
    progress: Progress | None = None,
) -> OwnAttribute:
    """Make a direction from pictures uint8 [H, W, 3] (any sizes, one face each), at least five of each kind.

    space     "identity" for what someone looks like, "motion" for an expression
    pairs     the i-th picture with it and the i-th without show the same person
    shown     identity only: mix in the model's own gradient and remove the skin's colour (see gradients.py); takes seconds
    region    the only region of the face that the edit changes (see faces.regions); None: the whole face
    progress  called with the phase "shown"; may raise to cancel

    Raises DVAError for too few pictures, unpaired ones, or a picture without a face.
    """
    check_sets(with_it, without, name, space, pairs)
    if region is not None:
        find_region(model, region)
    crops = [crop_faces(model, pictures, kind) for pictures, kind in ((with_it, "with it"), (without, "without it"))]
    attribute = from_vectors(model, *(encode_crops(model, part, space) for part in crops), name, space=space, pairs=pairs)
    attribute = replace(attribute, direction=replace(attribute.direction, region=region))
    if not shown:
        return attribute
    return make_visible(model, attribute, np.concatenate([spread(part, GRADIENT_PICTURES // 2) for part in crops]), progress)


def check_sets(with_it: Sequence, without: Sequence, name: str, space: str, pairs: bool) -> None:
    if not name.strip():
        raise DVAError("The attribute needs a name; call it by what the pictures show, such as Freckles.")
    if space not in SPACES:
        raise DVAError(f"There is no space {space!r}; choose one of {', '.join(SPACES)}.")
    for pictures, kind in ((with_it, "with"), (without, "without")):
        if not FEWEST <= len(pictures) <= MOST:
            raise DVAError(f"There are {len(pictures)} pictures {kind} {name}; give {FEWEST} to {MOST} of each kind.")
    if pairs and len(with_it) != len(without):
        raise DVAError(f"There are {len(with_it)} pictures with and {len(without)} without {name}; pairs need as many of each.")


def from_vectors(
    model, with_it: np.ndarray, without: np.ndarray, name: str, *, space: str = "identity", pairs: bool = False
) -> OwnAttribute:
    """As `own_attribute`, from encoded pictures: vectors [n, D] with it and [m, D] without."""
    mean, std = statistics(model, space)
    a, b = ((np.asarray(vectors, np.float64) - mean) / std for vectors in (with_it, without))
    step = a.mean(0) - b.mean(0)
    score = paired_score(a, b) if pairs else leave_out_score(a, b)
    if space == "identity":
        length = np.linalg.norm(step)
        if not length > 0:
            raise DVAError(f"The pictures with and without {name} are the same; give different ones.")
        vector = std * math.sqrt(len(step)) * step / length
    else:
        mean_face = (np.asarray(with_it).mean(0) + np.asarray(without).mean(0)) / 2
        vector = without_head_motion(step * std, mean_face)
    record = {"how": "pictures", "with": len(a), "without": len(b), "pairs": pairs, "score": round(score, 3)}
    record["model"] = model.config.get("name", "")
    direction = Direction(vector, space, name, encoder_fingerprint(model, space), made=record)
    return OwnAttribute(direction, score, len(a), len(b))


def make_visible(model, attribute: OwnAttribute, crops: np.ndarray, progress: Progress | None = None) -> OwnAttribute:
    """Replace an identity attribute's direction by the one visible in the model's pictures of faces uint8 [N, C, C, 3]; same length."""
    direction = attribute.direction
    if direction.space != "identity":
        return attribute
    _, std = statistics(model, "identity")
    step = visible_direction(model, direction.vector / std, std, crops, progress)
    vector = std * math.sqrt(len(step)) * step / np.linalg.norm(step)
    return replace(attribute, direction=replace(direction, vector=vector, made={**direction.made, "shown": True}))


def statistics(model, space: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation by which vectors of `space` are standardised: the model's for identities; 0 and 1 for motion."""
    tensors = AttributeSet.from_model(model).tensors
    if space == "identity" and "identity.std" in tensors:
        return tensors["identity.mean"].reshape(-1), tensors["identity.std"].reshape(-1)
    return np.zeros(1), np.ones(1)


def leave_out_score(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pairs (one of a [n, D], one of b [m, D]) ranked correctly by the difference of the other vectors' means."""
    right = 0.0
    for i in range(len(a)):
        for j in range(len(b)):
            w = np.delete(a, i, 0).mean(0) - np.delete(b, j, 0).mean(0)
            margin = (a[i] - b[j]) @ w
            right += 0.5 * (np.sign(margin) + 1)
    return float(right / (len(a) * len(b)))


def paired_score(a: np.ndarray, b: np.ndarray) -> float:
    """Share of pairs a[i], b[i] ranked correctly by the mean difference of the other pairs."""
    steps = a - b
    margins = [step @ np.delete(steps, i, 0).mean(0) for i, step in enumerate(steps)]
    return float(np.mean(0.5 * (np.sign(margins) + 1)))


# -- pictures ------------------------------------------------------------------------------------------------


def crop_faces(model, pictures: Sequence[np.ndarray], kind: str = "") -> np.ndarray:
    """Crop the largest face in each picture uint8 [H, W, 3] -> uint8 [n, C, C, 3]. DVAError for a picture without a face."""
    finder = FaceFinder.of(model)
    return np.stack([face_of(finder, rgb, model.crop_size, f"Picture {n} {kind}".strip()) for n, rgb in enumerate(pictures, 1)])


def encode_crops(model, crops: np.ndarray, space: str) -> np.ndarray:
    """Crops uint8 [n, C, C, 3] -> identity or motion vectors [n, D]."""
    encode = model.encode_identity if space == "identity" else model.encode_motion
    return encode(to_images(crops)).float().cpu().numpy()


def face_of(finder: FaceFinder, rgb: np.ndarray, size: int, what: str) -> np.ndarray:
    """The square [size, size, 3] around the largest face; a margin is added where the face fills the picture."""
    for margin in (0.0, 0.5):
        edge = [round(margin * side) for side in rgb.shape[:2]]
        wide = cv2.copyMakeBorder(rgb, edge[0], edge[0], edge[1], edge[1], cv2.BORDER_REFLECT) if margin else rgb
        faces = finder.detector.detect(np.ascontiguousarray(wide))
        if faces:
            return crop_face(wide, quad_from_landmarks(finder.landmarker(wide, largest(faces))), size)
    raise DVAError(f"{what} shows no face that can be found; leave it out or use a clearer one.")


def read_folder(folder: str | Path) -> list[np.ndarray]:
    """The pictures of a folder in the order of their names, uint8 [H, W, 3]. DVAError where there are none or one cannot be read."""
    return [read_rgb(path) for path in pictures_in(folder)]


def read_pairs(with_it: str | Path, without: str | Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The pictures with the same name (suffix aside) in two folders, in the order of the names; pictures without a partner are left out.
    If the folders have no name in common, all pictures in the order of their names. DVAError as of `read_folder`."""
    a, b = (pictures_in(folder) for folder in (with_it, without))
    by_stem = [{path.stem: path for path in paths} for paths in (a, b)]
    if both := sorted(by_stem[0].keys() & by_stem[1].keys()):
        if unpaired := len(a) + len(b) - 2 * len(both):
            logger.warning("%d pictures in %s and %s have no partner of the same name and are left out.", unpaired, with_it, without)
        a, b = ([paths[stem] for stem in both] for paths in by_stem)
    return [read_rgb(path) for path in a], [read_rgb(path) for path in b]


def pictures_in(folder: str | Path) -> list[Path]:
    """The picture files of a folder in the order of their names; DVAError where there are none, or more than MOST."""
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder}; give one with pictures.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file() and path.name[0] != ".")
    if not paths:
        raise DVAError(f"The folder {folder} holds no pictures ({', '.join(sorted(SUFFIXES))}); give one that does.")
    if len(paths) > MOST:
        raise DVAError(f"The folder {folder} holds {len(paths)} pictures and {MOST} are the most; for more use `train attributes`.")
    return paths
