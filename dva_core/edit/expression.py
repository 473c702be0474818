"""Expressions: one shift of the motion vector, the same in all frames.

An identity network is trained to ignore expression, so an expression is edited in the motion, which Kim et al. (2023) leave unchanged:
z_motion[n] holds 51 landmarks (x, y). The shift s comes from labels (a motion attribute of the model) or from two frames of the video,

    s = z_motion[expressive] - z_motion[neutral], without the translation, rotation and scaling of the whole face,

and is restricted to plausible motion: projected on principal components C of real landmark motion (of the video itself, and those of
the model's bundle), then masked to the chosen landmarks,

    z_motion[n]' = z_motion[n] + scale * mask * (s C^T C).

The expression of a model that draws it (see networks.texture) is neither projected nor masked: the model reads its own step from z_face.
One of shapes.py is not projected. Steps that a model with a retouch does not draw move the frame's own pixels (see pipeline/moves.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..decomposition import Decomposition, check_model
from ..decomposition.people import AnyDecomposition, Whom, choose, one_person, people_of
from ..errors import DVAError
from .attributes import AttributeSet
from .curves import Scale
from .directions import Direction, apply_direction, encoder_fingerprint, from_attribute
from .shapes import SHAPES

REGIONS: dict[str, range] = {"brows": range(0, 10), "nose": range(10, 19), "eyes": range(19, 31), "mouth": range(31, 51)}
STILL = np.array([*range(10, 19), 19, 22, 25, 28])  # nose and corners of the eyes, which an expression moves least
EXPLAINED_VARIANCE, MOST_COMPONENTS = 0.98, 16
POINTS = 51


def apply_expression(
    decomposition: AnyDecomposition,
    model,
    expression: str | None = None,
    scale: Scale | Mapping[str, Any] = 1.0,
    *,
    frames: Sequence[int] | None = None,
    regions: Sequence[str] = (),
    project: bool = True,
    person: Whom = None,
) -> AnyDecomposition:
    """Apply an expression: one shift of the motion, the same in all frames or by a curve over time.

    expression  a motion attribute of the model, such as "Smiling"; or
    frames      (neutral, expressive): two frames of this video, by their number among the frames read
    scale       signed strength: 1 is the attribute's usual step, or the whole way from the first frame to the second; or a curve
    regions     names of REGIONS that may move; none means all
    project     project the shift on the main components of landmark motion
                regions and project have no effect on an expression that the model draws, nor project on one of shapes.py
    person      whom of several people to edit, by numbers or names; None: all. Two frames need a single person

    Raises DVAError for an unknown expression or region, frames without a face, a scale out of bounds.
    """
    one = shown_person(decomposition, person, frames is not None)
    check_model(one, model)
    direction = expression_direction(one, model, expression, frames=frames, regions=regions, project=project)
    return apply_direction(decomposition, model, direction, scale, person=person)


def shown_person(decomposition: AnyDecomposition, person: Whom, in_frames: bool) -> Decomposition:
    """The person whose frames an expression is taken from; any of the persons if it is not taken from frames (`in_frames`)."""
    if in_frames:
        return one_person(decomposition, person, "An expression of two frames")
    return people_of(decomposition)[choose(decomposition, person)[0]]


def expression_direction(
    decomposition: Decomposition | None,
    model,
    expression: str | None = None,
    *,
    frames: Sequence[int] | None = None,
    regions: Sequence[str] = (),
    project: bool = True,
) -> Direction:
    """The shift of `apply_expression` as a direction, to save and to apply to other videos. Settings and errors as there."""
    if (expression is None) == (frames is None):
        raise DVAError("Name either an expression of the model or two frames of the video, one of the two.")
    check_regions(regions)
    if frames is not None and decomposition is not None:
        decomposition = one_person(decomposition, None, "An expression of two frames")
    if expression is not None:
        source = from_attribute(model, check_expression(expression, model))
        shift, name, record = source.vector.astype(np.float64), source.name, dict(source.made)
    else:
        neutral, expressive = frames
        shift = between_frames(decomposition, neutral, expressive)
        name, record = f"frame {expressive} from {neutral}", {"how": "frames", "frames": [int(neutral), int(expressive)]}
    check_points(shift)
    if expression is not None and model.draws:
        project = False
        if source.name not in SHAPES:
            regions = ()
    if project:
        shift = project_shift(shift, main_components(decomposition, model, include_frames=expression is None))
    if regions:
        shift, name = mask_regions(shift, regions), f"{name} ({', '.join(regions)})"
    record |= {"regions": list(regions), "projected": bool(project), "model": model.config.get("name", "")}
    return Direction(shift, "motion", name, encoder_fingerprint(model, "motion"), made=record)


def between_frames(decomposition: Decomposition, neutral: int, expressive: int) -> np.ndarray:
    """The shift [D_motion] from one frame's landmarks to another's, without head motion. DVAError for frames without a face."""
    a, b = (decomposition.z_motion[row_of(decomposition, frame)].astype(np.float64) for frame in (neutral, expressive))
    if neutral == expressive:
        raise DVAError(f"Both frames are number {neutral}; choose one with and one without the expression.")
    check_points(a)
    return without_head_motion(b - a, a)


def row_of(decomposition: Decomposition, frame: int) -> int:
    """The row of a frame, counted over the frames read; DVAError, naming the nearest frame with a face, if it has none."""
    index = decomposition.frame_index
    rows = np.flatnonzero(index == frame)
    if len(rows):
        return int(rows[0])
    near = int(index[np.abs(index - frame).argmin()])
    raise DVAError(f"Frame {frame} of the video has no face or does not exist; the nearest with one is {near}.")


def without_head_motion(shift: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Remove from `shift` [102] of the landmarks `face` [102] the translation, rotation and scaling of its STILL points.

    Least squares over the four small motions of a face in the picture: x, y, scaling (p - c), rotation (p - c turned by 90 degrees).
    """
    points, change = face.reshape(-1, 2), shift.reshape(-1, 2)
    arm = points - points[STILL].mean(0)
    ways = [np.tile((1.0, 0.0), (len(points), 1)), np.tile((0.0, 1.0), (len(points), 1)), arm, arm[:, ::-1] * (-1, 1)]
    design = np.stack([way[STILL].ravel() for way in ways], 1)
    amounts = np.linalg.lstsq(design, change[STILL].ravel(), rcond=None)[0]
    return (change - sum(amount * way for amount, way in zip(amounts, ways))).ravel()


def main_components(decomposition: Decomposition | None, model, include_frames: bool = True) -> np.ndarray | None:
    """Orthonormal components [C, D_motion] of real landmark motion: those of the model's bundle and those of the video's own frames.

    None if there are none.
    """
    tensors = AttributeSet.from_model(model).tensors
    bases = [tensors["motion.components"]] if "motion.components" in tensors else []
    if include_frames and decomposition is not None and decomposition.faces > 2:
        bases.append(components_of(np.asarray(decomposition.z_motion[:], np.float64)))
    bases = [rows for rows in bases if len(rows)]
    return np.linalg.qr(np.concatenate(bases).T)[0].T if bases else None


def components_of(motion: np.ndarray, variance: float = EXPLAINED_VARIANCE, most: int = MOST_COMPONENTS) -> np.ndarray:
    """Principal components [C, D_motion] of landmarks [n, D_motion] without head motion, as many as explain the share `variance`."""
    mean = motion.mean(0)
    local_motion = np.stack([without_head_motion(row, mean) for row in motion - mean])
    _, sizes, rows = np.linalg.svd(local_motion, full_matrices=False)
    explained = np.cumsum(sizes**2) / max(1e-30, float((sizes**2).sum()))
    return rows[: min(most, int(np.searchsorted(explained, variance)) + 1)]


def project_shift(shift: np.ndarray, components: np.ndarray | None) -> np.ndarray:
    """Project `shift` [D_motion] on the orthonormal `components` [C, D_motion]."""
    return shift if components is None else (shift @ components.T) @ components


def mask_regions(shift: np.ndarray, regions: Sequence[str]) -> np.ndarray:
    """Restrict `shift` [102] to the landmarks of `regions`."""
    mask = np.zeros((POINTS, 1))
    for region in regions:
        mask[list(REGIONS[region])] = 1
    return (shift.reshape(-1, 2) * mask).ravel()


def check_expression(name: str, model) -> str:
    """Return the model's spelling of the expression `name`, ignoring case; DVAError listing its expressions if there is no such."""
    spaces = {entry.name.lower(): entry.space for entry in AttributeSet.from_model(model).entries}
    if spaces.get(name.lower()) != "motion":
        names = [entry.name for entry in AttributeSet.from_model(model).entries if entry.space == "motion"]
        what = "no expression but a trait of the identity" if name.lower() in spaces else "no expression of this model"
        raise DVAError(f"{name!r} is {what}; expressions are {', '.join(names) or 'none'}.")
    return name


def check_regions(regions: Sequence[str]) -> None:
    for region in regions:
        if region not in REGIONS:
            raise DVAError(f"There is no region {region!r} of the face; choose of {', '.join(REGIONS)}.")


def check_points(shift: np.ndarray) -> None:
    if shift.size != 2 * POINTS:
        raise DVAError(f"This model's motion vector has {shift.size} numbers and not those of {POINTS} landmarks; expressions need these.")
