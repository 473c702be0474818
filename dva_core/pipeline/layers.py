"""The edited faces of one or several people, pasted into the frames of their video one over the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from ..decomposition import Decomposition
from ..faces.align import side, smooth_over_time
from ..faces.composite import Drawing, lay_bare, paste
from ..faces.front import FrontMask
from ..faces.regions import Region
from ..model.arrays import as_picture
from ..progress import Progress, Stopwatch, picture_for
from ..video import Frame
from ..video.threads import in_order
from .drawing import EditedFace
from .front import FrontMasks
from .masks import SoftMasks

HIDDEN = 0.05  # share of the usually visible face from which it counts as partly hidden; masks of unhidden faces vary less
USUAL_ROWS = 64  # number of rows for the usual share
STEADY = 12.0  # frames over which the size of a face is smoothed, so that the order of two similar ones does not alternate


@dataclass(frozen=True)
class PlacedFace:
    """One face of one frame, ready to be pasted: see `composite.paste`. `whole`: the mask of the whole face; `size`: in frame pixels."""

    row: int
    quad: np.ndarray
    crop: np.ndarray
    rebuilt: np.ndarray
    mask: np.ndarray
    whole: np.ndarray
    front: FrontMask | None
    size: float
    drawing: Drawing | None = None


class FaceLayer:
    """One person's edited faces: those of all rows in order, pasted within `regions` of the face; records what changed.

    alone: there are no other people, whom this face may cover.
    """

    def __init__(
        self,
        decomposition: Decomposition,
        model,
        edited_faces: Iterator[EditedFace],
        regions: Sequence[Region],
        progress: Progress,
        alone: bool = True,
    ) -> None:
        self.decomposition, self.info, self.progress = decomposition, decomposition.info, progress
        self.rows = {int(index): row for row, index in enumerate(decomposition.frame_index)}
        self.quads, self.rebuilt, self.crop_size = decomposition.quads, decomposition.rebuilt, decomposition.crops.shape[1]
        self.masks = SoftMasks(decomposition, regions, model.motion_window)
        self.edited_faces, self.limited = edited_faces, bool(regions) and not alone
        self.edited: list[int] = []
        self.hidden: dict[int, float] = {}

    @cached_property
    def usual_hidden(self) -> float:
        """Share of the face, 0..1, that is hidden in at least half of the video, as by a fringe: the median over rows spread evenly."""
        rows = np.unique(np.linspace(0, len(self.rows) - 1, min(USUAL_ROWS, len(self.rows))).round().astype(int))
        return float(np.median([self.masks.hidden(row) for row in rows.tolist()])) if len(self.rows) else 0.0

    @cached_property
    def sizes(self) -> np.ndarray:
        """Side of the square in every row, smoothed [F]."""
        return smooth_over_time(np.array([side(quad) for quad in self.quads]), STEADY)

    def face_of(self, index: int) -> EditedFace | None:
        """Take the edited face of the next frame, number `index`; None if the person is not in it."""
        return next(self.edited_faces) if index in self.rows else None

    def place(self, index: int, face: EditedFace | None, frame_shape: tuple[int, ...], masks: FrontMasks | None) -> PlacedFace | None:
        """Make a PlacedFace of an edited face for its frame, and record whether it is partly hidden."""
        if face is None:
            return None
        row = self.rows[index]
        mask, front = self.masks[row], None if masks is None else masks.at(index, row)
        cover = None if front is None else front.in_square(self.quads[row], self.crop_size, frame_shape).values
        # relative to the share that is always hidden, as by a fringe
        share = 1 - min(1.0, (1 - self.masks.hidden(row, cover)) / max(1 - self.usual_hidden, 1e-6))
        if share >= HIDDEN:
            self.hidden[index] = round(share, 3)
        whole = self.masks.whole(row) if self.limited else mask
        crop, rebuilt = (part.astype(np.float32) for part in (face.crop, self.rebuilt[row]))
        return PlacedFace(row, self.quads[row], crop, rebuilt, mask, whole, front, float(self.sizes[row]), face.drawing)

    def note(self, index: int, face: PlacedFace | None, changed: bool) -> None:
        """Record that the frame is done, and whether this face changed a pixel of it."""
        if changed:
            self.edited.append(index)
        if face is not None:
            self.progress("decode", face.row + 1, len(self.rows), picture_for(self.progress, partial(as_picture, face.crop)))


def paste_all(frame: Frame, faces: Sequence[PlacedFace | None], detail: str) -> tuple[Frame, list[bool]]:
    """Paste the faces into a frame, the largest last: (result, the frame itself where no pixel changed; which of them changed it)."""
    rgb, result, inside = frame.rgb, frame.rgb, None
    changed = [False] * len(faces)
    for number in sorted((n for n, face in enumerate(faces) if face is not None), key=lambda n: faces[n].size):
        face = faces[number]
        below = None if result is rgb else lay_bare(result, rgb, face.quad, face.whole, face.front)
        candidate, part = paste(rgb, face.quad, face.crop, face.rebuilt, face.mask, detail, face.front, below, face.drawing)
        changed[number] = not np.array_equal(candidate, rgb if below is None else below)
        inside = part if inside is None else inside | part
        if below is not None or changed[number]:
            result = candidate
    return (frame if inside is None else frame.with_rgb(result, inside)), changed


def paste_frames(
    frames: Iterable[Frame], layers: Sequence[FaceLayer], masks: FrontMasks | None, detail: str, threads: int, clock: Stopwatch
) -> Iterator[tuple[int, Frame, list[PlacedFace | None], Frame, list[bool]]]:
    """Paste the faces of all layers into the frames of the video: (number, frame, faces, result, which faces changed it) in order.

    masks: of what stays in front; threads: number of threads that paste while the next frame is read, 0: none.
    """

    def place() -> Iterator[tuple[int, Frame, list[PlacedFace | None]]]:
        for index, frame in enumerate(clock.each("video", frames)):
            edited = [layer.face_of(index) for layer in layers]
            with clock("paste"):
                faces = [layer.place(index, face, frame.rgb.shape, masks) for layer, face in zip(layers, edited)]
            yield index, frame, faces

    def paste_one(item: tuple) -> tuple:
        index, frame, faces = item
        with nullcontext() if threads else clock("paste"):
            return index, frame, faces, *paste_all(frame, faces, detail)

    return in_order(paste_one, place(), threads)
