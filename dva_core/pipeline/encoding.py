"""A video taken apart (Kim et al. 2023, sec. 3), streaming: at no time are all frames in memory.

frames -> track -> crops -> z_id (one), z_motion[n], x_T[n], mask[n] -> the crops as rebuilt from these.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from ..decomposition import Decomposition, abandoned_on_error
from ..decomposition.arrays import array_specs
from ..decomposition.info import ClipInfo, source_hash
from ..decomposition.tensorfile import TensorFile, TensorMemory, TensorStore, check_scratch
from ..diffusion import solvers
from ..errors import DVAError
from ..faces.align import crop_face
from ..faces.finder import DETECTORS, FaceFinder, resolve_face
from ..faces.track import FaceTrack, track_faces
from ..files import check_input, check_place, check_spares
from ..model.arrays import fuse, shrink, to_images
from ..model.evaluation import usual_batch
from ..progress import Progress, Stopwatch, silent
from ..values import real, whole
from ..version import __version__
from ..video.frames import Frames
from ..video.square import square_frames, to_stored
from .solving import solve

logger = logging.getLogger(__name__)

IN_MEMORY = 64_000_000  # bytes of arrays up to which a decomposition without a file stays in memory
ROWS = 64  # looked at together where all frames are
DETAILS = ("transfer", "model")


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
    face: str | tuple = "largest",
    batch_size: int | None = None,
    path: str | Path | None = None,
    scratch: str | Path | None = None,
    progress: Progress | None = None,
    clock: Stopwatch | None = None,
    power: float | None = None,
    clamp: bool = True,
    detector: str = "own",
    select: str | tuple | None = None,  # the older name of `face`
) -> Decomposition:
    """Takes a video apart. Two passes over it: one finds the face, one cuts it out; then each crop is inverted.

    source      a video file, or a folder of pictures
    steps       diffusion steps each way, 1..1000; `solver` one of diffusion.solvers.CLIP_SOLVERS
    max_frames, start, length (seconds), every (take each n-th frame): which part of the video
    rate        pictures a second, of a folder of pictures (25)
    face        which one: "largest", ("position", x, y) in fractions of the frame, ("reference", FILE)
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
    progress, clock, face = progress or silent, clock or Stopwatch(), face if select is None else select
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
        check_spares(path, "output", [source, *(face[1:] if face[0] == "reference" else ()), model.path])
    elif scratch is not None:
        check_scratch(scratch)
    with clock("video"):
        frames = Frames(source, start, length, every, max_frames, rate)
        digest = source_hash(source)
    with frames:
        track = find_face(frames, model, source, face, progress, clock, detector)
        rows = np.flatnonzero(np.isfinite(track.quads).all((1, 2)))
        specs = array_specs(len(rows), model.image_size, model.crop_size, model.identity_dim, model.motion_dim)
        info = ClipInfo(
            source=str(Path(source).resolve()),
            sha256=digest,
            width=frames.info.width,
            height=frames.info.height,
            rate=frames.info.rate,
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
            dva_version=__version__,
        )
        with abandoned_on_error(_store(path, scratch, specs, {**info.to_metadata(), "operations": "[]"})) as store:
            store.write("frame_index", 0, rows)
            store.write("segment", 0, np.cumsum(track.starts)[rows])
            store.write("quads", 0, track.quads[rows])
            cut_out(frames, model, store, batch, clock)
            invert_crops(model, store, info, batch, progress, clock)
            store.commit()
    return Decomposition(store, info)


def find_face(
    frames: Frames, model, source: str | Path, face: str | tuple, progress: Progress, clock: Stopwatch, detector: str = "own"
) -> FaceTrack:
    """Pass 1: the face through the clip, in stored pixels. DVAError where there are no frames or no face."""
    with clock("track"):
        finder = FaceFinder.of(model, detector)
        track = track_faces(
            square_frames(clock.each("video", frames), frames.info),
            finder.detector,
            finder.landmarker,
            choice=resolve_face(face, finder),
            embed_fn=finder.embed,
            same_person=finder.same_person,
            progress=lambda done: progress("track", done, frames.total),
        )
    if not len(track.quads):
        raise DVAError(f"{source} has no frames in the chosen range; check start and length, or the file.")
    if not np.isfinite(track.quads).all((1, 2)).any():
        raise DVAError(
            f"No face was found in the {len(track.quads)} frames of {source}; use a clip that shows one large, bright and from the front."
        )
    return replace(track, quads=to_stored(track.quads, frames.info), landmarks=to_stored(track.landmarks, frames.info))


@torch.inference_mode()
def cut_out(frames: Frames, model, store: TensorStore, batch: int, clock: Stopwatch) -> None:
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
        for index, frame in enumerate(clock.each("video", frames)):
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


def _store(path: str | Path | None, scratch: str | Path | None, specs, metadata) -> TensorStore:
    if path is not None:
        return TensorFile.create(path, specs, metadata)
    if sum(spec.bytes for spec in specs.values()) <= IN_MEMORY:
        return TensorMemory(specs, metadata)
    return TensorFile.scratch(specs, metadata, scratch)
