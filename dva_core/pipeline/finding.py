"""Pass 1 of encoding: find the chosen face, or several people, and follow them through the video."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DVAError
from ..faces.choice import ChosenPerson, PeopleChoice, choose_people, is_people
from ..faces.finder import FaceFinder, parse_face, resolve_face
from ..faces.people import Survey
from ..faces.segments import MISSING, FaceTrack
from ..faces.select import check_choice
from ..faces.several import track_people
from ..faces.track import track_faces
from ..progress import Progress, Stopwatch, silent
from ..video.frames import Frames
from ..video.square import square_frames, to_stored_pixels
from .people import survey_key, survey_people

if TYPE_CHECKING:
    from .settings import EncodeSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundFace:
    """The track of one face, in stored pixels, and, if people are numbered, the person's number and name."""

    track: FaceTrack
    number: int = 0
    name: str = ""


def as_choice(face: str | int | tuple | Mapping | Iterable) -> str | tuple:
    """Convert a choice of people ("all", 2, (1, 3), JSON, a PeopleChoice) to ("people", PeopleChoice); other rules are returned unchanged.

    DVAError for anything that does not choose a face.
    """
    if isinstance(face, PeopleChoice):
        return ("people", face)
    if isinstance(face, str):
        return parse_face(face) if is_people(face) else face
    if type(face) is int:
        face = (face,)
    if isinstance(face, (list, tuple)) and all(type(number) is int for number in face):
        if not face:
            raise DVAError('Nobody is chosen; give at least one number, or "all".')
        return parse_face(",".join(map(str, face)))
    if isinstance(face, Mapping):
        try:
            return parse_face(json.dumps(face))
        except (TypeError, ValueError) as error:
            raise DVAError(f"The choice of faces cannot be written as JSON ({error}); give numbers and names.") from error
    return face if isinstance(face, (list, tuple)) and face else check_choice(face)


def find_faces(
    frames: Frames,
    model,
    source: Path,
    settings: EncodeSettings,
    *,
    sha256: str | None = None,
    surveys: str | Path | None = None,
    progress: Progress = silent,
    clock: Stopwatch | None = None,
) -> list[FoundFace]:
    """Track the face, or the people, that `settings` choose in the frames of `source`.

    sha256: what stands for the video in the key of its survey, such as its `source_hash`, if that is known. surveys, progress, clock: as
    of `encode`.
    DVAError if there are no frames, no face, or not the chosen people.
    """
    clock, face = clock or Stopwatch(), as_choice(settings.face)
    with clock("track"):
        finder = FaceFinder.of(model, settings.detector)
        if face[0] != "people":
            faces = [find_face(frames, finder, face, progress, clock)]
            check_found(faces, len(faces[0].track.quads), source)
            return faces
        part = {name: getattr(settings, name) for name in ("start", "length", "every", "rate", "detector")}
        key = survey_key(source, model, sha256=sha256, **part)

        def first_half(_: str, done: float, total: float, *__) -> None:
            progress("track", done / 2, total)

        survey = survey_people(source, model, **part, folder=surveys, key=key, progress=first_half)
        if not survey.frames:
            check_found([], 0, source)
        faces = find_people(frames, finder, survey, face[1], key, progress, clock)
        check_found(faces, survey.frames, source)
    return faces


def find_face(frames: Frames, finder: FaceFinder, face: str | tuple, progress: Progress, clock: Stopwatch) -> FoundFace:
    """Track the one chosen face."""
    track = track_faces(
        square_frames(clock.each("video", frames), frames.info),
        finder.detector,
        finder.landmarker,
        choice=resolve_face(face, finder),
        embed_fn=finder.embed,
        same_person=finder.same_person,
        progress=lambda done: progress("track", done, frames.total),
    )
    return FoundFace(in_stored_pixels(track, frames))


def find_people(
    frames: Frames, finder: FaceFinder, survey: Survey, choice: PeopleChoice, key: str, progress: Progress, clock: Stopwatch
) -> list[FoundFace]:
    """Track the chosen people of a survey, by number. key: of the survey, "" if it is not known."""
    chosen, total = choose_people(choice, survey, key), frames.total or survey.frames
    tracks = track_people(
        square_frames(clock.each("video", frames), frames.info),
        finder,
        np.stack([person.embedding for person in survey.people]),
        [one.number - 1 for one in chosen],
        face_samples=survey.face_samples,
        progress=lambda done: progress("track", (total + done) / 2, total),  # the survey was the first half
    )
    faces = []
    for one, track in zip(chosen, tracks):
        track = where_meant(track, one)
        if has_face(track):
            faces.append(FoundFace(in_stored_pixels(track, frames), one.number, one.name))
        elif choice.people is None:
            logger.warning("Person %d is seen too briefly or unclearly in these frames and is left out.", one.number)
        else:
            raise DVAError(f"Person {one.number} is seen too briefly or unclearly in these frames to be followed; choose others.")
    return faces


def check_found(faces: list[FoundFace], frames: int, source: str | Path) -> None:
    """DVAError if there are no frames, or no face in them."""
    if not frames:
        raise DVAError(f"{source} has no frames in the chosen range; check start and length, or the file.")
    if not any(has_face(one.track) for one in faces):
        raise DVAError(
            f"No face was found in the {frames} frames of {source}; use a video that shows one large, bright and from the front."
        )


def has_face(track: FaceTrack) -> bool:
    return bool(np.isfinite(track.quads).all((1, 2)).any())


def where_meant(track: FaceTrack, one: ChosenPerson) -> FaceTrack:
    """Remove the frames in which the person is not chosen."""
    if one.spans is None:
        return track
    left_out = ~np.array([one.is_meant(frame) for frame in range(len(track.state))], bool)
    state, quads, landmarks, scores = (array.copy() for array in (track.state, track.quads, track.landmarks, track.scores))
    state[left_out], quads[left_out], landmarks[left_out], scores[left_out] = MISSING, np.nan, np.nan, 0
    there = state != MISSING
    starts = there & (track.starts | np.concatenate([[True], ~there[:-1]]))
    return replace(track, state=state, quads=quads, landmarks=landmarks, scores=scores, starts=starts)


def in_stored_pixels(track: FaceTrack, frames: Frames) -> FaceTrack:
    """Convert a track from square pixels to those of the file."""
    return replace(track, quads=to_stored_pixels(track.quads, frames.info), landmarks=to_stored_pixels(track.landmarks, frames.info))
