"""`faces`: the people in a video, with the numbers by which they are chosen."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import DVAError
from ..faces.finder import DETECTORS
from ..faces.people import Survey
from ..files import check_input, check_spares, temporary_folder
from ..pipeline.people import picture_path, survey_key, survey_people
from ..pipeline.people_sheet import people_sheet
from ..video.frames import Frames
from ..video.images import read_rgb, save_picture
from .options import add_common, inputs_of, is_decomposition, open_model
from .paths import check_picture
from .terminal import Bars, say, show

PART = {"start": 0.0, "length": None, "every": 1, "rate": None}


def add_commands(commands) -> None:
    faces = commands.add_parser("faces", help="list the people in a video, with numbers and portraits")
    faces.add_argument("input", metavar="INPUT", help="a video or a folder of pictures")
    faces.add_argument(
        "-o", "--output", metavar="FILE.png", help="write a sheet: a frame with boxes and numbers, and a portrait of everybody"
    )
    faces.add_argument("--start", type=float, metavar="SECONDS", help="where to begin (default 0)")
    faces.add_argument("--length", type=float, metavar="SECONDS", help="how much to look at (default all)")
    faces.add_argument("--every", type=int, metavar="N", help="count each n-th frame only (default 1)")
    faces.add_argument("--rate", metavar="R", help="pictures a second of a folder, such as 25 or 30000/1001 (default 25)")
    faces.add_argument("--detector", choices=DETECTORS, default=DETECTORS[0], help="what finds faces (default: the model's own)")
    add_common(faces)
    faces.set_defaults(run=run_faces)


def run_faces(args: argparse.Namespace) -> None:
    source = check_input(args.input)
    if is_decomposition(source):
        raise DVAError(f"{source} is decomposed already; give a video.")
    if args.rate is not None and not source.is_dir():
        raise DVAError(f"{source} is a video and has a frame rate of its own; --rate is for a folder of pictures, so leave it out.")
    if args.output:
        check_picture(args.output, "sheet")
        check_spares(args.output, "sheet", inputs_of(args))
    part = {key: default if getattr(args, key) is None else getattr(args, key) for key, default in PART.items()}
    with Frames(source, **part):  # fails before the model is loaded
        pass
    model = open_model(args)
    with temporary_folder() as folder:
        with Bars() as bars:
            key = survey_key(source, model, detector=args.detector, **part)
            survey = survey_people(source, model, **part, detector=args.detector, folder=folder, key=key, progress=bars)
        if not survey.frames:
            raise DVAError(f"{source} has no frames in the chosen range; check --start and --length, or the file.")
        if args.output:
            save_picture(args.output, people_sheet(survey, read_rgb(picture_path(folder / key, survey.busiest))))
    if args.json:
        show(as_json(survey, args.output))
    else:
        show(table(survey))
        if args.output:
            say(f"Wrote {args.output}.")


def as_json(survey: Survey, output: str | None) -> str:
    result: dict[str, Any] = {"output": output, **survey.to_dict()}
    for person, record in zip(survey.people, result["people"]):
        record["embedding"] = [round(float(value), 5) for value in person.embedding]
    return json.dumps(result)


def table(survey: Survey) -> str:
    """One line a person: number, share of the frames, size, shots, frames."""
    if not survey.people:
        return f"No face was found in the {survey.frames} frames."
    rows = [("person", "seen", "size", "shots", "frames")]
    for person in survey.people:
        spans = ", ".join(f"{first}-{last}" for first, last in person.spans[:6]) + (", ..." if len(person.spans) > 6 else "")
        shots = ", ".join(map(str, person.shots[:8])) + (", ..." if len(person.shots) > 8 else "")
        rows.append((str(person.number), f"{100 * person.share:.0f}%", f"{person.size:.0f} px", shots, spans))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    count = "shot" if len(survey.shots) == 1 else "shots"
    return "\n".join([*lines, f"{survey.frames} frames in {len(survey.shots)} {count}; most people are seen in frame {survey.busiest}."])
