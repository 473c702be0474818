"""`edit`, `encode` and `decode`: from video to decomposition to video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..decomposition import Decomposition, check_model
from ..diffusion.guidance import Guidance
from ..diffusion.solvers import CLIP_SOLVERS, SOLVER, STEPS, named, power_of
from ..edit import AttributeSet, Direction, apply_attributes, apply_direction
from ..edit.curves import Scale, parse_text
from ..edit.directions import SUFFIX, check_encoder, check_scale_of
from ..errors import DVAError
from ..faces.finder import DETECTORS, parse_face
from ..faces.regions import OFF, REGIONS
from ..faces.tone import TONES
from ..files import check_input, check_place, check_spares
from ..hosts.devices import AUTO, PRECISIONS
from ..model.loader import STARTER, load_model
from ..pipeline import DETAILS, decode, encode
from ..pipeline.front import FrontMasks, check_keep
from ..pipeline.report import describe_model, describe_track, time_per_frame
from ..pipeline.solving import check_steps
from ..progress import Stopwatch
from ..video import check_encoding, check_output, try_output
from ..video.frames import Frames
from ..video.output import CODECS, WITH_QUALITY
from .paths import check_picture, check_tensors
from .sheets import SheetMaker
from .terminal import Bars, answer, say

ENCODING = {
    "steps": STEPS,
    "solver": SOLVER,
    "power": None,
    "clamp": True,
    "max_frames": None,
    "start": 0.0,
    "length": None,
    "every": 1,
    "rate": None,
    "face": "largest",
    "detector": "own",
    "scratch": None,
}
LOOK = ("guidance", "tone", "region", "keep")
PART = ("start", "length", "every", "max_frames", "rate")
OUTPUT = {"detail": "transfer", "codec": "h264", "quality": 18}


def add_commands(commands) -> None:
    edit = commands.add_parser("edit", help="change attributes of the face in a video", description=EDIT)
    edit.add_argument("input", metavar="INPUT", help="a video, a folder of pictures, or a CLIP.safetensors that `encode` wrote")
    edit.add_argument("--attribute", action="append", default=[], metavar="NAME", help="what to change; repeat with --scale for several")
    edit.add_argument(
        "--direction",
        action="append",
        dest="attribute",
        metavar="FILE",
        help="the same with a direction's file, that `text`, `own-attribute`, `expression` or `direction` wrote",
    )
    edit.add_argument(
        "--scale",
        action="append",
        default=[],
        metavar="S",
        help="how much, of either sign; usually 0.2 to 1. Over time: 0s:0,1.5s:-0.8,smooth (frames without the s), or a .json file",
    )
    edit.add_argument(
        "--normalize", action=argparse.BooleanOptionalAction, default=True, help="step in the standardised identity space (default yes)"
    )
    add_encoding(edit)
    add_output(edit, ", or a CLIP.safetensors to keep the edited clip undecoded")
    add_common(edit)
    edit.set_defaults(run=run_edit)

    encode_ = commands.add_parser("encode", help="take a video apart, for any number of edits afterwards")
    encode_.add_argument("input", metavar="INPUT", help="a video or a folder of pictures")
    encode_.add_argument("-o", "--output", required=True, metavar="CLIP.safetensors")
    add_encoding(encode_)
    add_common(encode_)
    encode_.set_defaults(run=run_encode)

    decode_ = commands.add_parser("decode", help="put a clip that `encode` wrote back together, with its edits")
    decode_.add_argument("input", metavar="CLIP.safetensors")
    add_output(decode_)
    add_common(decode_)
    decode_.set_defaults(run=run_decode)


EDIT = "Takes a video apart, changes attributes of the face, and puts it back: same frames, rate, size and sound."


def add_encoding(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("taking apart")
    group.add_argument("--steps", type=int, metavar="N", help=f"diffusion steps each way, 1 to 1000 (default {ENCODING['steps']})")
    group.add_argument("--solver", metavar="NAME", help=f"one of {', '.join(CLIP_SOLVERS)} (default {ENCODING['solver']})")
    group.add_argument(
        "--power",
        type=float,
        metavar="P",
        help="of the timesteps: 1 even, above it closer where the noise is weak (default: what suits the solver)",
    )
    group.add_argument(
        "--clamp", action=argparse.BooleanOptionalAction, help="bring each step's estimate of the image into range (default yes)"
    )
    group.add_argument("--max-frames", type=int, metavar="N", help="stop after that many frames")
    group.add_argument("--start", type=float, metavar="SECONDS", help="where to begin (default 0)")
    group.add_argument("--length", type=float, metavar="SECONDS", help="how much to take (default all)")
    group.add_argument("--every", type=int, metavar="N", help="take each n-th frame (default 1)")
    group.add_argument("--rate", metavar="R", help="pictures a second of a folder, such as 25 or 30000/1001 (default 25)")
    group.add_argument("--face", metavar="WHICH", help="largest (default), position:x,y in fractions of the frame, or reference:FILE")
    group.add_argument(
        "--detector",
        choices=DETECTORS,
        help="what finds faces: the model's own (default), or insightface, whose weights are for non-commercial research",
    )
    group.add_argument("--scratch", metavar="FOLDER", help="where a long clip's noise maps lie meanwhile (default: the system's, TMPDIR)")


def add_output(parser: argparse.ArgumentParser, more: str = "") -> None:
    group = parser.add_argument_group("putting together")
    group.add_argument("-o", "--output", required=True, metavar="OUTPUT", help=f"the video to write, or the folder with --codec png{more}")
    group.add_argument("--detail", choices=DETAILS, help="the original's detail is kept (default), or the decoded crop")
    add_look(group)
    group.add_argument("--codec", choices=CODECS, help="default h264; h265 is smaller; ffv1 is lossless (.mkv); png writes a folder")
    group.add_argument("--quality", type=int, metavar="Q", help="of h264 and h265: 0 (lossless) to 51, lower is better (default 18)")
    group.add_argument("--compatible", action="store_true", help="h264 that every player shows: 8 bit, 4:2:0, even size")
    group.add_argument("--sheet", metavar="FILE.png", help="write a contact sheet too: original, rebuilt, edited, result over time")
    group.add_argument("--video", metavar="FILE", help="for a CLIP.safetensors: where its source video lies now")


def add_look(group) -> None:
    """How an edit is decoded and shown, for whatever shows one; `look` reads it back."""
    group.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="how plainly the edit is told: 1 as in the paper, usually 2 to 3 (default: the model's own)",
    )
    group.add_argument(
        "--tone", choices=TONES, help="of the whole face: keep it, or let the edit change it too (default: as the edit means it)"
    )
    group.add_argument(
        "--region",
        metavar="NAME",
        help=f"where the edit may be seen: {', '.join(REGIONS)}, the model's own, or {OFF} for everywhere (default: as the edit means it)",
    )
    group.add_argument(
        "--keep",
        metavar="FILE|FOLDER|VIDEO",
        help="masks of what stays in front, such as a hand: one picture, or one for each frame; white is kept as it is in the source",
    )


def look(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_look` adds, for `decode` and `stills`; DVAError for a weight that makes no sense, or no masks where some were named."""
    if args.guidance is not None:
        Guidance(args.guidance)
    if args.keep is not None:
        check_input(args.keep)
    return {name: getattr(args, name) for name in LOOK}


def check_masks(args: argparse.Namespace, model, clip: Decomposition | None, settings: dict[str, Any] | None = None) -> None:
    """DVAError where --keep does not fit the clip, or the video that is about to be taken apart by these settings."""
    if args.keep is None:
        return
    if clip is None:
        check_keep(args.keep, args.input, model.crop_size, **{key: settings[key] for key in PART})
        return
    with FrontMasks(args.keep, clip, lambda: clip.find_source(getattr(args, "video", None))):
        pass


def add_common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model and machine")
    group.add_argument("--model", default=STARTER, metavar="M", help="a known name (see `models`) or a bundle's file (default starter)")
    group.add_argument("--device", metavar="D", help="cpu, cuda, cuda:N or mps (default: the best there is)")
    group.add_argument(
        "--precision", choices=[*PRECISIONS, AUTO], default=AUTO, help="of the noise predictor; auto (default): this device's fastest"
    )
    group.add_argument("--compile", action="store_true", help="compile the noise predictor first: minutes, for long clips on a GPU")
    group.add_argument("--batch-size", type=int, metavar="N", help="frames evaluated together; changes the speed only")
    group.add_argument("--json", action="store_true", help="print the outcome as JSON on stdout")


def run_edit(args: argparse.Namespace) -> None:
    scales = paired(args.attribute, args.scale)
    source = check_input(args.input)
    decomposition = Decomposition.load(source) if is_decomposition(source) else None
    check_target_options(args, decomposition)
    settings = None
    if decomposition is None:
        settings = encoding_settings(args, None if keeps_clip(args) else output_settings(args))
    else:
        refuse_encoding_settings(args)
        if not keeps_clip(args):
            decomposition.find_source(args.video)
    model = open_model(args)
    directions = {name: Direction.load(name) for name in scales if is_direction(name)}
    for name, direction in directions.items():
        check_encoder(direction, model)
        check_scale_of(direction.name, scales[name], direction.range)
    attributes = AttributeSet.from_model(model).check({name: scale for name, scale in scales.items() if name not in directions})
    if decomposition is not None:
        check_model(decomposition, model)
    check_masks(args, model, decomposition, settings)
    say(describe_model(model))
    clock = Stopwatch()
    with Bars() as bars:
        if decomposition is None:
            decomposition = encode(source, model, **settings, batch_size=args.batch_size, progress=bars, clock=clock)
        edited = apply_attributes(decomposition, model, attributes, normalize=args.normalize) if attributes else decomposition
        for name, direction in directions.items():
            edited = apply_direction(edited, model, direction, scales[name])
        if keeps_clip(args):
            edited.save(args.output)
            bars.close()
            answer(
                {"output": args.output, "operations": edited.operations}, args.json, f"Wrote {args.output}; `decode` makes a video of it."
            )
        else:
            put_together(edited, model, args, bars, clock)


def run_decode(args: argparse.Namespace) -> None:
    decomposition = Decomposition.load(check_input(args.input))
    check_target_options(args, decomposition)
    decomposition.find_source(args.video)
    model = open_model(args)
    check_model(decomposition, model)
    check_masks(args, model, decomposition)
    say(describe_model(model))
    with Bars() as bars:
        put_together(decomposition, model, args, bars, Stopwatch())


def run_encode(args: argparse.Namespace) -> None:
    source, out = check_input(args.input), check_tensors(args.output, "decomposed clip")
    if is_decomposition(source):
        raise DVAError(f"{source} is decomposed already; give a video.")
    check_spares(out, "output", read_by(args))
    settings = encoding_settings(args)
    model = open_model(args)
    say(describe_model(model))
    clock = Stopwatch()
    with Bars() as bars:
        decomposition = encode(source, model, **settings, batch_size=args.batch_size, path=out, progress=bars, clock=clock)
    size = out.stat().st_size
    result = {"output": str(out), "bytes": size, "track": decomposition.info.track, **costs(decomposition, model, clock)}
    answer(
        result,
        args.json,
        f"{describe_track(decomposition.info.track)}.\n{time_per_frame(clock, decomposition.info.frames)}.\n"
        f"Wrote {out} ({size / 1e6:.1f} MB).",
    )


def put_together(decomposition: Decomposition, model, args: argparse.Namespace, bars: Bars, clock: Stopwatch) -> None:
    """Decodes, writes the video and the sheet, and tells how it went."""
    sheet = SheetMaker(decomposition) if args.sheet else None
    report = decode(
        decomposition,
        model,
        args.output,
        **output_settings(args),
        video=args.video,
        batch_size=args.batch_size,
        progress=bars,
        clock=clock,
        watch=sheet,
    )
    if sheet is not None:
        sheet.save(args.sheet)
    bars.close()
    result = {
        "output": str(report.path),
        "sheet": args.sheet,
        "faces": report.faces,
        "track": decomposition.info.track,
        "operations": decomposition.operations,
        **costs(decomposition, model, clock),
    }
    wrote = f"Wrote {report.path}" + (f" and {args.sheet}" if args.sheet else "")
    answer(result, args.json, f"{describe_track(decomposition.info.track)}.\n{time_per_frame(clock, report.frames)}.\n{wrote}.")


def output_settings(args: argparse.Namespace) -> dict[str, Any]:
    """How to write the video, for `decode`."""
    settings = {"detail": args.detail, "codec": args.codec, "quality": args.quality, "compatible": args.compatible or None}
    return OUTPUT | look(args) | {name: value for name, value in settings.items() if value is not None}


def costs(decomposition: Decomposition, model, clock: Stopwatch) -> dict[str, Any]:
    """Settings and seconds, for --json."""
    return {
        "frames": decomposition.info.frames,
        "steps": decomposition.info.steps,
        "solver": decomposition.info.solver,
        "power": decomposition.info.power,
        "clamp": decomposition.info.clamp,
        "model": decomposition.info.model_name,
        "device": str(model.host.device),
        "precision": str(model.host.dtype).removeprefix("torch."),
        "seconds": {phase: round(seconds, 3) for phase, seconds in clock.seconds.items()},
        "seconds_per_frame": round(clock.total / decomposition.info.frames, 4),
    }


def open_model(args: argparse.Namespace):
    if args.batch_size is not None and args.batch_size < 1:
        raise DVAError(f"The batch size cannot be {args.batch_size}; use 1 or more, or leave it out.")
    if getattr(args, "output", None) and Path(args.model).is_file():
        check_spares(args.output, "output", [args.model])
    return load_model(args.model, device=args.device, dtype=args.precision, compile=getattr(args, "compile", False))


def paired(names: list[str], scales: list[str]) -> dict[str, Scale]:
    """Attributes with their scales, in the order given; DVAError unless there is one for each."""
    if not names:
        raise DVAError("Nothing to change was named; give --attribute NAME --scale S.")
    if len(names) != len(scales):
        options = "--attribute and --direction" if any(map(is_direction, names)) else "--attribute"
        raise DVAError(f"There are {len(names)} {options} and {len(scales)} --scale; give one scale for each attribute.")
    if len({name.lower() for name in names}) < len(names):
        raise DVAError("An attribute is named twice; give each once.")
    return {name: parse_text(scale, f"--scale of {name}") for name, scale in zip(names, scales)}


def is_direction(name: str) -> bool:
    return Path(name).suffix == SUFFIX


def keeps_clip(args: argparse.Namespace) -> bool:
    """Whether `edit` shall write the edited decomposition instead of a video."""
    return args.command == "edit" and Path(args.output).suffix == ".safetensors"


def is_decomposition(path: Path) -> bool:
    return path.suffix == ".safetensors" and path.is_file()


def encoding_settings(args: argparse.Namespace, writing: dict[str, Any] | None = None) -> dict[str, Any]:
    """How to take the video apart, checked as far as that is possible without a model; opens the video once.

    writing: how the output will be written, where it is a video: that is tried with the first frame.
    """
    settings = {key: default if getattr(args, key) is None else getattr(args, key) for key, default in ENCODING.items()}
    if getattr(args, "video", None):
        raise DVAError("--video tells where the source of a CLIP.safetensors lies; the input here is a video itself, so leave it out.")
    if args.rate is not None and not Path(args.input).is_dir():
        raise DVAError(f"{args.input} is a video and has a frame rate of its own; --rate is for a folder of pictures, so leave it out.")
    if settings["scratch"] is not None and not Path(settings["scratch"]).is_dir():
        raise DVAError(f"There is no folder {settings['scratch']} for --scratch; make it first or choose another.")
    named(settings["solver"], CLIP_SOLVERS)
    check_steps(settings["steps"], power=power_of(settings["solver"], settings["power"]))
    settings["face"] = parse_face(settings["face"])
    with Frames(args.input, **{key: settings[key] for key in PART}) as frames:
        for first in frames:  # it tells most of what can be wrong with a file
            if writing is not None:
                options = {key: writing[key] for key in ("codec", "quality", "compatible") if key in writing}
                try_output(args.output, first, frames.info, audio_from=args.input, **options)
            return settings
    raise DVAError(f"{args.input} has no frames in the chosen range; check --start and --length, or the file.")


def refuse_encoding_settings(args: argparse.Namespace) -> None:
    options = [f"--{key.replace('_', '-')}" for key in ENCODING if getattr(args, key) is not None]
    if options:
        raise DVAError(
            f"{args.input} is encoded already, so {', '.join(options)} cannot change it; leave that out or encode the video again."
        )


def read_by(args: argparse.Namespace, decomposition: Decomposition | None = None) -> list[str | Path]:
    """What a command reads and may not write over: its input, the clip's source where it was and where it may be now, and the rest."""
    read = [args.input, *filter(is_direction, getattr(args, "attribute", ()))]
    if Path(args.model).is_file():  # else it is a known name
        read.append(args.model)
    if (getattr(args, "face", None) or "").startswith("reference:"):
        read.append(args.face.partition(":")[2])
    if getattr(args, "keep", None):
        read.append(args.keep)
    if decomposition is not None:
        read += [decomposition.info.source, Path(args.input).parent / decomposition.info.source_name]
    return [*read, getattr(args, "video", None) or args.input]


def check_target_options(args: argparse.Namespace, decomposition: Decomposition | None) -> None:
    """DVAError for whatever is wrong about the output, before any work. `clip`: the input, where it is one."""
    read = read_by(args, decomposition)
    settings = output_settings(args)
    if keeps_clip(args):
        if options := [f"--{name}" for name in ("detail", "codec", "quality", "compatible", *LOOK) if getattr(args, name)]:
            raise DVAError(f"{args.output} keeps the edited clip undecoded, so {', '.join(options)} have no say; give them to `decode`.")
        check_place(args.output)
        check_spares(args.output, "output", read[1:])  # the clip itself may be replaced: nothing of it is lost
        if args.sheet:
            raise DVAError("A contact sheet is made along with a video; leave --sheet out or give a video as the output.")
        return
    if args.quality is not None and settings["codec"] not in WITH_QUALITY:
        raise DVAError(f"{settings['codec']} is lossless and has no quality; leave out --quality, or use --codec h264.")
    check_encoding(settings["codec"], settings["quality"], compatible=args.compatible)
    check_output(args.output, settings["codec"], args.input)
    check_spares(args.output, "output", read)
    if args.sheet:
        check_picture(args.sheet, "contact sheet")
        check_spares(args.sheet, "contact sheet", read)
        if Path(args.output).resolve() in (place := Path(args.sheet).resolve(), place.parent):
            raise DVAError(f"The contact sheet {args.sheet} and the output {args.output} are in each other's place; choose another name.")
