"""`sheet` and `preview`: one frame of a video as a picture, with many edits or with those of a decomposition."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ..decomposition import Decomposition, check_model, load_decomposition
from ..decomposition.people import one_person
from ..diffusion.guidance import Guidance
from ..edit import AttributeSet
from ..errors import DVAError
from ..files import check_input, check_spares
from ..pipeline import DETAILS, encode
from ..pipeline.preview import PREVIEW_STEPS, attribute_stills, nearest_row, stills
from ..pipeline.report import describe_model
from ..pipeline.sheet import attribute_sheet, parse_numbers
from ..video.images import save_picture
from .options import (
    add_common,
    add_encoding,
    add_look,
    check_masks,
    check_person,
    encoding_settings,
    inputs_of,
    is_decomposition,
    look,
    open_model,
    refuse_encoding_settings,
)
from .paths import check_picture
from .terminal import Bars, answer, say

SCALES = "-0.8,-0.4,0,0.4,0.8"


def add_commands(commands) -> None:
    sheet = commands.add_parser("sheet", help="lay out attributes and scales on one frame, as a labelled picture")
    sheet.add_argument("input", metavar="INPUT", help="a DECOMPOSITION.safetensors that `encode` wrote, a video, or a folder of pictures")
    sheet.add_argument("--attribute", action="append", default=[], metavar="NAME", help="which; repeat for several (default: all)")
    sheet.add_argument("--scales", default=SCALES, metavar="S,S,...", help=f"the columns (default {SCALES})")
    sheet.add_argument("--tile", type=int, default=160, metavar="PIXELS", help="width and height of each face (default 160)")
    add_still(sheet, "diffusion steps of the picture (default: those of the decomposition)")
    sheet.set_defaults(run=run_sheet)

    preview = commands.add_parser("preview", help="one frame of an edited video, before and after, without decoding the rest")
    preview.add_argument("input", metavar="DECOMPOSITION.safetensors", help="what `edit` saved without decoding")
    add_still(preview, f"diffusion steps of the picture; 0: those of the decomposition (default {PREVIEW_STEPS})", PREVIEW_STEPS)
    preview.set_defaults(run=run_preview)


def add_still(parser: argparse.ArgumentParser, help_steps: str, steps: int | None = None) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="FILE.png")
    parser.add_argument("--frame", type=int, default=0, metavar="N", help="which frame, counted over the frames read (default 0)")
    parser.add_argument("--person", metavar="WHO", help="of several people: the one to look at, by number or name")
    parser.add_argument("--look-steps", type=int, default=steps, metavar="N", help=help_steps)
    parser.add_argument("--detail", choices=DETAILS, default="transfer", help="as of `edit` (default transfer)")
    add_look(parser)
    add_encoding(parser)
    add_common(parser)


def run_sheet(args: argparse.Namespace) -> None:
    scales = parse_numbers(args.scales)
    decomposition, model = open_input(args)
    with Bars() as bars:
        if decomposition is None:
            decomposition = encode(args.input, model, **encoding_settings(args), batch_size=args.batch_size, progress=bars)
            decomposition = one_person(decomposition, args.person, "A sheet")
        settings = {"steps": args.look_steps or None, "detail": args.detail, "batch_size": args.batch_size, "progress": bars, **look(args)}
        row = nearest_row(decomposition, args.frame)
        rows = attribute_stills(decomposition, model, args.attribute, scales, row, **settings)
    save_picture(
        args.output, attribute_sheet(rows, scales, args.tile, title(decomposition, row, Guidance.from_config(model.config, args.guidance)))
    )
    answer({"output": args.output, "attributes": list(rows), "scales": scales}, args.json, f"Wrote {args.output}.")


def run_preview(args: argparse.Namespace) -> None:
    if not is_decomposition(check_input(args.input)):
        raise DVAError(f"{args.input} is no decomposition; keep one with `edit ... -o DECOMPOSITION.safetensors`, or use `sheet`.")
    decomposition, model = open_input(args)
    row = nearest_row(decomposition, args.frame)
    with Bars() as bars:
        still = stills([decomposition], model, row, steps=args.look_steps or None, detail=args.detail, progress=bars, **look(args))
    save_picture(args.output, np.concatenate([still.original, still.edited[0]], axis=1))
    frame = int(decomposition.frame_index[row])
    answer({"output": args.output, "frame": frame}, args.json, f"Wrote {args.output}, frame {frame}.")


def open_input(args: argparse.Namespace) -> tuple[Decomposition | None, object]:
    """Check all inputs; return the decomposition, or None if the input is a video, and the model."""
    source = check_input(args.input)
    check_picture(args.output, "picture")
    decomposition = one_person(load_decomposition(source), args.person, "A picture") if is_decomposition(source) else None
    check_spares(args.output, "picture", inputs_of(args, decomposition))
    settings = None
    if decomposition is None:
        check_person(args.person or "", None, args.face)
        settings = encoding_settings(args)
    else:
        refuse_encoding_settings(args)
    look(args)
    model = open_model(args)
    AttributeSet.from_model(model).check(dict.fromkeys(getattr(args, "attribute", ()), 0.0))
    if decomposition is not None:
        check_model(decomposition, model)
    check_masks(args, model, decomposition, settings)
    say(describe_model(model))
    return decomposition, model


def title(decomposition: Decomposition, row: int, guidance: Guidance) -> str:
    suffix = f", guidance {guidance.weight:g}" if guidance.is_on else ""
    return f"{Path(decomposition.info.source).name}, frame {int(decomposition.frame_index[row])} ({decomposition.info.solving}{suffix})"
