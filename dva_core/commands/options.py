"""Options that several commands share (encoding, decoding, model), and their checks."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..decomposition.people import AnyDecomposition, choose, parse_whom
from ..diffusion.guidance import Guidance
from ..diffusion.solvers import VIDEO_SOLVERS, find_solver, power_of
from ..edit.directions import SUFFIX
from ..errors import DVAError
from ..faces.finder import DETECTORS, parse_face
from ..faces.regions import OFF, REGIONS
from ..faces.tone import TONES
from ..files import check_input, check_spares
from ..hosts.devices import AUTO, PRECISIONS
from ..model.loader import STARTER, load_model
from ..pipeline import DETAILS
from ..pipeline.front import FrontMasks, check_keep
from ..pipeline.settings import EncodeSettings
from ..pipeline.solving import check_steps
from ..video import try_output
from ..video.frames import Frames
from ..video.output import CODECS

ENCODING = {field.name: field.default for field in fields(EncodeSettings)} | {"scratch": None}  # option -> default
LOOK = ("guidance", "tone", "region", "keep")
PART = ("start", "length", "every", "max_frames", "rate")
OUTPUT = {"detail": "transfer", "codec": "h264", "quality": 18}


def add_encoding(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("encoding")
    group.add_argument("--steps", type=int, metavar="N", help=f"diffusion steps each way, 1 to 1000 (default {ENCODING['steps']})")
    group.add_argument("--solver", metavar="NAME", help=f"one of {', '.join(VIDEO_SOLVERS)} (default {ENCODING['solver']})")
    group.add_argument(
        "--power",
        type=float,
        metavar="P",
        help="of the timesteps: 1 even, above 1 closer at low noise (default: the solver's own)",
    )
    group.add_argument(
        "--clamp", action=argparse.BooleanOptionalAction, help="clamp the estimated image to its range in each step (default yes)"
    )
    group.add_argument("--max-frames", type=int, metavar="N", help="stop after that many frames")
    group.add_argument("--start", type=float, metavar="SECONDS", help="where to begin (default 0)")
    group.add_argument("--length", type=float, metavar="SECONDS", help="how much to take (default all)")
    group.add_argument("--every", type=int, metavar="N", help="take each n-th frame (default 1)")
    group.add_argument("--rate", metavar="R", help="pictures a second of a folder, such as 25 or 30000/1001 (default 25)")
    group.add_argument(
        "--face",
        metavar="WHICH",
        help="largest (default), position:x,y in fractions of the frame, reference:FILE, all, or people by number such as 1,3",
    )
    group.add_argument(
        "--detector",
        choices=DETECTORS,
        help="what finds faces: the model's own (default), or insightface, whose weights are for non-commercial research",
    )
    group.add_argument("--scratch", metavar="FOLDER", help="folder of the temporary file for a long video (default: the system's, TMPDIR)")


def add_output(parser: argparse.ArgumentParser, more: str = "") -> None:
    group = parser.add_argument_group("decoding")
    group.add_argument("-o", "--output", required=True, metavar="OUTPUT", help=f"the video to write, or the folder with --codec png{more}")
    group.add_argument("--detail", choices=DETAILS, help="the original's detail is kept (default), or the decoded crop")
    add_look(group)
    group.add_argument("--codec", choices=CODECS, help="default h264; h265 is smaller; ffv1 is lossless (.mkv); png writes a folder")
    group.add_argument("--quality", type=int, metavar="Q", help="of h264 and h265: 0 (lossless) to 51, lower is better (default 18)")
    group.add_argument("--compatible", action="store_true", help="h264 that every player shows: 8 bit, 4:2:0, even size")
    group.add_argument("--sheet", metavar="FILE.png", help="write a contact sheet too: original, rebuilt, edited, result over time")
    group.add_argument("--video", metavar="FILE", help="for a DECOMPOSITION.safetensors: where its source video lies now")


def add_look(group) -> None:
    """Add the options of how an edit is decoded and pasted; `look` reads them."""
    group.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="strength of the edit's guidance: 1 as in the paper, usually 2 to 3 (default: the model's own)",
    )
    group.add_argument(
        "--tone", choices=TONES, help="of the whole face: keep it, or let the edit change it too (default: decided by the edit)"
    )
    group.add_argument(
        "--region",
        metavar="NAME",
        help=f"part of the face that may change: {', '.join(REGIONS)}, the model's own, or {OFF} for all (default: decided by the edit)",
    )
    group.add_argument(
        "--keep",
        metavar="FILE|FOLDER|VIDEO",
        help="masks of what stays in front, such as a hand: one picture, or one for each frame; white is kept as it is in the source",
    )


def look(args: argparse.Namespace) -> dict[str, Any]:
    """The values of `add_look`'s options, for `decode` and `stills`; DVAError for a guidance out of range, or missing masks."""
    if args.guidance is not None:
        Guidance(args.guidance)
    if args.keep is not None:
        check_input(args.keep)
    return {name: getattr(args, name) for name in LOOK}


def check_masks(args: argparse.Namespace, model, decomposition: AnyDecomposition | None, settings: dict[str, Any] | None = None) -> None:
    """DVAError if --keep does not fit the decomposition, or the video that will be encoded with these settings."""
    if args.keep is None:
        return
    if decomposition is None:
        check_keep(args.keep, args.input, model.crop_size, **{key: settings[key] for key in PART})
        return
    with FrontMasks(args.keep, decomposition, lambda: decomposition.find_source(getattr(args, "video", None))):
        pass


def add_common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model and machine")
    group.add_argument("--model", default=STARTER, metavar="M", help="a known name (see `models`) or a bundle's file (default starter)")
    group.add_argument("--device", metavar="D", help="cpu, cuda, cuda:N or mps (default: the best there is)")
    group.add_argument(
        "--precision", choices=[*PRECISIONS, AUTO], default=AUTO, help="of the noise predictor; auto (default): this device's fastest"
    )
    way = group.add_mutually_exclusive_group()
    way.add_argument("--compile", action="store_true", help="compile the noise predictor first: minutes, for long videos on a GPU")
    way.add_argument(
        "--cuda-graphs",
        action=argparse.BooleanOptionalAction,
        help="launch an evaluation as one CUDA graph (NVIDIA; default: where it pays, as measured while a video is edited)",
    )
    group.add_argument("--batch-size", type=int, metavar="N", help="frames evaluated together; changes the speed only")
    group.add_argument("--json", action="store_true", help="print the outcome as JSON on stdout")


def output_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The output's settings, for `decode`."""
    settings = {"detail": args.detail, "codec": args.codec, "quality": args.quality, "compatible": args.compatible or None}
    return OUTPUT | look(args) | {name: value for name, value in settings.items() if value is not None}


def open_model(args: argparse.Namespace):
    if args.batch_size is not None and args.batch_size < 1:
        raise DVAError(f"The batch size cannot be {args.batch_size}; use 1 or more, or leave it out.")
    if getattr(args, "output", None) and Path(args.model).is_file():
        check_spares(args.output, "output", [args.model])
    ways = {"compile": getattr(args, "compile", False), "cuda_graphs": getattr(args, "cuda_graphs", None)}
    return load_model(args.model, device=args.device, dtype=args.precision, **ways)


def is_direction(name: str) -> bool:
    return Path(name).suffix == SUFFIX


def is_decomposition(path: Path) -> bool:
    return path.suffix == ".safetensors" and path.is_file()


def encoding_settings(args: argparse.Namespace, writing: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings of `encode`, checked as far as possible without a model; opens the video once.

    writing: the settings of the output video, if any; they are tried with the first frame.
    """
    settings = {key: default if getattr(args, key) is None else getattr(args, key) for key, default in ENCODING.items()}
    if getattr(args, "video", None):
        raise DVAError(
            "--video tells where the source of a DECOMPOSITION.safetensors lies; the input here is a video itself, so leave it out."
        )
    if args.rate is not None and not Path(args.input).is_dir():
        raise DVAError(f"{args.input} is a video and has a frame rate of its own; --rate is for a folder of pictures, so leave it out.")
    if settings["scratch"] is not None and not Path(settings["scratch"]).is_dir():
        raise DVAError(f"There is no folder {settings['scratch']} for --scratch; make it first or choose another.")
    find_solver(settings["solver"], VIDEO_SOLVERS)
    check_steps(settings["steps"], power=power_of(settings["solver"], settings["power"]))
    settings["face"] = parse_face(settings["face"])
    with Frames(args.input, **{key: settings[key] for key in PART}) as frames:
        for first in frames:  # decoding one frame reveals most faults of a file
            if writing is not None:
                options = {key: writing[key] for key in ("codec", "quality", "compatible") if key in writing}
                try_output(args.output, first, frames.info, audio_from=args.input, **options)
            return settings
    raise DVAError(f"{args.input} has no frames in the chosen range; check --start and --length, or the file.")


def check_person(person: str, decomposition: AnyDecomposition | None, face: str | None) -> None:
    """DVAError for a person who is not in the decomposition, or not among those to be encoded."""
    if decomposition is not None:
        choose(decomposition, person)
    elif person:
        whom = parse_whom(person)
        selection = parse_face(face or "largest")
        if selection[0] != "people":
            raise DVAError(f"--person {person} chooses one of several people, and one face is encoded; add --face all, or leave it out.")
        known = selection[1].people
        names = {name.lower(): number for number, name in selection[1].names.items()}
        for who in whom or ():
            number = names.get(who.lower()) if isinstance(who, str) else who
            if number is None or (known is not None and number not in known):
                raise DVAError(f"--person {person} is not among the people of --face {face}; choose one of them.")


def refuse_encoding_settings(args: argparse.Namespace) -> None:
    options = [f"--{key.replace('_', '-')}" for key in ENCODING if getattr(args, key) is not None]
    if options:
        raise DVAError(
            f"{args.input} is encoded already, so {', '.join(options)} cannot change it; leave that out or encode the video again."
        )


def inputs_of(args: argparse.Namespace, decomposition: AnyDecomposition | None = None) -> list[str | Path]:
    """The files that a command reads and must not overwrite, including the decomposition's source at both places where it may be."""
    inputs = [args.input, *filter(is_direction, getattr(args, "attribute", ()))]
    if Path(args.model).is_file():  # else it is a known name
        inputs.append(args.model)
    if (getattr(args, "face", None) or "").startswith("reference:"):
        inputs.append(args.face.partition(":")[2])
    if getattr(args, "keep", None):
        inputs.append(args.keep)
    if decomposition is not None:
        inputs += [decomposition.info.source, Path(args.input).parent / decomposition.info.source_name]
    return [*inputs, getattr(args, "video", None) or args.input]
