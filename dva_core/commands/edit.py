"""`edit`, `encode` and `decode`: from video to decomposition to video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..decomposition import check_model, load_decomposition
from ..decomposition.people import AnyDecomposition, People, people_of
from ..edit import AttributeSet, Direction, apply_attributes, apply_direction
from ..edit.curves import Scale, parse_text
from ..edit.directions import check_encoder, check_scale_of
from ..errors import DVAError
from ..files import check_input, check_place, check_spares
from ..pipeline import decode, encode
from ..pipeline.report import by_person, describe_decode, describe_model, describe_tracks, time_per_frame
from ..progress import Stopwatch
from ..video import check_encoding, check_output
from ..video.output import WITH_QUALITY
from .options import (
    LOOK,
    add_common,
    add_encoding,
    add_output,
    check_masks,
    check_person,
    encoding_settings,
    inputs_of,
    is_decomposition,
    is_direction,
    open_model,
    output_settings,
    refuse_encoding_settings,
)
from .paths import check_picture, check_tensors
from .sheets import Sheets
from .terminal import Bars, answer, say


def add_commands(commands) -> None:
    edit = commands.add_parser("edit", help="change attributes of the face in a video", description=EDIT)
    edit.add_argument("input", metavar="INPUT", help="a video, a folder of pictures, or a DECOMPOSITION.safetensors that `encode` wrote")
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
    add_persons(edit)
    add_encoding(edit)
    add_output(edit, ", or a DECOMPOSITION.safetensors to save the edit without decoding it")
    add_common(edit)
    edit.set_defaults(run=run_edit)

    encode_ = commands.add_parser("encode", help="encode a video into a decomposition, for any number of edits")
    encode_.add_argument("input", metavar="INPUT", help="a video or a folder of pictures")
    encode_.add_argument("-o", "--output", required=True, metavar="DECOMPOSITION.safetensors")
    add_encoding(encode_)
    add_common(encode_)
    encode_.set_defaults(run=run_encode)

    decode_ = commands.add_parser("decode", help="decode a decomposition with its edits to a video")
    decode_.add_argument("input", metavar="DECOMPOSITION.safetensors")
    add_output(decode_)
    add_common(decode_)
    decode_.set_defaults(run=run_decode)


EDIT = "Encodes a video, changes attributes of the face, and decodes it: same frames, rate, size and sound."


def add_persons(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--person",
        action="append",
        default=[],
        metavar="WHO",
        help="of several people: whom the edit means, by number or name, such as 2 or Anna,3 (default all); once, or once an attribute",
    )


def run_edit(args: argparse.Namespace) -> None:
    edits = edits_of_persons(args.attribute, args.scale, args.person)
    source = check_input(args.input)
    decomposition = load_decomposition(source) if is_decomposition(source) else None
    for person in edits:
        check_person(person, decomposition, args.face)
    check_target_options(args, decomposition)
    settings = None
    if decomposition is None:
        settings = encoding_settings(args, None if keeps_decomposition(args) else output_settings(args))
    else:
        refuse_encoding_settings(args)
        if not keeps_decomposition(args):
            decomposition.find_source(args.video)
    model = open_model(args)
    directions = {name: Direction.load(name) for name in args.attribute if is_direction(name)}
    attributes: dict[str, dict[str, Scale]] = {}
    for person, scales in edits.items():
        for name in directions.keys() & scales.keys():
            check_encoder(directions[name], model)
            check_scale_of(directions[name].name, scales[name], directions[name].range)
        own = {name: scale for name, scale in scales.items() if name not in directions}
        attributes[person] = AttributeSet.from_model(model).check(own)
    if decomposition is not None:
        check_model(people_of(decomposition)[0], model)
    check_masks(args, model, decomposition, settings)
    say(describe_model(model))
    clock = Stopwatch()
    with Bars() as bars:
        if decomposition is None:
            decomposition = encode(source, model, **settings, batch_size=args.batch_size, progress=bars, clock=clock)
        result = decomposition
        for person, scales in edits.items():
            if attributes[person]:
                result = apply_attributes(result, model, attributes[person], normalize=args.normalize, person=person)
            for name in scales:
                if name in directions:
                    result = apply_direction(result, model, directions[name], scales[name], person=person)
        if keeps_decomposition(args):
            result.save(args.output)
            bars.close()
            operations = by_person(result, lambda one: one.operations)
            answer({"output": args.output, "operations": operations}, args.json, f"Wrote {args.output}; `decode` makes a video of it.")
        else:
            decode_to_video(result, model, args, bars, clock)


def run_decode(args: argparse.Namespace) -> None:
    decomposition = load_decomposition(check_input(args.input))
    check_target_options(args, decomposition)
    decomposition.find_source(args.video)
    model = open_model(args)
    check_model(people_of(decomposition)[0], model)
    check_masks(args, model, decomposition)
    say(describe_model(model))
    with Bars() as bars:
        decode_to_video(decomposition, model, args, bars, Stopwatch())


def run_encode(args: argparse.Namespace) -> None:
    source, out = check_input(args.input), check_tensors(args.output, "decomposition")
    if is_decomposition(source):
        raise DVAError(f"{source} is decomposed already; give a video.")
    check_spares(out, "output", inputs_of(args))
    settings = encoding_settings(args)
    model = open_model(args)
    say(describe_model(model))
    clock = Stopwatch()
    with Bars() as bars:
        decomposition = encode(source, model, **settings, batch_size=args.batch_size, path=out, progress=bars, clock=clock)
    size = out.stat().st_size
    track = by_person(decomposition, lambda one: one.info.track)
    result = {"output": str(out), "bytes": size, "track": track, **people_in(decomposition), **costs(decomposition, model, clock)}
    answer(
        result,
        args.json,
        f"{describe_tracks(decomposition)}.\n{time_per_frame(clock, decomposition.info.frames)}.\nWrote {out} ({size / 1e6:.1f} MB).",
    )


def people_in(decomposition: AnyDecomposition) -> dict[str, Any]:
    """Names by number, for --json; empty for one person."""
    return {"people": by_person(decomposition, lambda one: one.info.person_name)} if isinstance(decomposition, People) else {}


def decode_to_video(decomposition: AnyDecomposition, model, args: argparse.Namespace, bars: Bars, clock: Stopwatch) -> None:
    """Decode, write the video and the contact sheet, and print the outcome."""
    sheet = Sheets(decomposition) if args.sheet else None
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
        "edited": report.edited,
        "hidden": report.hidden,
        "usual_hidden": report.usual_hidden,
        **({"people": report.people} if report.people else {}),
        "track": by_person(decomposition, lambda one: one.info.track),
        "operations": by_person(decomposition, lambda one: one.operations),
        **costs(decomposition, model, clock),
    }
    wrote = f"Wrote {report.path}" + (f" and {args.sheet}" if args.sheet else "")
    lines = describe_tracks(decomposition), describe_decode(report), time_per_frame(clock, report.frames), wrote
    answer(result, args.json, "\n".join(f"{line}." for line in lines))


def costs(decomposition: AnyDecomposition, model, clock: Stopwatch) -> dict[str, Any]:
    """Settings and times in seconds, for --json."""
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


def scales_by_name(names: list[str], scales: list[str]) -> dict[str, Scale]:
    """Attribute -> scale, in the order of the options; DVAError unless there is one scale for each."""
    if not names:
        raise DVAError("Nothing to change was named; give --attribute NAME --scale S.")
    if len(names) != len(scales):
        options = "--attribute and --direction" if any(map(is_direction, names)) else "--attribute"
        raise DVAError(f"There are {len(names)} {options} and {len(scales)} --scale; give one scale for each attribute.")
    if len({name.lower() for name in names}) < len(names):
        raise DVAError("An attribute is named twice; give each once.")
    return {name: parse_text(scale, f"--scale of {name}") for name, scale in zip(names, scales)}


def edits_of_persons(names: list[str], scales: list[str], persons: list[str]) -> dict[str, dict[str, Scale]]:
    """Person ("": all) -> attribute -> scale, in the order of the options.

    DVAError unless there is one scale for each attribute, and no person, one, or one for each attribute.
    """
    if len(persons) < 2:
        return {"".join(persons): scales_by_name(names, scales)}
    if len(persons) != len(names) or len(names) != len(scales):
        raise DVAError(
            f"There are {len(persons)} --person, {len(names)} --attribute and {len(scales)} --scale; give one of each for each edit."
        )
    places = {person: [i for i, other in enumerate(persons) if other == person] for person in persons}
    return {person: scales_by_name([names[i] for i in own], [scales[i] for i in own]) for person, own in places.items()}


def keeps_decomposition(args: argparse.Namespace) -> bool:
    """Whether `edit` writes the edited decomposition instead of a video."""
    return args.command == "edit" and Path(args.output).suffix == ".safetensors"


def check_target_options(args: argparse.Namespace, decomposition: AnyDecomposition | None) -> None:
    """Check the output and its options before any work; `decomposition` is the input, if it is one."""
    inputs = inputs_of(args, decomposition)
    settings = output_settings(args)
    if keeps_decomposition(args):
        if options := [f"--{name}" for name in ("detail", "codec", "quality", "compatible", *LOOK) if getattr(args, name)]:
            raise DVAError(f"{args.output} will not be decoded, so {', '.join(options)} cannot be used; give them to `decode`.")
        check_place(args.output)
        check_spares(args.output, "output", inputs[1:])  # the input itself may be replaced: nothing of it is lost
        if args.sheet:
            raise DVAError("A contact sheet is made along with a video; leave --sheet out or give a video as the output.")
        return
    if args.quality is not None and settings["codec"] not in WITH_QUALITY:
        raise DVAError(f"{settings['codec']} is lossless and has no quality; leave out --quality, or use --codec h264.")
    check_encoding(settings["codec"], settings["quality"], compatible=args.compatible)
    check_output(args.output, settings["codec"], args.input)
    check_spares(args.output, "output", inputs)
    if args.sheet:
        check_picture(args.sheet, "contact sheet")
        check_spares(args.sheet, "contact sheet", inputs)
        if Path(args.output).resolve() in (place := Path(args.sheet).resolve(), place.parent):
            raise DVAError(f"The contact sheet {args.sheet} and the output {args.output} overlap; choose another name.")
