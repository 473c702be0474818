"""Decoding of a decomposition to a video (Kim et al. 2023, sec. 3), streamed: memory never holds all frames.

x_T[n], edited z_face[n] -> edited crops -> pasted into the untouched frames -> video with its own sound and rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..decomposition import Decomposition, check_model
from ..decomposition.arrays import row_numbers
from ..decomposition.info import source_frames
from ..decomposition.people import AnyDecomposition, People, one_person, people_of
from ..diffusion import solvers
from ..diffusion.guidance import Guidance
from ..edit.scope import check_tone, is_background, keeps_tone, regions_of
from ..errors import DVAError
from ..faces.composite import Drawing
from ..faces.segments import spans
from ..faces.tone import remove_tone
from ..files import check_spares
from ..hosts.devices import to_device
from ..hosts.results import as_here, fetch, two_in_flight
from ..model.arrays import as_picture
from ..model.evaluation import usual_batch
from ..progress import Progress, Shares, Stopwatch, picture_for, silent
from ..values import whole
from ..video import Frame, VideoWriter, check_encoding, check_output
from ..video.threads import WriteBehind, read_ahead
from .drawing import Drawer, EditedFace, drawn_face, drawn_size, only_drawn
from .front import FrontMasks, Keep
from .layers import FaceLayer, PlacedFace, paste_frames
from .solving import begin, edited_face, is_finite, own_face, solve

PASTE_THREADS = 3  # with a GPU; on a CPU the decoding uses all cores
ROWS = 64  # rows a batch for the sizes of the edits
DETAILS = ("transfer", "model")


@dataclass(frozen=True)
class DecodeReport:
    """Result of `decode`: its path, the number of `frames` written, and `faces`, the number of those with a decoded face.

    edited        stretches [first, last] of frames in which a pixel changed
    hidden        frame -> share of the face that its mask excludes or a mask of `keep` covers, relative to what is usually visible, if it
                  is HIDDEN or more; of several faces the largest
    people        number of each of several people -> {"faces": rows, "edited": stretches, "hidden": {frame: share}, "usual_hidden": share}
    usual_hidden  share of the face that its mask excludes in most frames, as for a fringe: the median; of several people the largest
    """

    path: Path
    frames: int
    faces: int
    edited: list[list[int]] = field(default_factory=list)
    hidden: dict[int, float] = field(default_factory=dict)
    people: dict[int, dict[str, Any]] = field(default_factory=dict)
    usual_hidden: float = 0.0


def decode_crops(
    decomposition: Decomposition,
    model,
    indices: Sequence[int] | None = None,
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
    guidance: float | None = None,
) -> Iterator[np.ndarray]:
    """Yield the edited crops, float16 [3, S, S] in [-1, 1], of the rows `indices` (all by default) in that order.

    `guidance` is that of `decode`. Without edits the stored rebuilt crops are returned and the model is not run.
    Raises DVAError for a decomposition of another model, or guidance out of range.
    """
    decomposition = one_person(decomposition, None, "Decoding crops")
    check_model(decomposition, model)
    guided = Guidance.from_config(model.config, guidance)
    rows = range(decomposition.faces) if indices is None else row_numbers(indices, decomposition.faces)
    batch = whole(batch_size, "batch size", 1) or usual_batch(model, guided.is_on)
    return (face.crop for face in decode_faces(decomposition, model, rows, batch, progress or silent, guided, draw=0))


def decode_faces(
    decomposition: Decomposition, model, indices: Sequence[int], batch: int, progress: Progress, guided: Guidance, draw: int
) -> Iterator[EditedFace]:
    """Yield the edited faces of these rows; with `draw`, pixels, and if the model draws, with what is drawn of them, as fine as that."""
    if not decomposition.is_edited:
        yield from (EditedFace(decomposition.rebuilt[row]) for row in indices)
        return
    draw = draw if model.draws else 0
    drawer = Drawer(decomposition, model, draw)
    decomposition, info, host = drawer.still, decomposition.info, model.host
    known = only_drawn(decomposition, model, range(decomposition.faces)) if draw else np.zeros(decomposition.faces, bool)

    def decode_some(positions: range, run=begin) -> Callable[[], tuple[range, list[EditedFace] | None]]:
        """Begin a batch; the function returned gives its faces, or None if there are values that are not finite numbers."""
        rows = indices[positions.start : positions.stop]
        z_face = edited_face(decomposition, model, rows)
        before = own_face(decomposition, model, rows) if guided.is_on or draw else None
        drawn = drawer.draw(rows, z_face, before) if draw else ()
        if known[rows].all():
            fetched, rebuilt = fetch(*drawn), decomposition.rebuilt[rows]
            return lambda: (positions, list(map(drawn_face, rebuilt, drawer.finish(rows, fetched(), False))))
        x_T = to_device(torch.from_numpy(decomposition.x_T[rows]), z_face.device).float()

        def report(i: int, steps: int, x: Tensor) -> None:
            picture = picture_for(progress, lambda: as_picture(x[0].cpu().numpy()))
            progress("decode", positions.start + len(rows) * i / steps, len(indices), picture)

        crops = run(solvers.sample, model, x_T, z_face, info, report, guided, before if guided.is_on else None)
        fetched = fetch(crops.half(), is_finite(crops), *drawn)

        def take() -> tuple[range, list[EditedFace] | None]:
            crops, finite, *parts = fetched()
            return positions, list(map(EditedFace, crops, drawer.finish(rows, parts, True))) if finite else None

        return take

    def decode_again(positions: range) -> list[EditedFace]:
        return decode_some(positions, solve)()[1]

    for positions, faces in two_in_flight(host.run_batched(decode_some, range(len(indices)), batch), host.device):
        for some in [faces] if faces is not None else host.run_batched(decode_again, positions, len(positions)):
            yield from some


def decode(
    decomposition: AnyDecomposition,
    model,
    out: str | Path,
    *,
    detail: str = "transfer",
    codec: str = "h264",
    quality: int = 18,
    video: str | Path | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    clock: Stopwatch | None = None,
    watch=None,
    compatible: bool = False,
    guidance: float | None = None,
    tone: str | None = None,
    region: str | None = None,
    keep: Keep | None = None,
) -> DecodeReport:
    """Decode a decomposition with its edits to a video: every frame of the source, its own sound, rate and size.

    detail      "transfer": the difference between edited and rebuilt crop is added to the original frame, so its fine detail stays and
                an edit of nothing changes no pixel; what the edit draws (see `drawing`) is drawn at the frame's resolution instead.
                "model": the decoded crop itself, as in the paper
    codec       "h264", "h265", "ffv1" (lossless, .mkv) or "png" (a folder); `quality` is the constant rate factor of the first two, 0..51,
                lower is better, 0 lossless
    video       path of the source, if it has moved
    compatible  h264 that every player shows: 8 bits, 4:2:0, even sizes (the last column or row is repeated), AAC or MP3 sound
    watch       called for each frame with (number, row or None, original frame, result frame, edited crop or None); for several people
                with a list of rows and one of crops
    guidance    weight of the edit guidance (see diffusion.guidance): 1 as in the paper, usually 2 to 3; None: the bundle's own
    tone        "keep": subtract the change that is common to the whole face (see faces.tone); "change": leave it, as in the paper;
                None: decided by the edits (see edit.scope)
    region      the region of the face that may change (see faces.regions), "off": all of it, None: the regions of the edits
    keep        what stays in front, such as a hand: one mask [h, w] for all frames, or [n, h, w] one for each, in 0..1, or the path of a
                picture, a folder of pictures or a video in which white is kept. No pixel inside a mask changes; its edge is softened
                outwards. A mask with the aspect ratio of the frame covers the frame, a square one the face crop, at any resolution; n is
                the number of frames, of frames of the source, or, for masks of crops, of rows

    Several people are decoded in one pass over the video; where faces overlap, the larger one is in front. Frames without a face are
    copied. Raises DVAError if the source is missing or has changed, for a decomposition of another model, or
    for an output that cannot be written or is the source itself; then no output is left behind.
    """
    people = people_of(decomposition)
    for one in people:
        check_model(one, model)
    check_detail(detail)
    check_encoding(codec, quality, compatible=compatible)
    Guidance.from_config(model.config, guidance)
    check_tone(tone)
    regions = [regions_of(one, model, region) for one in people]
    progress, clock = progress or silent, clock or Stopwatch()
    with clock("video"):
        source = decomposition.find_source(video)
        check_output(out, codec, source)
        check_spares(out, "output", read_files(people, model, keep))
        masks = nullcontext() if keep is None else FrontMasks(keep, decomposition, lambda: source)
        frames = source_frames(source, decomposition.info)
    ahead = ExitStack()
    layers = make_layers(
        people, regions, model, tone, progress, clock, ahead, batch_size=batch_size, guidance=guidance, draw=detail == "transfer"
    )
    threads = 0 if model.host.device.type == "cpu" else PASTE_THREADS
    count, edited = 0, []
    with (
        ahead,
        frames,
        masks as in_front,
        VideoWriter(out, frames.info, codec=codec, quality=quality, audio_from=source, compatible=compatible) as writer,
        WriteBehind(writer.write) as queue,
    ):
        for index, frame, faces, result, changed in paste_frames(frames, layers, in_front, detail, threads, clock):
            with clock("video"):
                queue.put(result)
            if result is not frame:
                edited.append(index)
            if watch is not None:
                show(watch, index, frame, result, faces, single=not isinstance(decomposition, People))
            count += 1
            for layer, face, differs in zip(layers, faces, changed):
                layer.note(index, face, differs)
        if count != decomposition.info.frames:
            raise DVAError(f"{source} gave {count} frames where {decomposition.info.frames} were encoded; encode it again.")
    return make_report(Path(out), count, spans(edited), layers)


def read_files(people: Sequence[Decomposition], model, keep: Keep | None) -> list[Path]:
    """List the files, beside the source, that decoding reads and so must not overwrite."""
    stores = [file for one in people for file in one.store.files]
    return [*stores, model.path, *([keep] if isinstance(keep, (str, PathLike)) else [])]


def make_layers(
    people: Sequence[Decomposition],
    regions: Sequence,
    model,
    tone: str | None,
    progress: Progress,
    clock: Stopwatch,
    ahead: ExitStack,
    **settings,
) -> list[FaceLayer]:
    """Make each person's layer of decoded faces; `settings` are those of `decode_crops`. Progress counts the faces of all people.

    ahead: ends the thread that decodes the next faces of a single person beside an NVIDIA or AMD card.
    """
    alone = ahead if len(people) == 1 and model.host.device.type == "cuda" else None  # threads of several would share the network
    shares = Shares(progress, [one.faces for one in people])
    layers = []
    for number, (one, own_regions) in enumerate(zip(people, regions)):
        faces = edited_faces(one, model, tone, clock, alone, progress=shares.of(number), **settings)
        layers.append(FaceLayer(one, model, faces, own_regions, shares.of(number), alone=len(people) == 1))
    return layers


def show(watch: Callable, index: int, frame: Frame, result: Frame, faces: Sequence[PlacedFace | None], single: bool) -> None:
    """Call `watch` as `decode` describes: with the row and the crop of a single person, or with lists of them."""
    rows, crops = [None if face is None else face.row for face in faces], [None if face is None else face.crop for face in faces]
    watch(index, rows[0] if single else rows, frame, result, crops[0] if single else crops)


def edited_faces(
    decomposition: Decomposition,
    model,
    tone: str | None,
    clock: Stopwatch,
    ahead: ExitStack | None,
    *,
    guidance: float | None,
    batch_size: int | None,
    progress: Progress,
    draw: bool,
) -> Iterator[EditedFace]:
    """Decode the faces of all rows as they are pasted, less the tone of the edit if it is removed; with `ahead` in a thread of its own."""
    guided = Guidance.from_config(model.config, guidance)
    batch = whole(batch_size, "batch size", 1) or usual_batch(model, guided.is_on)
    faces = decode_faces(
        decomposition, model, range(decomposition.faces), batch, progress, guided, drawn_size(decomposition) if draw else 0
    )
    if ahead is not None and decomposition.is_edited:
        faces = ahead.enter_context(closing(read_ahead(as_here(faces), depth=usual_batch(model))))
    if decomposition.is_edited and keeps_tone(decomposition, model, tone):
        faces = without_tone(faces, decomposition, model)
    return clock.each("decode", faces)


def without_tone(faces: Iterator[EditedFace], decomposition: Decomposition, model) -> Iterator[EditedFace]:
    """Yield the faces with the tone of the edit removed from their crops (see `faces.tone`)."""
    waiting: deque[Drawing | None] = deque()

    def crops() -> Iterator[np.ndarray]:
        for face in faces:
            waiting.append(face.drawing)
            yield face.crop

    sizes = edit_sizes(decomposition, model)
    for crop in remove_tone(crops(), decomposition.rebuilt, decomposition.masks, decomposition.segment, sizes):
        yield EditedFace(crop, waiting.popleft())


def make_report(path: Path, frames: int, edited: list[list[int]], layers: Sequence[FaceLayer]) -> DecodeReport:
    hidden = {index: max(layer.hidden.get(index, 0.0) for layer in layers) for index in sorted({i for one in layers for i in one.hidden})}
    usual = [round(layer.usual_hidden, 3) for layer in layers]
    people = {
        layer.info.person: {"faces": len(layer.rows), "edited": spans(layer.edited), "hidden": layer.hidden, "usual_hidden": share}
        for layer, share in zip(layers, usual)
    }
    faces = sum(len(layer.rows) for layer in layers)
    return DecodeReport(path, frames, faces, edited, hidden, people if len(layers) > 1 else {}, max(usual, default=0.0))


def check_detail(detail: str) -> None:
    """DVAError for a name that is not one of DETAILS."""
    if detail not in DETAILS:
        raise DVAError(f"There is no detail {detail!r}; choose one of {', '.join(DETAILS)}.")


def edit_sizes(decomposition: Decomposition, model) -> np.ndarray:
    """Compute the distance [F] by which the edits move each frame's z_face; 1 in all frames if they replace noise maps."""
    if any(is_background(operation) for operation in decomposition.operations):
        return np.ones(decomposition.faces)
    parts = [range(decomposition.faces)[start : start + ROWS] for start in range(0, decomposition.faces, ROWS)]
    steps = [
        (edited_face(decomposition, model, rows) - own_face(decomposition, model, rows)).cpu().double().norm(dim=1).numpy()
        for rows in parts
    ]
    return np.concatenate(steps)
