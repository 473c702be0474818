"""`own-attribute` and `expression`: directions from pictures, and from the landmarks of a video."""

from __future__ import annotations

import argparse

from ..decomposition import check_model, load_decomposition
from ..decomposition.people import one_person
from ..edit.directions import SPACES
from ..edit.expression import REGIONS, expression_direction
from ..edit.own import FEWEST, own_attribute, read_folder, read_pairs
from ..errors import DVAError
from ..faces.regions import REGIONS as REGIONS_OF_FACE
from ..files import check_input, check_spares
from ..pipeline.report import describe_model
from .options import add_common, open_model
from .paths import check_tensors
from .terminal import Bars, answer, say


def add_commands(commands) -> None:
    own = commands.add_parser("own-attribute", help="make a direction from pictures with something and without it")
    own.add_argument("with_it", metavar="WITH", help=f"folder of pictures of faces that have it, {FEWEST} at least")
    own.add_argument("without", metavar="WITHOUT", help="folder of pictures of faces that do not")
    own.add_argument("--name", required=True, metavar="NAME", help="what it is")
    own.add_argument("--space", choices=tuple(SPACES), default="identity", help="what someone looks like (default), or what a face does")
    own.add_argument(
        "--pairs",
        action="store_true",
        help="pictures of the same name in both folders, or else in the order of their names, are pairs of the same person",
    )
    own.add_argument(
        "--shown",
        action=argparse.BooleanOptionalAction,
        help="go by what the model shows of it too, without the skin's colour; not for a tan or a blush (default yes, with --pairs no)",
    )
    add_region(own)
    own.add_argument("-o", "--output", required=True, metavar="DIRECTION.safetensors")
    add_common(own)
    own.set_defaults(run=run_own)

    expression = commands.add_parser("expression", help="make a direction of an expression: the model's own, or from two frames of a video")
    expression.add_argument("input", nargs="?", metavar="DECOMPOSITION.safetensors", help="the decomposition that --frames are of")
    expression.add_argument("--attribute", metavar="NAME", help="an expression of the model, such as Smiling or Closed_Eyes")
    expression.add_argument("--frames", type=int, nargs=2, metavar=("NEUTRAL", "EXPRESSIVE"), help="two frames of the video instead")
    expression.add_argument("--region", action="append", default=[], choices=tuple(REGIONS), help="what may move; repeat (default all)")
    expression.add_argument(
        "--project", action=argparse.BooleanOptionalAction, default=True, help="keep it within what faces do (default yes)"
    )
    expression.add_argument("--person", metavar="WHO", help="whose frames, where the decomposition holds several people")
    expression.add_argument("-o", "--output", required=True, metavar="DIRECTION.safetensors")
    add_common(expression)
    expression.set_defaults(run=run_expression)


def add_region(parser) -> None:
    """Add the option for the region of a new direction."""
    names = ", ".join(REGIONS_OF_FACE)
    parser.add_argument("--region", metavar="NAME", help=f"the part of the face it lives in: {names}, or the model's own (default all)")


def run_own(args: argparse.Namespace) -> None:
    out = check_tensors(args.output, "direction")
    pictures = read_pairs(args.with_it, args.without) if args.pairs else [read_folder(args.with_it), read_folder(args.without)]
    shown = not args.pairs if args.shown is None else args.shown
    model = open_model(args)
    say(describe_model(model))
    with Bars() as bars:
        attribute = own_attribute(
            model, *pictures, args.name, space=args.space, pairs=args.pairs, shown=shown, region=args.region, progress=bars
        )
    attribute.direction.save(out)
    result = {"output": args.output, "score": attribute.score, "with": attribute.with_it, "without": attribute.without}
    answer(result, args.json, f"{attribute.describe()}\nWrote {args.output}; apply it with `edit --direction`.")


def run_expression(args: argparse.Namespace) -> None:
    out = check_tensors(args.output, "direction")
    if args.frames and not args.input:
        raise DVAError("Frames belong to a decomposition; name the DECOMPOSITION.safetensors they are of.")
    decomposition = one_person(load_decomposition(check_input(args.input)), args.person, "An expression") if args.input else None
    check_spares(out, "output", [args.input])
    model = open_model(args)
    if decomposition is not None:
        check_model(decomposition, model)
    direction = expression_direction(decomposition, model, args.attribute, frames=args.frames, regions=args.region, project=args.project)
    direction.save(out)
    answer({"output": args.output, "name": direction.name}, args.json, f"Wrote {args.output}: {direction.name}.")
