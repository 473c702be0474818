"""`text` and `direction`: find an edit from two texts, and work with edits kept as small files."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..decomposition import check_model, load_decomposition
from ..decomposition.people import one_person
from ..edit.attributes import AttributeSet
from ..edit.directions import Direction, add_directions, from_attribute, identity_std, orthogonal_to, scale_direction
from ..edit.scope import find_region
from ..edit.scores import measure_direction, table
from ..edit.text_model import DEFAULT, FOLDER, find_weights, import_open_clip
from ..files import check_input, check_spares
from ..pipeline import encode
from ..pipeline.report import describe_model
from .options import add_common, is_decomposition, is_direction, open_model
from .own import add_region
from .paths import check_tensors
from .terminal import Bars, answer, say, show

if TYPE_CHECKING:
    from ..edit.text_search import TextSearch


def add_commands(commands) -> None:
    text = commands.add_parser("text", help="find what changes a face from one text to another (CLIP)", description=TEXT)
    text.add_argument("input", metavar="INPUT", help="a video, a folder of pictures, or a DECOMPOSITION.safetensors that `encode` wrote")
    text.add_argument("-o", "--output", required=True, metavar="DIRECTION.safetensors", help="for `edit --direction`")
    text.add_argument("--target", required=True, metavar="TEXT", help='describes the edited face, such as "face with beard"')
    text.add_argument("--source", default="face", metavar="TEXT", help='describes the face now, worded like the target (default "face")')
    text.add_argument("--person", metavar="WHO", help="of a decomposition of several people: the one to look at, by number or name")
    search = text.add_argument_group("search")
    search.add_argument(
        "--frame", action="append", type=int, metavar="N", help="number of the frame to search on (default 0); repeat for several"
    )
    search.add_argument("--images", type=int, default=5, metavar="S", help="intermediate images a frame (default 5)")
    search.add_argument("--iterations", type=int, default=2000, metavar="N", help="largest number of Adam steps (default 2000)")
    search.add_argument("--all-iterations", action="store_true", help="do not stop when the loss has settled (as the paper)")
    search.add_argument("--clip-weight", type=float, default=3.0, metavar="W", help="weight of the text (default 3)")
    search.add_argument("--identity-weight", type=float, default=5.0, metavar="W", help="weight of keeping the person (default 5)")
    search.add_argument("--l1-weight", type=float, default=5.0, metavar="W", help="weight of keeping the face's pixels (default 5)")
    search.add_argument("--learning-rate", type=float, default=0.002, metavar="R", help="default 0.002")
    search.add_argument("--seed", type=int, default=0, metavar="N", help="random seed of the start (default 0)")
    search.add_argument("--save-memory", action="store_true", help="one image at a time; slower")
    search.add_argument(
        "--clip-model", default=DEFAULT, metavar="NAME", help=f"open_clip's name of the image-text model (default {DEFAULT})"
    )
    search.add_argument("--clip", dest="clip_model", default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # its former name
    search.add_argument(
        "--clip-weights", metavar="FILE", help=f"its .safetensors (default: looked for in `{FOLDER}` of the models' folders)"
    )
    add_region(text)
    add_common(text)
    text.set_defaults(run=run_text)

    direction = commands.add_parser("direction", help="show, add, scale and purify directions", description=DIRECTION)
    direction.add_argument("directions", nargs="+", metavar="DIRECTION", help="a file, or an attribute of the model by name")
    direction.add_argument("--factor", action="append", type=float, default=[], metavar="F", help="one a direction (default 1): adds them")
    direction.add_argument(
        "--without", action="append", default=[], metavar="DIRECTION", help="make the sum orthogonal to this file or attribute; repeat"
    )
    direction.add_argument("--name", metavar="TEXT", help="what to call it")
    direction.add_argument("-o", "--output", metavar="DIRECTION.safetensors", help="where to keep it")
    direction.add_argument("--on", metavar="DECOMPOSITION.safetensors", help="measure it on this identity (default: the mean person)")
    direction.add_argument("--person", metavar="WHO", help="whose it is, where that holds several people")
    direction.add_argument("--scale", type=float, default=1.0, metavar="S", help="measure it at this scale (default 1)")
    add_common(direction)
    direction.set_defaults(run=run_direction)


TEXT = "Searches for the step of the identity that changes a face from what one text says to what another says (Kim et al. 2023, sec. 3.4)."
DIRECTION = "Tells what a direction does to every attribute; with several, or with --factor or --without, makes a new one of them."


def run_text(args: argparse.Namespace) -> None:
    source, out = check_input(args.input), check_tensors(args.output, "direction")
    check_spares(out, "output", [source, args.clip_weights])
    import_open_clip()
    if args.clip_weights is None:
        find_weights(args.clip_model)  # fails before any work
    model = open_model(args)
    if args.region is not None:
        find_region(model, args.region)
    say(describe_model(model))
    with Bars() as bars:
        search = prepare_search(source, model, args, bars)
        began = time.perf_counter()
        ended_early = False
        try:
            search.run(bars)
        except KeyboardInterrupt:
            if search.best.step is None:
                raise
            ended_early = True
    direction = replace(search.direction(), region=args.region)
    direction.save(out)
    seconds = time.perf_counter() - began
    result = {
        "output": str(out),
        "iterations": search.iterations,
        "ended_early": ended_early,
        "loss": [search.history[0], search.best.loss],
        "parts": search.best.parts,
        "seconds": round(seconds, 1),
        "made": direction.made,
    }
    how = "ended early, the best so far" if ended_early else f"{seconds:.0f} s"
    answer(
        result,
        args.json,
        f"Loss {search.history[0]:.3f} -> {search.best.loss:.3f} in {search.iterations} iterations ({how}).\n"
        f"Wrote {out}; apply it with `edit {args.input} --direction {out} --scale 1 -o OUTPUT`.",
    )


def prepare_search(source: Path, model, args: argparse.Namespace, bars: Bars) -> TextSearch:
    """Open the decomposition, or encode the video's first frames, and make the search of the command's options."""
    from ..edit.text import text_search

    frames = args.frame or [0]
    if is_decomposition(source):
        decomposition = one_person(load_decomposition(source), args.person, "A search by text")
    else:  # the search needs crops and vectors but no noise maps, so one step is enough
        decomposition = encode(source, model, steps=1, max_frames=max(frames) + 1 if min(frames) >= 0 else None, progress=bars)
    names = ("images", "iterations", "clip_weight", "identity_weight", "l1_weight", "learning_rate", "seed", "save_memory")
    return text_search(
        decomposition,
        model,
        args.source,
        args.target,
        clip_model=args.clip_model,
        weights=args.clip_weights,
        frames=frames,
        settle=not args.all_iterations,
        **{name: getattr(args, name) for name in names},
    )


def run_direction(args: argparse.Namespace) -> None:
    if args.output:
        check_tensors(args.output, "direction")
        check_spares(args.output, "output", [*filter(is_direction, [*args.directions, *args.without]), args.on])
    model = open_model(args)
    directions, others = ([find_direction(entry, model) for entry in entries] for entries in (args.directions, args.without))
    direction = directions[0]
    if len(directions) > 1 or len(args.factor) > 1:
        direction = add_directions(directions, args.factor or None)
    elif args.factor:
        direction = scale_direction(direction, args.factor[0])
    direction = orthogonal_to(direction, others, identity_std(model))
    if args.name:
        direction = replace(direction, name=args.name)
    if args.output:
        direction.save(args.output)
    scores = measure_direction(direction, model, identity_to_measure(args, model), args.scale)
    if args.json:
        facts = {key: value for key, value in direction.to_json().items() if key != "vector"}
        answer({**facts, "output": args.output, "scores": [score._asdict() for score in scores]}, True, "")
        return
    show(f"{direction.about}\nAt scale {args.scale:g}:\n{table(scores)}")
    if args.output:
        say(f"Wrote {args.output}; apply it with `edit INPUT --direction {args.output} --scale 1 -o OUTPUT`.")


def find_direction(entry: str, model) -> Direction:
    """Load the direction file `entry`, or the model's attribute of that name. DVAError if neither exists."""
    return Direction.load(entry) if is_direction(entry) else from_attribute(model, entry)


def identity_to_measure(args: argparse.Namespace, model):
    """The identity z_id [D] to measure at: the decomposition's, else the training set's mean, else a vector of ones."""
    if args.on:
        decomposition = one_person(load_decomposition(check_input(args.on)), args.person, "A measurement")
        check_model(decomposition, model)
        return decomposition.current_z_id
    tensors = AttributeSet.from_model(model).tensors
    return tensors["identity.mean"].reshape(-1) if "identity.mean" in tensors else identity_std(model)
