"""Table 2 of Kim et al. 2023: is the person in an edited video the same in all frames? Does it flicker, and is the rest untouched?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..decomposition import Decomposition
from ..decomposition.info import source_frames
from ..decomposition.people import AnyDecomposition, Whom, one_person, people_of
from ..diffusion.solvers import SOLVER, STEPS
from ..edit import apply_attributes
from ..errors import DVAError
from ..faces.align import crop_face
from ..files import temporary_folder
from ..pipeline import decode, encode
from ..video import open_video
from . import metrics, paper
from .judges import Judge
from .table import Table

SQUARE = 256  # size in pixels of the compared squares
BATCH = 16
FIGURES = ("TL-ID", "TG-ID", "identity kept", "flicker before", "flicker after", "change in face", "change outside")


@dataclass(frozen=True)
class EditFigures:
    """An edited video against its source. Changes and flicker are in 8-bit levels, similarities cosines.

    tl_id, tg_id     see metrics; identity_kept: mean cosine of each frame with itself before the edit
    flicker_*        see metrics.Flicker
    face, outside    mean absolute change inside the face's mask, and outside the face's square
    series           per frame with a face: similarity to the frame before, before and after the edit [F - 1, 2]
    """

    frames: int
    tl_id: float
    tg_id: float
    identity_kept: float
    flicker_before: float
    flicker_after: float
    face: float
    outside: float
    series: np.ndarray

    @property
    def cells(self) -> list[float]:
        """The figures in the order of FIGURES."""
        return [self.tl_id, self.tg_id, self.identity_kept, self.flicker_before, self.flicker_after, self.face, self.outside]


def measure_edit(
    decomposition: AnyDecomposition,
    after: str | Path,
    judge: Judge,
    *,
    video: str | Path | None = None,
    progress=None,
    person: Whom = None,
) -> EditFigures:
    """Compare the source of `decomposition` with the video `after`, frame by frame, with a few frames in memory at a time.

    person: whose face to measure, of several people; "outside" means outside all of their squares.
    Raises DVAError if `after` does not have the frames and the size of the source.
    """
    everybody = people_of(decomposition)
    decomposition = one_person(decomposition, person, "A measurement")
    others = [dict(zip(one.frame_index.tolist(), one.quads)) for one in everybody if one is not decomposition]
    quads, masks, segment = decomposition.quads, decomposition.masks, decomposition.segment
    row_of = {int(index): row for row, index in enumerate(decomposition.frame_index)}
    flicker, vectors, changes, outside, last = metrics.Flicker(), PairedVectors(judge), [], [], None
    for index, (frame_before, frame_after) in enumerate(frames_of(decomposition, after, video)):
        row = row_of.get(index)
        squares_here = [own[index] for own in others if index in own] + ([] if row is None else [quads[row]])
        outside += change_outside(frame_before, frame_after, squares_here)
        if row is None:
            continue
        squares = [crop_face(frame, quads[row], SQUARE) for frame in (frame_before, frame_after)]
        mask = cv2.resize(masks[row], (SQUARE, SQUARE), interpolation=cv2.INTER_NEAREST) > 0
        if mask.any():
            changes.append(np.abs(squares[0].astype(np.int16) - squares[1]).mean(2)[mask].mean())
        if segment[row] != last:
            flicker.restart()
        last = segment[row]
        flicker.add(*squares, mask)
        vectors.add(*squares)
        if progress is not None:
            progress("evaluate", row + 1, len(row_of))
    before, edited = vectors.all()
    near = [metrics.neighbours(v, segment) for v in (before, edited)]
    return EditFigures(
        frames=len(before),
        tl_id=metrics.tl_id(before, edited, segment),
        tg_id=metrics.tg_id(before, edited),
        identity_kept=float((before * edited).sum(1).mean()),
        flicker_before=flicker.figures[0],
        flicker_after=flicker.figures[1],
        face=metrics.mean_of(changes),
        outside=metrics.mean_of(outside),
        series=np.stack(near, 1),
    )


class PairedVectors:
    """Identity vectors of faces before and after an edit, computed in batches as the faces are added."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._pictures: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        self._vectors: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def add(self, before: np.ndarray, after: np.ndarray) -> None:
        """Add the next face, uint8 [S, S, 3]."""
        for pictures, picture in zip(self._pictures, (before, after)):
            pictures.append(picture)
        if len(self._pictures[0]) == BATCH:
            self._embed()

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """The vectors [F, D] of all faces, before and after."""
        self._embed()
        before, after = (np.concatenate(vectors) for vectors in self._vectors)
        return before, after

    def _embed(self) -> None:
        for pictures, vectors in zip(self._pictures, self._vectors):
            if pictures:
                vectors.append(self.judge.embed(np.stack(pictures)))
                pictures.clear()


def change_outside(before: np.ndarray, after: np.ndarray, quads: Sequence[np.ndarray]) -> list[float]:
    """Mean absolute change outside the squares [4, 2] in a frame uint8 [H, W, 3]; none if they fill it, as in a close-up."""
    difference = np.abs(before.astype(np.int16) - after).mean(2)
    if not quads:
        return [difference.mean()]
    rest = ~np.any([square_mask(quad, difference.shape) for quad in quads], axis=0)
    return [difference[rest].mean()] if rest.any() else []


def edit_table(figures: EditFigures, judge: Judge, name: str = "edit") -> Table:
    """The figures of one edit, a row each; `name`: of the person, such as "person 2"."""
    table = Table(f"The {name} against its source", ["figure", "value"], notes=[f"{figures.frames} frames with a face."])
    for name, value in zip(FIGURES, figures.cells):
        table.add(name, value)
    table.notes.append(
        f"TL-ID, TG-ID: 1 is as consistent as the source. Identity judged by {judge.name}; flicker and changes in 8-bit levels."
    )
    return table


def frames_of(decomposition: Decomposition, after: str | Path, video: str | Path | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the frames of the source and of `after` together, uint8 [H, W, 3]."""
    source, info = decomposition.find_source(video), decomposition.info
    with source_frames(source, info) as before, open_video(after, **({"rate": info.rate} if Path(after).is_dir() else {})) as edited:
        shape = (edited.info.width, edited.info.height)
        if shape != (info.width, info.height):
            raise DVAError(
                f"{after} is {shape[0]} x {shape[1]} and its source {info.width} x {info.height}; give the video that was made of it."
            )
        iterator = iter(edited)
        for number, frame in enumerate(before):
            other = next(iterator, None)
            if other is None:
                raise DVAError(f"{after} has {number} frames and its source {info.frames}; give the video that was made of it.")
            yield frame.rgb, other.rgb
        if next(iterator, None) is not None:
            raise DVAError(f"{after} has more frames than the {info.frames} of its source; give the video that was made of it.")


def square_mask(quad: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of a frame inside the square with corners `quad` [4, 2], bool [H, W], with a margin of a pixel."""
    canvas = np.zeros(shape, np.uint8)
    centre = quad.mean(0)
    reach = quad - centre
    corners = centre + reach * (1 + 1.5 / np.linalg.norm(reach, axis=1, keepdims=True))
    return cv2.fillConvexPoly(canvas, np.rint(corners).astype(np.int32), 1) > 0


def names_of(videos: Sequence[str | Path]) -> list[str]:
    """Names of videos: those of their files, with a number appended to repeated ones."""
    names: list[str] = []
    for stem in (Path(video).stem for video in videos):
        free = (name for n in count(1) if (name := stem if n == 1 else f"{stem} ({n})") not in names)
        names.append(next(free))
    return names


def evaluate_consistency(
    videos: Sequence[str | Path],
    model,
    judge: Judge,
    edits: Mapping[str, Mapping[str, float]],
    *,
    steps: int = STEPS,
    solver: str = SOLVER,
    detail: str = "transfer",
    progress=None,
    **encoding: Any,
) -> tuple[Table, dict[tuple[str, str], EditFigures]]:
    """A row per video and edit (label -> attribute scales), the means of each edit, and the paper's; and the figures by name and label.

    Videos with the same name are told apart by a number (`names_of`).
    """
    table = Table(f"Temporal consistency of edits, {model.config.get('name', 'model')}", ["clip", "edit", "frames", *FIGURES])
    results: dict[tuple[str, str], EditFigures] = {}
    for name, video in zip(names_of(videos), videos):
        decomposition = encode(video, model, steps=steps, solver=solver, progress=progress, **encoding)
        for label, scales in edits.items():
            with temporary_folder() as folder:
                after = folder / "edited.mkv"  # lossless, so that the codec does not affect the figures
                decode(apply_attributes(decomposition, model, scales), model, after, detail=detail, codec="ffv1", progress=progress)
                figures = measure_edit(decomposition, after, judge)
            results[name, label] = figures
            table.add(name, label, figures.frames, *figures.cells)
    for label in edits:
        cells = np.mean([figures.cells for (_, name), figures in results.items() if name == label], 0)
        table.add("mean", label, "", *cells.tolist())
    for name, (local, overall) in paper.CONSISTENCY.items():
        table.add(f"paper: {name}", "", "", local, overall, *[None] * 5)
    table.notes += [
        f"T = {steps}, {solver}, detail {detail}. Identity judged by {judge.name}.",
        "Flicker and changes in 8-bit levels.",
        paper.SOURCE,
    ]
    if not judge.independent:
        table.notes.append("That network is the one that the edit moves; name another by --teachers for a judgement that counts.")
    return table, results
