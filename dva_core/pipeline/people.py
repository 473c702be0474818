"""The survey of a video's people, stored by content together with pictures of the sampled frames, for the page that shows them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..decomposition.info import source_hash
from ..errors import DVAError
from ..faces.finder import DETECTORS, FaceFinder
from ..faces.people import Person, Survey, find_people
from ..faces.samples import FaceSamples
from ..files import Partial, check_input, write_text
from ..progress import Progress, silent
from ..video.frames import Frames
from ..video.images import save_picture
from ..video.square import square_frames, to_stored_pixels

KEY_DIGITS = 32
VERSION = 2  # of stored surveys: those of other versions are made again
FILE = "people.safetensors"
PAGE = "people.json"  # the survey for the page, without arrays: `Survey.to_dict` and the frames that have "pictures"
PICTURE = 640  # pixels of a picture's longer side
MOST_PICTURES = 240  # of a survey
FEWEST_DIGITS = 6


def survey_people(
    source: str | Path,
    model,
    *,
    start: float = 0.0,
    length: float | None = None,
    every: int = 1,
    rate: float | Fraction | None = None,
    detector: str = DETECTORS[0],
    folder: str | Path | None = None,
    key: str | None = None,
    progress: Progress | None = None,
) -> Survey:
    """Find the people in a video, or in a part of it; boxes are in pixels of the video as stored.

    folder: where surveys are stored, each in a folder of its own named by `survey_key`, with pictures (see `picture_path`); the same
    video is then surveyed once. Numbers are those of the whole part, however many of its frames are encoded later.
    key: the `survey_key` of the same arguments, if it is known already; computing it reads the whole file.
    DVAError for a video that cannot be read, or a folder that cannot be written to.
    """
    source, progress = check_input(source), progress or silent
    part = {"start": start, "length": length, "every": every, "rate": rate}
    place = None if folder is None else Path(folder) / (key or survey_key(source, model, detector=detector, **part))
    if place is not None and (survey := load_survey(place)) is not None:
        return survey
    finder = FaceFinder.of(model, detector)
    if place is None:
        return _read_and_survey(Frames(source, **part), finder, progress)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Partial(place)
    except OSError as error:
        raise DVAError(f"The faces found cannot be kept in {place.parent} ({error.strerror}); make that folder writable.") from error
    try:
        partial.path.mkdir()
        survey = _read_and_survey(Frames(source, **part), finder, progress, partial.path)
        _save(survey, partial.path)
        partial.put()
    except OSError as error:
        raise DVAError(
            f"The faces found cannot be kept in {place.parent} ({error.strerror}); make room there, or make it writable."
        ) from error
    finally:
        partial.close()
    return survey


def survey_key(source: str | Path, model, *, detector: str = DETECTORS[0], sha256: str | None = None, **part: Any) -> str:
    """Hash everything that the numbers of a survey depend on, as hex digits: the video's content, the part of it, and the networks.

    sha256: the `source_hash` of the video, if it is known already.
    """
    values = {name: float(value) for name, value in part.items() if value not in (None, 0) and (name, value) != ("every", 1)}
    values |= {"source": sha256 or source_hash(source), "model": model.fingerprint, "detector": detector, "version": VERSION}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]


def picture_path(place: Path, frame: int) -> Path:
    """Name of the picture of a sampled frame, JPEG of up to PICTURE pixels, in the folder of a survey."""
    return place / f"frame_{frame:0{FEWEST_DIGITS}}.jpg"


def portrait_path(place: Path, number: int) -> Path:
    """Name of the portrait of a person in the folder of a survey."""
    return place / f"person_{number}.jpg"


def pictured_frames(place: Path) -> list[int]:
    """List the frames that have pictures in the folder of a survey."""
    return sorted(int(path.stem.removeprefix("frame_")) for path in place.glob("frame_*.jpg"))


def load_survey(place: Path) -> Survey | None:
    """Load a stored survey; None if it does not exist or cannot be read."""
    try:
        with safe_open(place / FILE, "np") as file:
            record = json.loads(file.metadata()["survey"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        people = tuple(_load_person(one, arrays) for one in record.pop("people"))
        face_samples = FaceSamples.of({name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)})
        known = {"samples": arrays["samples"], "shots": tuple(map(tuple, record["shots"])), "face_samples": face_samples}
        return Survey(people, **record | known)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _read_and_survey(frames: Frames, finder: FaceFinder, progress: Progress, place: Path | None = None) -> Survey:
    def keep(frame: int, rgb: np.ndarray) -> None:
        scale = min(1.0, PICTURE / max(rgb.shape[:2]))
        size = [max(1, round(side * scale)) for side in rgb.shape[1::-1]]
        save_picture(picture_path(place, frame), cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))

    with frames:
        survey = find_people(
            square_frames(frames, frames.info),
            finder.detector,
            finder.landmarker,
            finder.embed,
            finder.same_person,
            rate=float(frames.info.rate),
            total=frames.total,
            progress=lambda done: progress("track", done, frames.total),
            watch=None if place is None else keep,
        )
        people = tuple(_to_stored(person, frames.info) for person in survey.people)
    if place is not None:
        samples = survey.samples.tolist()
        chosen = {samples[round(i)] for i in np.linspace(0, len(samples) - 1, min(MOST_PICTURES, len(samples)))} | {survey.busiest}
        for frame in set(pictured_frames(place)) - chosen:
            picture_path(place, frame).unlink()
    return replace(survey, people=people, width=frames.info.width, height=frames.info.height)


def _to_stored(person: Person, info) -> Person:
    boxes = to_stored_pixels(person.boxes.reshape(-1, 2, 2), info).reshape(-1, 4).astype(np.float32)
    return replace(person, boxes=boxes, size=float(np.median((boxes[:, 2:] - boxes[:, :2]).max(1))))


PREFIX = "looks."  # begins the names of the arrays of `Survey.face_samples`
ARRAYS = ("frames", "boxes", "scores", "embedding", "portrait")  # of a person


def _save(survey: Survey, place: Path) -> None:
    arrays, people = {"samples": survey.samples} | {PREFIX + name: array for name, array in survey.face_samples.arrays().items()}, []
    for person in survey.people:
        save_picture(portrait_path(place, person.number), person.portrait)
        arrays |= {f"{person.number}.{name}": np.ascontiguousarray(getattr(person, name)) for name in ARRAYS}
        people.append({name: value for name, value in vars(person).items() if name not in ARRAYS})
    record = {name: value for name, value in vars(survey).items() if name not in ("people", "samples", "face_samples")} | {"people": people}
    write_text(place / PAGE, json.dumps(survey.to_dict() | {"pictures": pictured_frames(place)}))
    save_file(arrays, place / FILE, {"survey": json.dumps(record)})


def _load_person(record: dict[str, Any], arrays: dict[str, np.ndarray]) -> Person:
    number = record["number"]
    values = {name: arrays[f"{number}.{name}"] for name in ARRAYS}
    return Person(**record | {"shots": tuple(record["shots"])}, **values)
