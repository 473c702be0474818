"""Encoding of a video into a decomposition (Kim et al. 2023, sec. 3), streamed: memory never holds all frames.

frames -> track -> crops -> z_id (one), z_motion[n], x_T[n], mask[n] -> the crops as rebuilt from these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from ..decomposition import SOFT_MASKS, Decomposition, close_on_error
from ..decomposition.info import DecompositionInfo, source_hash
from ..decomposition.people import AnyDecomposition, together
from ..decomposition.tensorfile import TensorStore, check_scratch
from ..diffusion import solvers
from ..errors import DVAError
from ..faces.align import crop_face
from ..faces.follower import LONGEST_LOOK
from ..files import check_input, check_place, check_spares
from ..hosts.results import fetch, two_in_flight
from ..model.arrays import fuse, shrink, to_images
from ..model.evaluation import usual_batch
from ..progress import Progress, Shares, Stopwatch, silent
from ..values import whole
from ..version import __version__
from ..video.frames import Frames
from ..video.threads import read_ahead
from .finding import FoundFace, find_faces
from .settings import EncodeSettings
from .solving import begin, is_finite, solve
from .store import create_store, parts_of


def encode(
    source: str | Path,
    model,
    *,
    steps: int = EncodeSettings.steps,
    solver: str = EncodeSettings.solver,
    max_frames: int | None = EncodeSettings.max_frames,
    start: float = EncodeSettings.start,
    length: float | None = EncodeSettings.length,
    every: int = EncodeSettings.every,
    rate: float | Fraction | None = EncodeSettings.rate,
    face: str | tuple = EncodeSettings.face,
    batch_size: int | None = None,
    path: str | Path | None = None,
    scratch: str | Path | None = None,
    progress: Progress | None = None,
    clock: Stopwatch | None = None,
    power: float | None = EncodeSettings.power,
    clamp: bool = EncodeSettings.clamp,
    detector: str = EncodeSettings.detector,
    select: str | tuple | None = None,  # another name of `face`
    surveys: str | Path | None = None,
    survey_hash: str | None = None,
) -> AnyDecomposition:
    """Encode a video into a decomposition: track the face, encode its crops, invert each crop to its noise map.

    source      a video file, or a folder of pictures
    steps       diffusion steps each way, 1..1000; `solver` one of diffusion.solvers.VIDEO_SOLVERS
    max_frames, start, length (seconds), every (take each n-th frame): which part of the video
    rate        pictures a second, of a folder of pictures (25)
    face        which one: "largest", ("position", x, y) in fractions of the frame, ("reference", FILE); or people, each followed through
                the whole video: "all", or their numbers, such as (1, 3) or "1,3" (see faces.people: 1 is seen most, and largest), or JSON
                with names, such as {"people": [1, 3], "names": {"1": "Anna"}}. Two or more give a `People`
    batch_size  frames evaluated together; changes the speed, not the result
    path        file to stream the decomposition to (.safetensors); None: memory, or a temporary file for a long video
    scratch     the folder of that temporary file (None: the system's)
    progress    see dva_core.progress.Progress; may raise to cancel, nothing is left behind
    clock       a Stopwatch that records the seconds spent on "video", "track" and "encode"
    power       of the timesteps: 1 even, above 1 closer together at low noise (see Schedule.timesteps); None: the solver's default
    clamp       clamp the estimated image to [-1, 1] in each step
    detector    what finds the faces: "own", the model's, or "insightface", if that is installed
    surveys     a folder where surveys of people are kept (see pipeline.people.survey_people), so that a video is surveyed once
    survey_hash what stands there for the video, instead of its `source_hash`: the same pictures with and without sound are two files

    Raises DVAError for a video that cannot be read or has no face in it, invalid settings, a full disk.
    """
    settings = EncodeSettings(steps, solver, power, bool(clamp), start, length, every, max_frames, rate, select or face, detector)
    run = {"batch_size": batch_size, "path": path, "scratch": scratch, "progress": progress, "clock": clock}
    return encode_video(source, model, settings, **run, surveys=surveys, survey_hash=survey_hash)


def encode_video(
    source: str | Path,
    model,
    settings: EncodeSettings,
    *,
    sha256: str | None = None,
    batch_size: int | None = None,
    path: str | Path | None = None,
    scratch: str | Path | None = None,
    progress: Progress | None = None,
    clock: Stopwatch | None = None,
    surveys: str | Path | None = None,
    survey_hash: str | None = None,
) -> AnyDecomposition:
    """As `encode`, with its settings as one object; `sha256` is the `source_hash` of the video, if it is known already."""
    progress, clock = progress or silent, clock or Stopwatch()
    source, settings = check_input(source), settings.resolve(model)
    batch = whole(batch_size, "batch size", 1) or usual_batch(model)
    check_outputs(path, scratch, [source, *settings.pictures, model.path])
    with clock("video"):
        frames, digest = settings.frames(source), sha256 or source_hash(source)
    with frames:
        kept = {"sha256": survey_hash or digest, "surveys": surveys}
        faces = find_faces(frames, model, source, settings, **kept, progress=progress, clock=clock)
        infos = [record(source, digest, frames, one, model, settings) for one in faces]
        rows = [np.flatnonzero(np.isfinite(one.track.quads).all((1, 2))) for one in faces]
        with close_on_error(create_store(path, scratch, model, [len(own) for own in rows], infos)) as store:
            parts = parts_of(store, infos)
            for part, one, own in zip(parts, faces, rows):
                part.write("frame_index", 0, own)
                part.write("segment", 0, np.cumsum(one.track.starts)[own])
                part.write("quads", 0, one.track.quads[own])
            encode_crops(frames, model, parts, batch, clock)
            shares = Shares(progress, [len(own) for own in rows])
            for number, (part, info) in enumerate(zip(parts, infos)):
                invert_crops(model, part, info, batch, shares.of(number), clock)
            store.commit()
    return together([Decomposition(part, info) for part, info in zip(parts, infos)])


def check_outputs(path: str | Path | None, scratch: str | Path | None, inputs: Sequence) -> None:
    """DVAError if the decomposition cannot be written, or would overwrite one of the inputs."""
    if path is not None:
        check_place(path)
        check_spares(path, "output", inputs)
    elif scratch is not None:
        check_scratch(scratch)


def record(source: Path, sha256: str, frames: Frames, face: FoundFace, model, settings: EncodeSettings) -> DecompositionInfo:
    """Make the record of the source and the settings."""
    track = face.track
    return DecompositionInfo(
        source=str(source.resolve()),
        sha256=sha256,
        width=frames.info.width,
        height=frames.info.height,
        rate=frames.info.rate,
        frames=len(track.quads),
        start=settings.start,
        length=settings.length,
        every=settings.every,
        max_frames=settings.max_frames,
        track=track.report() | track.seen(LONGEST_LOOK),
        model_name=model.config.get("name", ""),
        model_fingerprint=model.fingerprint,
        image_size=model.image_size,
        steps=settings.steps,
        solver=settings.solver,
        power=settings.power,
        clamp=settings.clamp,
        precision=str(model.host.dtype).removeprefix("torch."),
        dva_version=__version__,
        person=face.number,
        person_name=face.name,
    )


@torch.no_grad()
def encode_crops(frames: Frames, model, stores: Sequence[TensorStore], batch: int, clock: Stopwatch) -> None:
    """Pass 2: crop, mask, identity and motion of every face in every frame; then each z_id, the mean of its frames' identities.

    stores: one per person.
    """
    counts = [0] * len(stores)

    def begin_all(batches: Iterator[tuple[int, np.ndarray]]) -> Iterator[Callable[[], tuple[int, list]]]:
        for number, crops in batches:

            def begin_some(some: np.ndarray, number: int = number) -> Callable[[], tuple[int, list]]:
                fetched = fetch(*(output.float() for output in model.begin_crops(to_images(some, model.host.device))))
                return lambda: (number, [some, *model.end_crops(some.shape[1], *map(torch.from_numpy, fetched()))])

            yield from model.host.run_batched(begin_some, crops, batch)

    with clock("encode"), closing(crops_ahead(frames, stores, model, batch, clock)) as ahead:
        for number, (crops, z_id, z_motion, mask) in two_in_flight(begin_all(ahead), model.host.device):
            store = stores[number]
            store.write("crops", counts[number], crops)
            mask = mask.numpy()
            store.write("z_id_frames", counts[number], z_id.numpy())
            store.write("z_motion", counts[number], z_motion.numpy())
            if model.tells_front:
                store.write(SOFT_MASKS, counts[number], np.rint(mask * 255))
            store.write("masks", counts[number], mask[:, 0] >= 0.5)
            counts[number] += len(z_id)
        for store, count in zip(stores, counts):
            if count != len(store.read("frame_index")):
                raise DVAError("The video gave fewer frames the second time it was read; copy it to a local disk and try again.")
            store.write("z_id", 0, store.read("z_id_frames").mean(0))
            store.write("z_id_edited", 0, store.read("z_id"))


def crops_ahead(frames: Frames, stores: Sequence[TensorStore], model, batch: int, clock: Stopwatch) -> Iterator[tuple[int, np.ndarray]]:
    """As `face_crops`; beside a graphics card a thread cuts the next batch meanwhile. On a CPU the networks need all cores."""
    if model.host.device.type == "cpu":
        yield from face_crops(frames, stores, model.crop_size, batch, clock)
        return
    with closing(read_ahead(face_crops(frames, stores, model.crop_size, batch, Stopwatch()), depth=1)) as ahead:
        yield from clock.each("video", ahead)


def face_crops(frames: Frames, stores: Sequence[TensorStore], size: int, batch: int, clock: Stopwatch) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of a store and face squares of its frames, uint8 [n, size, size, 3], up to `batch` of them, in order."""
    quads = [dict(zip(store.read("frame_index").tolist(), store.read("quads"))) for store in stores]
    waiting: list[list[np.ndarray]] = [[] for _ in stores]
    for index, frame in enumerate(clock.each("video", frames)):
        for number, (own, crops) in enumerate(zip(quads, waiting)):
            if index in own:
                crops.append(crop_face(frame.rgb, own[index], size))
            if len(crops) == batch:
                yield number, np.stack(crops)
                crops.clear()
    yield from ((number, np.stack(crops)) for number, crops in enumerate(waiting) if crops)


def invert_crops(model, store: TensorStore, info: DecompositionInfo, batch: int, progress: Progress, clock: Stopwatch) -> None:
    """Invert the crops to noise maps, and rebuild the crops from the noise maps as stored, in half precision."""
    z_id, total = store.read("z_id"), len(store.read("frame_index"))
    evaluations = sum(solvers.evaluations(info.solver, info.steps))

    def invert_some(rows: range, run=begin) -> Callable[[], tuple[range, list[np.ndarray]]]:
        crops = store.read("crops", rows.start, rows.stop)
        z_face = fuse(model, z_id, store.read("z_motion", rows.start, rows.stop))
        x_0 = shrink(to_images(crops, z_face.device), model.image_size)
        preview, count = crops[0], 0

        def tell(*_) -> None:
            nonlocal count
            count += 1
            progress("encode", rows.start + len(rows) * min(1.0, count / evaluations), total, preview)

        x_T = run(solvers.invert, model, x_0, z_face, info, tell)
        rebuilt = run(solvers.sample, model, x_T.half().float(), z_face, info, tell)
        fetched = fetch(x_T.half(), rebuilt.half(), is_finite(x_T) & is_finite(rebuilt))
        return lambda: (rows, fetched())

    def invert_again(rows: range) -> tuple[range, list[np.ndarray]]:
        return invert_some(rows, solve)()

    with clock("encode"):
        for rows, results in two_in_flight(model.host.run_batched(invert_some, range(total), batch), model.host.device):
            for part, (x_T, rebuilt, _) in [(rows, results)] if results[-1] else model.host.run_batched(invert_again, rows, len(rows)):
                store.write("x_T", part.start, x_T)
                store.write("rebuilt", part.start, rebuilt)
