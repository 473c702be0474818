"""Decoding of one frame with several edits at once, for previews and sheets of attributes, without encoding the video again.

A stored noise map is valid for its number of steps. With fewer steps the crop of the frame is inverted again,

    x_T' = invert(crop, z_face),   rebuilt' = sample(x_T', z_face),   edited' = sample(x_T', z_face'),

which needs no other frame. This is quicker for many edits, and for one if the video was encoded with many steps; otherwise the stored
noise map and rebuilt crop are used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..decomposition import Decomposition, check_model
from ..decomposition.info import DecompositionInfo
from ..decomposition.people import one_person
from ..diffusion import solvers
from ..diffusion.guidance import Guidance
from ..diffusion.schedule import Schedule
from ..edit import AttributeSet, apply_attributes
from ..edit.scope import check_tone, keeps_tone, regions_of
from ..errors import DVAError
from ..faces.align import whole_square
from ..faces.composite import Drawing, paste
from ..faces.front import FrontMask
from ..faces.regions import Region
from ..faces.tone import tone_of
from ..hosts.devices import to_device
from ..model.arrays import as_picture, fuse, shrink, to_images
from ..model.evaluation import usual_batch
from ..progress import Progress, picture_for, silent
from .decoding import check_detail
from .drawing import Drawer, EditedFace, drawn_face, only_drawn
from .front import FrontMasks, Keep
from .masks import SoftMasks
from .solving import edited_face, own_face, solve

logger = logging.getLogger(__name__)

PREVIEW_STEPS = 6


@dataclass(frozen=True)
class Still:
    """One frame: its `row`, the `original` crop uint8 [C, C, 3], and `edited` crops uint8 [C, C, 3], one for each edit."""

    row: int
    original: np.ndarray
    edited: list[np.ndarray]


def nearest_row(decomposition: Decomposition, frame: int) -> int:
    """Find the row of the frame numbered `frame` (counted over the frames read), or of the nearest frame with a face.

    A number beyond the video is warned of.
    """
    one = one_person(decomposition, None, "A preview")
    row = int(np.abs(one.frame_index - frame).argmin())
    if not 0 <= frame < one.info.frames:
        shown = int(one.frame_index[row])
        logger.warning("There is no frame %d in this video of %d frames, the first is 0; frame %d is shown.", frame, one.info.frames, shown)
    return row


def stills(
    edits: Sequence[Decomposition],
    model,
    row: int,
    *,
    steps: int | None = None,
    detail: str = "transfer",
    batch_size: int | None = None,
    progress: Progress | None = None,
    guidance: float | None = None,
    tone: str | None = None,
    region: str | None = None,
    keep: Keep | None = None,
) -> Still:
    """Decode one frame with each of `edits` of one video, in batches, and paste them into the face square.

    row     row of the frame (see `nearest_row`)
    steps   diffusion steps; None, or a number that would take more evaluations (see above): the stored noise map
    detail, guidance, tone, region, keep   as of `pipeline.decode`, except that the tone is not smoothed over time

    Raises DVAError for edits of different videos, a decomposition of another model, or settings out of range.
    """
    edits = [one_person(edit, None, "A preview") for edit in edits]
    base, progress = edits[0], progress or silent
    check_edits(edits, row)
    check_detail(detail)
    check_tone(tone)
    check_model(base, model)
    regions = [regions_of(edit, model, region) for edit in edits]
    guided = Guidance.from_config(model.config, guidance)
    draw = detail == "transfer" and model.draws
    drawers = [Drawer(edit, model, edit.crops.shape[1] if draw else 0) for edit in edits]
    drawn = [draw and edit.is_edited and bool(only_drawn(drawer.still, model, [row])[0]) for edit, drawer in zip(edits, drawers)]
    decoded = [base.without_edits(), *(edit for edit, one in zip(edits, drawn) if not one)]
    info = base.info if steps is None else info_of_steps(decoded, model, steps, guided)
    model.schedule.timesteps(info.steps)
    front = None if keep is None else front_mask(base, row, keep)
    batch = batch_size or usual_batch(model, guided.is_on)
    rebuilt, faces = decode_row(drawers, drawn, model, row, info, batch, progress, guided)
    original = base.crops[row]

    def picture(edit: Decomposition, face: EditedFace | None, own_regions: Sequence[Region]) -> np.ndarray:
        """What the edit makes of the face square."""
        if face is None:
            return original
        crop = face.crop
        if keeps_tone(edit, model, tone):
            crop = crop - tone_of(crop, rebuilt, base.masks[row])[:, None, None]
        mask = SoftMasks(edit, own_regions, model.motion_window)[row]
        return paste(original, whole_square(original), crop, rebuilt, mask, detail, front, drawing=face.drawing)[0]

    return Still(row, original, [picture(*each) for each in zip(edits, faces, regions)])


def check_edits(edits: Sequence[Decomposition], row: int) -> None:
    """DVAError for edits of different videos, or a row that they do not have."""
    base = edits[0]
    if any(edit.info != base.info or edit.faces != base.faces for edit in edits):
        raise DVAError("The edits to show together are of different videos; choose edits of one video.")
    if not 0 <= row < base.faces:
        raise DVAError(f"There is no frame {row} among the {base.faces} that have a face; choose 0 to {base.faces - 1}.")


def info_of_steps(edits: Sequence[Decomposition], model, steps: int, guided: Guidance) -> DecompositionInfo:
    """The settings for decoding one frame: those of its video with `steps`, if inverting it again is possible and faster."""
    info = edits[0].info
    if any(edit.is_switched for edit in edits):
        return info
    cheaper = is_cheaper(model.schedule, info, steps, sum(edit.is_edited for edit in edits), guided)
    return replace(info, steps=steps) if cheaper else info


def decode_row(
    drawers: Sequence[Drawer],
    drawn: Sequence[bool],
    model,
    row: int,
    info: DecompositionInfo,
    batch: int,
    progress: Progress,
    guided: Guidance,
) -> tuple[np.ndarray, list[EditedFace | None]]:
    """Decode one row: the rebuilt crop float32 [3, S, S], and an edited face for each of the edits, None for one that changes nothing.

    A face has what its drawer draws of the edit; an edit that is only `drawn` (see `only_drawn`) is not decoded. If the settings `info`
    differ from those of the video, the crop is inverted again and rebuilt from that.
    """
    base = drawers[0].decomposition
    reinvert = info is not base.info
    edited_indices = [i for i, drawer in enumerate(drawers) if drawer.decomposition.is_edited and not drawn[i]]
    callback = evaluation_counter(progress, (2 if reinvert else 1) * info.steps)
    x_T = invert_frame(base, model, row, fuse(model, base.z_id, base.z_motion[[row]]), info, callback) if reinvert else None

    def decode_some(some: Sequence[Drawer]) -> list[EditedFace]:
        edits = [drawer.still for drawer in some]
        z_face = torch.cat([edited_face(edit, model, [row]) for edit in edits])
        noise = x_T.expand(len(edits), -1, -1, -1) if reinvert else noise_maps(edits, row, z_face)
        before = torch.cat([own_face(edit, model, [row]) for edit in edits]) if guided.is_on else None
        crops = solve(solvers.sample, model, noise, z_face, info, callback, guided, before)
        crops = crops.half().float().cpu().numpy()
        return [EditedFace(crop, draw_row(drawer, row, True)) for drawer, crop in zip(some, crops)]

    plain = [Drawer(base.without_edits(), model, 0)] if reinvert else []  # decoded in one batch with the edits
    parts = model.host.run_batched(decode_some, plain + [drawers[i] for i in edited_indices], batch)
    faces = [face for part in parts for face in part]
    rebuilt = faces[0].crop if reinvert else np.asarray(base.rebuilt[row], np.float32)
    face_of = dict(zip(edited_indices, faces[len(plain) :]))
    for i in np.flatnonzero(drawn):
        face_of[int(i)] = drawn_face(rebuilt, draw_row(drawers[i], row, False))
    return rebuilt, [face_of.get(i) for i in range(len(drawers))]


def draw_row(drawer: Drawer, row: int, decoded: bool) -> Drawing | None:
    """What an edit draws on one row; see `Drawer.finish`."""
    if not drawer.size:
        return None
    faces = (face(drawer.still, drawer.model, [row]) for face in (edited_face, own_face))
    return drawer.finish([row], [part.cpu().numpy() for part in drawer.draw([row], *faces)], decoded)[0]


def front_mask(decomposition: Decomposition, row: int, keep: Keep) -> FrontMask:
    """Load the mask of what stays in front of the face, cropped to the face square of one row."""
    with FrontMasks(keep, decomposition, decomposition.find_source) as masks:
        mask = masks.at(int(decomposition.frame_index[row]), row)
    info = decomposition.info
    return mask.in_square(decomposition.quads[row], decomposition.crops.shape[1], (info.height, info.width))


def is_cheaper(schedule: Schedule, info: DecompositionInfo, steps: int, edits: int, guidance: Guidance) -> bool:
    """Tell whether inverting a frame with `steps` and decoding it, rebuilt and edited, takes fewer evaluations than the stored steps."""
    inversion = solvers.evaluations(info.solver, steps)[0]
    few, own = (guidance.evaluations(schedule.downwards(count, info.power)) for count in (steps, info.steps))
    return inversion + few * (1 + edits) < own * edits


def invert_frame(decomposition: Decomposition, model, row: int, z_face: Tensor, info: DecompositionInfo, callback: Callable) -> Tensor:
    """Compute the noise map [1, 3, S, S] of one frame with the steps of `info`, rounded as stored ones are."""
    x_0 = shrink(to_images(decomposition.crops[row][None], z_face.device), model.image_size)
    return solve(solvers.invert, model, x_0, z_face, info, callback).half().float()


def noise_maps(edits: Sequence[Decomposition], row: int, like: Tensor) -> Tensor:
    """Read the noise maps [B, 3, S, S] of one row of each edit; a switch replaces the stored ones."""
    return to_device(torch.from_numpy(np.stack([edit.x_T[row] for edit in edits])), like.device).float()


def evaluation_counter(progress: Progress, total: int) -> Callable:
    """Make a solver callback that reports progress by the evaluations of one frame."""
    done = 0

    def callback(i: int, steps: int, x: Tensor) -> None:
        nonlocal done
        done += 1
        progress("decode", min(1.0, done / max(1, total)), 1, picture_for(progress, lambda: as_picture(x[0].cpu().numpy())))

    return callback


def attribute_stills(
    decomposition: Decomposition, model, names: Sequence[str], scales: Sequence[float], row: int, **settings
) -> Mapping[str, list[np.ndarray]]:
    """Decode one frame with each attribute at each of `scales`, on top of existing edits: name -> pictures uint8 [C, C, 3].

    Settings and errors as of `stills`; DVAError for an unknown attribute.
    """
    attributes = AttributeSet.from_model(model)
    names = list(dict.fromkeys(attributes[name].name for name in names)) or attributes.names
    if not names:
        raise DVAError("This model has no attributes to lay out; load a model whose bundle has them.")
    if not scales:
        raise DVAError("There are no scales to lay out; give for example -0.8,-0.4,0,0.4,0.8.")
    edits = [apply_attributes(decomposition, model, {name: scale}) for name in names for scale in scales]
    pictures = stills(edits, model, row, **settings).edited
    return {name: pictures[i * len(scales) : (i + 1) * len(scales)] for i, name in enumerate(names)}
