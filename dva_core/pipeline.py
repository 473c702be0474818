"""A video taken apart and put back (Kim et al. 2023, sec. 3), streaming: at no time are all frames in memory.

encode: frames -> track -> crops -> z_id (one), z_motion[n], x_T[n], mask[n] -> the crops as rebuilt from these.
decode: x_T[n], edited z_face[n] -> edited crops -> pasted into the untouched frames -> video with its own sound and rate.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .autoencoder import activation_bytes
from .clip_arrays import array_specs, row_numbers
from .clip_info import ClipInfo, source_hash
from .decomposition import Decomposition, abandoned_on_error, check_model
from .diffusion import solvers
from .diffusion.guidance import Guidance, Guided
from .diffusion.schedule import Schedule
from .edit.meant import check_tone, is_background, keeps_tone, regions_of
from .errors import DVAError
from .faces.align import crop_face
from .faces.composite import paste
from .faces.tone import without_tone
from .faces.track import FaceTrack, track_faces
from .files import check_place
from .finder import DETECTORS, FaceFinder, resolve_select, to_images
from .masks import SoftMasks
from .paths import check_input, check_spares
from .progress import Progress, Stopwatch, silent
from .sheet import as_picture
from .tensorfile import TensorFile, TensorMemory, TensorStore, check_scratch
from .values import real, whole
from .video import VideoWriter, check_encoding, check_output, open_video
from .video.square import square_frames, to_stored
from .video.threads import Behind, ahead

logger = logging.getLogger(__name__)

IN_MEMORY = 64_000_000  # bytes of arrays up to which a decomposition without a file stays in memory
ROWS = 64  # looked at together where all frames are
DETAILS = ("transfer", "model")


@dataclass(frozen=True)
class DecodeReport:
    """What `decode` wrote: `frames` in all, of which `faces` were changed and the others passed through."""

    path: Path
    frames: int
    faces: int


class Clip:
    """The chosen frames of a video: as much as fits `max_frames` of what the reader gives; may be iterated again.

    A thread reads a few frames ahead. Use it as a context manager: leaving it ends iterations left half-way.
    """

    def __init__(
        self,
        source: str | Path,
        start: float = 0.0,
        length: float | None = None,
        every: int = 1,
        max_frames: int | None = None,
        rate: float | Fraction | None = None,
    ):
        if max_frames is not None and max_frames < 1:
            raise DVAError(f"The most frames to take cannot be {max_frames}; use 1 or more.")
        self._reader = open_video(source, start=start, length=length, every=every, **({} if rate is None else {"rate": rate}))
        self.info, self._max_frames = self._reader.info, max_frames
        self._running: weakref.WeakSet = weakref.WeakSet()
        if max_frames is not None and max_frames < (self.info.frames or max_frames + 1):  # the sound ends with the pictures
            shown = max_frames / self.info.rate
            self.info = replace(self.info, length=shown if self.info.length is None else min(shown, self.info.length))

    @classmethod
    def of(cls, source: Path, info: ClipInfo) -> Clip:
        """The frames a decomposition was made of."""
        return cls(source, info.start, info.length, info.every, info.max_frames, info.rate * info.every if source.is_dir() else None)

    @property
    def total(self) -> int:
        """How many frames to expect; 0 where the container does not say."""
        return min(self.info.frames or 0, self._max_frames or self.info.frames or 0)

    def __iter__(self) -> Iterator[Any]:
        frames = ahead(up_to(iter(self._reader), self._max_frames))
        self._running.add(frames)
        return frames

    def __enter__(self) -> Clip:
        self._reader.__enter__()
        return self

    def __exit__(self, *error) -> None:
        for frames in list(self._running):
            frames.close()
        self._reader.__exit__(*error)


def up_to(frames: Iterator[Any], most: int | None) -> Iterator[Any]:
    """The first `most` frames, or all; closes `frames` when closed itself."""
    with closing(frames):
        yield from islice(frames, most)


def check_steps(steps: int, train_steps: int = 1000, power: float = 1.0) -> int:
    """`steps`, when a schedule of so many train_steps has them; else DVAError. For checking before there is a model."""
    Schedule(train_steps).timesteps(steps, power)
    return steps


def usual_batch(model, guided: bool = False) -> int:
    """Frames that go through the noise predictor together when nothing else is asked for; halved by the host where they do not fit.

    On a CPU 16 of 64 pixels a core; elsewhere as many as half of the free memory holds. Never more than 64, which no device fills better.
    Half as many where each is evaluated twice at once (`guided`).
    """
    host, pixels = model.host, model.image_size**2
    if host.device.type == "cpu":
        fit = (1 << 16) * torch.get_num_threads() // pixels
    elif (free := host.free_bytes()) is None:
        fit = (1 << 20) // pixels
    else:
        fit = free // (2 * activation_bytes(model.noise_predictor, range(1), host.dtype))
    return max(1, min(64, fit) // (1 + guided))


def encode(
    source: str | Path,
    model,
    *,
    steps: int = solvers.STEPS,
    solver: str = solvers.SOLVER,
    max_frames: int | None = None,
    start: float = 0.0,
    length: float | None = None,
    every: int = 1,
    rate: float | Fraction | None = None,
    select: str | tuple = "largest",
    batch_size: int | None = None,
    path: str | Path | None = None,
    scratch: str | Path | None = None,
    progress: Progress | None = None,
    clock: Stopwatch | None = None,
    power: float | None = None,
    clamp: bool = True,
    detector: str = "own",
) -> Decomposition:
    """Takes a video apart. Two passes over it: one finds the face, one cuts it out; then each crop is inverted.

    source      a video file, or a folder of pictures
    steps       diffusion steps each way, 1..1000; `solver` one of diffusion.solvers.CLIP_SOLVERS
    max_frames, start, length (seconds), every (take each n-th frame): which part of the video
    rate        pictures a second, of a folder of pictures (25)
    select      which face: "largest", ("position", x, y) in fractions of the frame, ("reference", FILE)
    batch_size  frames evaluated together; changes the speed, not the result
    path        where to stream the decomposition to (.safetensors); None: memory, or a temporary file when it is long
    scratch     the folder of that temporary file (the system's)
    progress    see dva_core.progress.Progress; may raise to cancel, nothing is left behind
    clock       takes the seconds spent on "video", "track" and "encode"
    power       of the timesteps: 1 even, above it they lie closer where the noise is weak (see Schedule.timesteps); None: what suits
                the solver
    clamp       the network's estimate of the image is brought into [-1, 1] in each step
    detector    what finds the faces: "own", the model's, or "insightface", where that is installed

    Raises DVAError for a video that cannot be read or has no face in it, settings that make no sense, a full disk.
    """
    progress, clock = progress or silent, clock or Stopwatch()
    source = check_input(source)
    steps, every, max_frames = whole(steps, "number of steps"), whole(every, "step between frames", 1), whole(max_frames, "most frames")
    start, length, power = real(start, "start"), real(length, "length"), real(power, "power")
    batch_size = whole(batch_size, "batch size", 1)
    solvers.named(solver, solvers.CLIP_SOLVERS)
    if detector not in DETECTORS:
        raise DVAError(f"There is no detector {detector!r}; choose one of {', '.join(DETECTORS)}.")
    power = solvers.power_of(solver, power)
    model.schedule.timesteps(steps, power)
    batch = batch_size or usual_batch(model)
    if path is not None:
        check_place(path)
        check_spares(path, "output", [source, *(select[1:] if select[0] == "reference" else ()), model.path])
    elif scratch is not None:
        check_scratch(scratch)
    with clock("video"):
        clip = Clip(source, start, length, every, max_frames, rate)
        digest = source_hash(source)
    with clip:
        track = find_face(clip, model, source, select, progress, clock, detector)
        rows = np.flatnonzero(np.isfinite(track.quads).all((1, 2)))
        specs = array_specs(len(rows), model.image_size, model.crop_size, model.identity_dim, model.motion_dim)
        info = ClipInfo(
            source=str(Path(source).resolve()),
            sha256=digest,
            width=clip.info.width,
            height=clip.info.height,
            rate=clip.info.rate,
            frames=len(track.quads),
            start=start,
            length=length,
            every=every,
            max_frames=max_frames,
            track=track.report(),
            model_name=model.config.get("name", ""),
            model_fingerprint=model.fingerprint,
            image_size=model.image_size,
            steps=steps,
            solver=solver,
            power=power,
            clamp=bool(clamp),
            precision=str(model.host.dtype).removeprefix("torch."),
            dva_version=_version(),
        )
        with abandoned_on_error(_store(path, scratch, specs, {**info.to_metadata(), "operations": "[]"})) as store:
            store.write("frame_index", 0, rows)
            store.write("segment", 0, np.cumsum(track.starts)[rows])
            store.write("quads", 0, track.quads[rows])
            cut_out(clip, model, store, batch, clock)
            invert_crops(model, store, info, batch, progress, clock)
            store.commit()
    return Decomposition(store, info)


def find_face(
    clip: Clip, model, source: str | Path, select: str | tuple, progress: Progress, clock: Stopwatch, detector: str = "own"
) -> FaceTrack:
    """Pass 1: the face through the clip, in stored pixels. DVAError where there are no frames or no face."""
    with clock("track"):
        finder = FaceFinder.of(model, detector)
        track = track_faces(
            square_frames(clock.each("video", clip), clip.info),
            finder.detector,
            finder.landmarker,
            select=resolve_select(select, finder),
            embed_fn=finder.embed,
            same_person=finder.same_person,
            progress=lambda done: progress("track", done, clip.total),
        )
    if not len(track.quads):
        raise DVAError(f"{source} has no frames in the chosen range; check start and length, or the file.")
    if not np.isfinite(track.quads).all((1, 2)).any():
        raise DVAError(
            f"No face was found in the {len(track.quads)} frames of {source}; use a clip that shows one large, bright and from the front."
        )
    return replace(track, quads=to_stored(track.quads, clip.info), landmarks=to_stored(track.landmarks, clip.info))


@torch.inference_mode()
def cut_out(clip: Clip, model, store: TensorStore, batch: int, clock: Stopwatch) -> None:
    """Pass 2: crops, masks, identity and motion of every frame with a face; then the clip's identity, the plain mean."""
    rows, quads = store.read("frame_index"), store.read("quads")
    row_of = {int(index): row for row, index in enumerate(rows)}
    done, crops = 0, []

    def encode_some(part: np.ndarray) -> tuple[np.ndarray, ...]:
        images = to_images(part)
        parts = model.encode_identity(images), model.encode_motion(images), model.face_mask(images)[:, 0]
        return tuple(part.float().cpu().numpy() for part in parts)

    def flush() -> None:
        nonlocal done
        stack = np.stack(crops)
        store.write("crops", done, stack)
        for z_id, z_motion, mask in model.host.run_batched(encode_some, stack, batch):
            store.write("z_id_frames", done, z_id)
            store.write("z_motion", done, z_motion)
            store.write("masks", done, mask)
            done += len(z_id)
        crops.clear()

    with clock("encode"):
        for index, frame in enumerate(clock.each("video", clip)):
            if index in row_of:
                crops.append(crop_face(frame.rgb, quads[row_of[index]], model.crop_size))
            if len(crops) == batch:
                flush()
        if crops:
            flush()
        if done != len(rows):
            raise DVAError("The video gave fewer frames the second time it was read; copy it to a local disk and try again.")
        store.write("z_id", 0, store.read("z_id_frames").mean(0))
        store.write("z_id_edited", 0, store.read("z_id"))


def invert_crops(model, store: TensorStore, info: ClipInfo, batch: int, progress: Progress, clock: Stopwatch) -> None:
    """Crops -> noise maps -> crops as the stored (half precision) noise maps give them back."""
    z_id, total = store.read("z_id"), len(store.read("frame_index"))
    evaluations = sum(solvers.evaluations(info.solver, info.steps))

    def invert_some(rows: range) -> int:
        crops = store.read("crops", rows.start, rows.stop)
        x_0 = shrink(to_images(crops), model.image_size)
        z_face = fuse(model, z_id, store.read("z_motion", rows.start, rows.stop))
        preview, spent = crops[0], 0

        def tell(*_) -> None:
            nonlocal spent
            spent += 1
            progress("encode", rows.start + len(rows) * min(1.0, spent / evaluations), total, preview)

        x_T = solve(solvers.invert, model, x_0.to(z_face.device), z_face, info, tell).half()
        rebuilt = solve(solvers.sample, model, x_T.float(), z_face, info, tell).half()
        store.write("x_T", rows.start, x_T.cpu().numpy())
        store.write("rebuilt", rows.start, rebuilt.cpu().numpy())
        return len(rows)

    with clock("encode"):
        for _ in model.host.run_batched(invert_some, range(total), batch):
            pass


def decode_crops(
    decomposition: Decomposition,
    model,
    indices: Sequence[int] | None = None,
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
    guidance: float | None = None,
) -> Iterator[np.ndarray]:
    """The edited crops, one after another: float16 [3, S, S] in [-1, 1], of the rows `indices` (all by default), in their order.

    `guidance` as of `decode`. Where nothing was edited these are the rebuilt crops themselves and nothing is evaluated.
    Raises DVAError for a clip of another model, or a guidance that makes no sense.
    """
    check_model(decomposition, model)
    guided = Guidance.from_config(model.config, guidance)
    rows = range(decomposition.faces) if indices is None else row_numbers(indices, decomposition.faces)
    batch = whole(batch_size, "batch size", 1) or usual_batch(model, guided.is_on)
    return _crops(decomposition, model, rows, batch, progress or silent, guided)


def _crops(clip: Decomposition, model, indices: Sequence[int], batch: int, progress: Progress, guided: Guidance) -> Iterator[np.ndarray]:
    if not clip.is_edited:
        yield from (clip.rebuilt[row] for row in indices)
        return
    done, info = 0, clip.info

    def decode_some(rows: Sequence[int]) -> np.ndarray:
        z_face = edited_face(clip, model, rows)
        x_T = torch.from_numpy(clip.x_T[rows]).float().to(z_face.device)

        def tell(i: int, steps: int, x: Tensor) -> None:
            progress("decode", done + len(rows) * i / steps, len(indices), as_picture(x[0].cpu().numpy()))

        before = own_face(clip, model, rows) if guided.is_on else None
        return solve(solvers.sample, model, x_T, z_face, info, tell, guided, before).half().cpu().numpy()

    for crops in model.host.run_batched(decode_some, indices, batch):
        yield from crops
        done += len(crops)


def decode(
    decomposition: Decomposition,
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
) -> DecodeReport:
    """Puts the clip back together with its edits: every frame of the source, its own sound, rate and size.

    detail      "transfer": the difference between edited and rebuilt crop is added to the original frame, so its fine detail stays and
                an edit of nothing changes no pixel; "model": the decoded crop itself, as in the paper
    codec       "h264", "h265", "ffv1" (lossless, .mkv) or "png" (a folder); `quality` is the constant rate factor of the first two, 0..51,
                lower is better, 0 lossless
    video       where the source lies now, if not where it was
    compatible  h264 that every player shows: 8 bits of 4:2:0, an odd size made even (the last column or row repeated), AAC or MP3 sound
    watch       called for each frame with (number, row or None, original frame, result frame, edited crop or None)
    guidance    how plainly the edit is told (see diffusion.guidance): 1 as in the paper, usually 2 to 3; None: the bundle's own

    tone        "keep": what the edit changes in the whole face alike is taken away (see faces.tone); "change": it stays, as in the paper;
                None: as the edit means it (see edit.meant)
    region      where the edit may be seen: a region of the face (see faces.regions), "off": all of it, None: those of the edit

    Frames without a face pass through untouched. Raises DVAError when the source is not there or has changed, for a clip of
    another model, or an output that cannot be written or is the source itself; then no output is left behind.
    """
    check_model(decomposition, model)
    if detail not in DETAILS:
        raise DVAError(f"There is no detail {detail!r}; choose one of {', '.join(DETAILS)}.")
    check_encoding(codec, quality, compatible=compatible)
    Guidance.from_config(model.config, guidance)
    check_tone(tone)
    regions = regions_of(decomposition, model, region)
    progress, clock, info = progress or silent, clock or Stopwatch(), decomposition.info
    with clock("video"):
        source = decomposition.find_source(video)
        check_output(out, codec, source)
        check_spares(out, "output", [*decomposition.store.files, model.path])
        clip = Clip.of(source, info)
    row_of = {int(index): row for row, index in enumerate(decomposition.frame_index)}
    edited = decode_crops(decomposition, model, batch_size=batch_size, progress=progress, guidance=guidance)
    if decomposition.is_edited and keeps_tone(decomposition, model, tone):
        strengths = moved_by(decomposition, model)
        edited = without_tone(edited, decomposition.rebuilt, decomposition.masks, decomposition.segment, strengths)
    edited = clock.each("decode", edited)
    quads, rebuilt, count = decomposition.quads, decomposition.rebuilt, 0
    masks = SoftMasks(decomposition, regions, model.motion_window)
    with (
        clip,
        VideoWriter(out, clip.info, codec=codec, quality=quality, audio_from=source, compatible=compatible) as writer,
        Behind(writer.write) as written,
    ):
        for index, frame in enumerate(clock.each("video", clip)):
            row, changed, crop = row_of.get(index), frame, None
            if row is not None:
                crop = next(edited).astype(np.float32)
                with clock("paste"):
                    rgb, inside = paste(frame.rgb, quads[row], crop, rebuilt[row].astype(np.float32), masks[row], detail)
                    changed = frame.with_rgb(rgb, inside)
            with clock("video"):
                written.put(changed)
            if watch is not None:
                watch(index, row, frame, changed, crop)
            count += 1
            if row is not None:
                progress("decode", row + 1, len(row_of), as_picture(crop))
        if count != info.frames:
            raise DVAError(f"{source} gave {count} frames where {info.frames} were encoded; encode it again.")
    return DecodeReport(Path(out), count, len(row_of))


def shrink(images: Tensor, size: int) -> Tensor:
    """[B, 3, S, S] -> [B, 3, size, size], averaged over areas."""
    return images if images.shape[-1] == size else F.interpolate(images, (size, size), mode="area")


def fuse(model, z_id: np.ndarray, z_motion: np.ndarray) -> Tensor:
    """z_face [B, F] of one identity [D], or one a frame [B, D], and the motion of B frames [B, D_motion]."""
    return model.fuse(torch.from_numpy(np.asarray(z_id, np.float32)), torch.from_numpy(np.ascontiguousarray(z_motion, np.float32)))


def edited_face(clip: Decomposition, model, rows: Sequence[int]) -> Tensor:
    """z_face [B, F] of these rows with all edits."""
    return fuse(model, clip.current_identity(rows), clip.current_z_motion(rows))


def own_face(clip: Decomposition, model, rows: Sequence[int]) -> Tensor:
    """z_face [B, F] of these rows before all edits, a switch included."""
    if any(operation.get("name") == "switch" and operation.get("motion") for operation in clip.operations):
        motion = model.encode_motion(to_images(clip.crops[rows])).float().cpu().numpy()  # the stored one is another clip's
    else:
        motion = clip.z_motion[rows]
    return fuse(model, clip.z_id, motion)


def moved_by(clip: Decomposition, model) -> np.ndarray:
    """[F], how far the edits move each frame's z_face; 1 in all where other noise maps than its own are decoded."""
    if any(is_background(operation) for operation in clip.operations):
        return np.ones(clip.faces)
    parts = [range(clip.faces)[start : start + ROWS] for start in range(0, clip.faces, ROWS)]
    steps = [(edited_face(clip, model, rows) - own_face(clip, model, rows)).double().norm(dim=1).cpu().numpy() for rows in parts]
    return np.concatenate(steps)


def solve(
    direction,
    model,
    x: Tensor,
    z_face: Tensor,
    info: ClipInfo,
    callback,
    guidance: Guidance | None = None,
    before: Tensor | None = None,
) -> Tensor:
    """`solvers.invert` or `solvers.sample` as the clip's settings say; where half precision overflows, this call again in float32.

    With `before`, the faces z_face [B, F] before the edit, guided.
    """
    network = model if before is None else Guided(model, guidance)
    conditions = model.face_conditions(z_face if before is None else torch.cat([z_face, before]))
    result = direction(network, x, conditions, info.steps, solver=info.solver, clamp=info.clamp, callback=callback, power=info.power)
    if torch.isfinite(result).all():
        return result
    if model.host.dtype == torch.float32:
        raise DVAError("The model computed values that are not finite numbers, even in float32; get the model file again.")
    logger.warning("Values that are not finite numbers in %s: computing these %d frames again in float32.", model.host.dtype, len(x))
    with model.host.widened("noise_predictor", model.noise_predictor):
        return solve(direction, model, x, z_face, info, callback, guidance, before)


def _store(path: str | Path | None, scratch: str | Path | None, specs, metadata) -> TensorStore:
    if path is not None:
        return TensorFile.create(path, specs, metadata)
    if sum(spec.bytes for spec in specs.values()) <= IN_MEMORY:
        return TensorMemory(specs, metadata)
    return TensorFile.scratch(specs, metadata, scratch)


def _version() -> str:
    from . import __version__

    return __version__
