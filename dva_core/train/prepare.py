"""Preparation of footage: finds, tracks and aligns the face, filters the frames, and packs them in tar files.

In the output folder: `cache/<name>.tar`, the frames of a finished video until they are packed; `shard-000000.tar`, ..., of whole videos
(layout: see frames.py); `clips/<name>.json`, the record of each video. Every file appears complete or not at all, so the same
command resumes an interrupted run and skips what is finished.
"""

from __future__ import annotations

import io
import json
import logging
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.align import crop_face, frame_to_crop, side
from dva_core.faces.track import FOUND
from dva_core.files import Partial, atomic_write, write_text
from dva_core.leftovers import clear
from dva_core.pipeline.finding import find_faces
from dva_core.pipeline.settings import EncodeSettings
from dva_core.train.footage import find_videos
from dva_core.train.frames import FrameFolder, Shards, frame_entries
from dva_core.video.frames import Frames
from dva_core.video.images import SUFFIXES

log = logging.getLogger(__name__)
SHARPNESS_SIZE = 128  # sharpness is judged at one size, whatever is stored


@dataclass(frozen=True)
class Preparation:
    """Settings. `size`: pixels of the stored squares; `every`: n-th frames only; `max_frames` of a video (0: all).

    A frame is dropped if the face's square is smaller than `least_size` frame pixels or its `sharpness` below `least_sharpness`; a video
    with fewer than `least_frames` frames left is dropped too. `shard_frames`: about how many frames a shard holds. `kind`: jpg (quality 95)
    or png.
    """

    size: int = 256
    every: int = 1
    max_frames: int = 0
    least_size: float = 64
    least_sharpness: float = 8
    least_frames: int = 8
    shard_frames: int = 5000
    kind: str = "jpg"
    aligned: bool = False

    def __post_init__(self) -> None:
        for name in ("size", "every", "least_frames", "shard_frames"):
            if getattr(self, name) < 1:
                raise DVAError(f"The option {name.replace('_', '-')} cannot be {getattr(self, name)}; use 1 or more.")


@dataclass(frozen=True)
class AlignedFrame:
    """A stored frame: number in the video, square uint8 [S, S, 3], sharpness, landmarks [68, 2] in 0..1 of it or None."""

    number: int
    picture: np.ndarray
    sharpness: float
    landmarks: np.ndarray | None = None


def sharpness(picture: np.ndarray) -> float:
    """Standard deviation of the Laplacian of the grey picture [S, S, 3] at SHARPNESS_SIZE; 0 for a plain surface."""
    grey = cv2.cvtColor(cv2.resize(picture, (SHARPNESS_SIZE,) * 2, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std())


def usable_frames(source: Path, model, settings: Preparation, drops: Counter) -> Iterator[AlignedFrame]:
    """Yield the usable frames of a video; counts dropped ones by reason in `drops`. DVAError for an unusable video."""
    for frame in (ready_frames if settings.aligned else video_frames)(source, model, settings, drops):
        if frame.sharpness < settings.least_sharpness:
            drops["blurred"] += 1
        else:
            yield frame


def video_frames(source: Path, model, settings: Preparation, drops: Counter) -> Iterator[AlignedFrame]:
    """Yield aligned squares of the frames with a large enough face; two passes, as for encoding."""
    with Frames(source, every=settings.every, max_frames=settings.max_frames or None) as frames:
        track = find_faces(frames, model, source, EncodeSettings())[0].track
        for n, frame in enumerate(frames):
            if n >= len(track.state) or track.state[n] != FOUND:
                drops["no face"] += 1
            elif side(track.quads[n]) < settings.least_size:
                drops["too small"] += 1
            else:
                picture, to_crop = crop_face(frame.rgb, track.quads[n], settings.size), frame_to_crop(track.quads[n], 1)
                yield AlignedFrame(n * settings.every, picture, sharpness(picture), track.landmarks[n] @ to_crop[:, :2].T + to_crop[:, 2])


def ready_frames(source: Path, model, settings: Preparation, drops: Counter) -> Iterator[AlignedFrame]:
    """Yield every `every`-th picture of a folder of aligned frames."""
    folder = FrameFolder(source.parent, settings.size, [source])
    for n in range(0, len(folder.files), settings.every)[: settings.max_frames or None]:
        if folder.side(n) < settings.least_size:
            drops["too small"] += 1
        else:
            picture = folder.read(np.array([n]))[0]
            yield AlignedFrame(n, picture, sharpness(picture))


def add_entry(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def encode_picture(picture: np.ndarray, kind: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if kind == "jpg" else []
    return cv2.imencode(f".{kind}", picture[..., ::-1], options)[1].tobytes()


def prepare_video(name: str, source: Path, model, settings: Preparation, out: Path) -> dict:
    """Write `cache/<name>.tar` and then `clips/<name>.json`; returns the record: frames, drops by reason, problem."""
    drops, count, problem = Counter(), 0, ""
    part = out / "cache" / f"{name}.tar"
    try:
        with atomic_write(part) as partial, tarfile.open(partial, "w") as tar:
            for frame in usable_frames(source, model, settings, drops):
                facts = {"frame": frame.number, "sharpness": round(frame.sharpness, 2)}
                if frame.landmarks is not None:
                    facts["landmarks"] = np.round(frame.landmarks, 5).tolist()
                add_entry(tar, f"{name}/{frame.number:06d}.{settings.kind}", encode_picture(frame.picture, settings.kind))
                add_entry(tar, f"{name}/{frame.number:06d}.json", json.dumps(facts).encode())
                count += 1
    except DVAError as error:  # one bad video must not stop the others
        problem, count = str(error), 0
    if not problem and count < settings.least_frames:
        problem = f"only {count} of {count + drops.total()} frames are usable, fewer than {settings.least_frames}"
    if problem:
        part.unlink(missing_ok=True)
        log.warning("prepare: %s is left out: %s", name, problem)
    record = {"source": str(source.resolve()), "stamp": stamp(source), "kept": 0 if problem else count, "dropped": dict(drops)}
    record["problem"] = problem
    write_text(out / "clips" / f"{name}.json", json.dumps(record))
    return record


def read_record(file: Path) -> dict:
    """Read a JSON object; {} if the file is damaged, so that its video is prepared again."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def stamp(source: Path) -> list[int]:
    """Size and modification time of a video, of all pictures of a folder; changes when the video does."""
    files = [source] if source.is_file() else [path for path in source.iterdir() if path.suffix.lower() in SUFFIXES]
    facts = [path.stat() for path in files]
    return [len(files), sum(fact.st_size for fact in facts), max(fact.st_mtime_ns for fact in facts)]


def pack(out: Path, shard_frames: int) -> list[Path]:
    """Move cached videos to new shards and return these. Videos that a shard already contains (after a crash) are only removed."""
    shards = sorted(out.glob("shard-*.tar"))
    packed_names = {name for shard in shards for name, _ in frame_entries(shard)}
    parts, new_shards, number = [], [], len(shards)
    for part in sorted((out / "cache").glob("*.tar")):
        if part.stem in packed_names:
            part.unlink()
        else:
            parts.append((part, len(frame_entries(part))))
    for batch in batches_of(parts, shard_frames):
        while (shard := out / f"shard-{number:06d}.tar").exists():
            number += 1
        write_shard(shard, batch)
        new_shards.append(shard)
        for part in batch:
            part.unlink()
    return new_shards


def batches_of(parts: Sequence[tuple[Path, int]], shard_frames: int) -> Iterator[list[Path]]:
    """Group cached videos, with their numbers of frames, to shards of at most `shard_frames` frames; a larger video has its own."""
    batch, frames = [], 0
    for part, count in parts:
        if batch and frames + count > shard_frames:
            yield batch
            batch, frames = [], 0
        batch.append(part)
        frames += count
    if batch:
        yield batch


def write_shard(shard: Path, parts: Sequence[Path]) -> None:
    """Write the entries of several archives to one."""
    with atomic_write(shard) as partial, tarfile.open(partial, "w") as tar:
        for part in parts:
            with tarfile.open(part, "r:") as source:
                for entry in source:
                    tar.addfile(entry, source.extractfile(entry))


def prepare(sources: Sequence[Path], out: Path, model, settings: Preparation) -> dict:
    """Prepare all videos in `out` and return the report, also written to `report.json`. See the module's docstring.

    Raises DVAError if there are no videos, or `out` was begun with other options.
    """
    find_videos(sources, settings.aligned)  # fails before a folder is made
    for folder in (out / "cache", out / "clips"):
        folder.mkdir(parents=True, exist_ok=True)
        clear(folder)
    alone = Partial(out / "prepared.json", alone=True)
    try:
        return _prepare(sources, out, model, settings)
    finally:
        alone.close()


def _prepare(sources: Sequence[Path], out: Path, model, settings: Preparation) -> dict:
    earlier = {file.stem: read_record(file) for file in sorted((out / "clips").glob("*.json"))}
    earlier = {name: record for name, record in earlier.items() if {"source", "stamp", "kept"} <= record.keys()}
    videos = find_videos(sources, settings.aligned, {name: record["source"] for name, record in earlier.items()})
    options_file = out / "prepared.json"
    options = asdict(settings) | {"model": model.fingerprint}
    if options_file.is_file() and read_record(options_file) != options:
        raise DVAError(f"{out} was prepared with other options; choose another folder, or the options in {options_file}.")
    write_text(options_file, json.dumps(options, indent=1))
    records = {}
    for number, (name, source) in enumerate(videos.items()):
        record = earlier.get(name)
        if record is None or record["stamp"] != stamp(source):
            if record and record["kept"]:
                raise DVAError(f"{source} has changed since it was prepared; prepare it into another folder.")
            record = prepare_video(name, source, model, settings, out)
            log.info("prepare: %d of %d: %s, %d frames, dropped %s", number + 1, len(videos), name, record["kept"], record["dropped"])
        records[name] = record
    pack(out, settings.shard_frames)
    return report(records, out)


def report(records: dict[str, dict], out: Path) -> dict:
    """Summarise the frames kept and dropped, by reason; written to `report.json`."""
    frames = Counter()
    for record in records.values():
        frames.update(record["dropped"])
    problems = {name: record["problem"] for name, record in records.items() if record["problem"]}
    shards = Shards(out, 1)
    figures = {
        "videos": len(records),
        "clips": len(records) - len(problems),
        "frames": sum(record["kept"] for record in records.values()),
        "shards": len(shards.maps),
        "frames_dropped": dict(frames),
        "videos_left_out": problems,
    }
    write_text(out / "report.json", json.dumps(figures | {"by_video": records}, indent=1))
    return figures
