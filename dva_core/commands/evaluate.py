"""`evaluate`: the paper's experiments over videos, as tables, plots and pictures in a folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..diffusion.solvers import SOLVER, STEPS, VIDEO_SOLVERS, find_solver, power_of
from ..edit import AttributeSet
from ..errors import DVAError
from ..files import check_input
from ..model.bundle import resolve_model
from ..model.loader import STARTER, load_model
from ..pipeline import DETAILS, encode
from ..pipeline.report import describe_model
from ..pipeline.solving import check_steps
from ..video import VIDEO_SUFFIXES
from ..video.images import save_picture
from .terminal import Bars, say, show


def add_commands(commands) -> None:
    root = commands.add_parser("evaluate", help="measure a model: reconstruction, consistency, switch, ablation", description=__doc__)
    kinds = root.add_subparsers(dest="experiment", required=True, metavar="EXPERIMENT")

    reconstruction = kinds.add_parser("reconstruction", help="table 1 of the paper: videos rebuilt from their decomposition")
    add_videos(reconstruction)
    reconstruction.add_argument("--steps", type=int, nargs="+", default=[20, 100], metavar="N")
    reconstruction.add_argument("--solver", nargs="+", default=["ddim", SOLVER], metavar="NAME", help=f"of {', '.join(VIDEO_SOLVERS)}")
    reconstruction.set_defaults(run=run_reconstruction)

    consistency = kinds.add_parser("consistency", help="table 2 of the paper: edits over time, and their flicker")
    add_videos(consistency)
    add_one_solver(consistency)
    consistency.add_argument("--attribute", action="append", default=[], metavar="NAME", help="an edit; repeat with --scale for several")
    consistency.add_argument("--scale", action="append", default=[], type=float, metavar="S")
    consistency.add_argument("--detail", choices=DETAILS, default="transfer")
    add_judge(consistency)
    consistency.set_defaults(run=run_consistency)

    switch = kinds.add_parser("switch", help="identity, motion and background of one video in another, as a grid")
    add_videos(switch)
    add_one_solver(switch)
    switch.add_argument("--columns", type=int, default=6, metavar="N", help="moments shown (default 6)")
    add_judge(switch)
    switch.set_defaults(run=run_switch)

    ablation = kinds.add_parser("ablation", help="training with and without L_reg: whose is the identity, the vector's or the noise's")
    ablation.add_argument("--faces", type=Path, required=True, help="folder of aligned faces, as `train` takes it")
    ablation.add_argument(
        "--run", dest="folder", type=Path, default=Path("runs/starter"), help="folder of a training run with its encoders and variants"
    )
    ablation.add_argument(
        "--config",
        metavar="FILE",
        default="ablation",
        help="of two models trained from nothing (JSON; default: a small one)",
    )
    ablation.add_argument("--start", metavar="BUNDLE", help="instead: both begin with the weights of this bundle or known name")
    ablation.add_argument("--minutes", type=float, default=5, help="how long each of the two trains (default 5)")
    ablation.add_argument("--settings", metavar="FILE", help="of both trainings (JSON), but for length, seed and reg_weight")
    ablation.add_argument("--trained", nargs=2, metavar=("WITH", "WITHOUT"), help="two bundles instead of training them")
    ablation.add_argument("--pictures", type=int, default=4, metavar="N", help="held-out people to show (default 4)")
    ablation.add_argument("--seed", type=int, default=0)
    add_judge(ablation)
    add_out(ablation)
    ablation.set_defaults(run=run_ablation)


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="where tables and pictures go; made if it is not there"
    )
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:N or mps (default: the best there is)")
    parser.add_argument("--precision", metavar="P", help="of the noise predictor (default fp32)")


def add_videos(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="videos, or folders with videos in them")
    parser.add_argument("--model", default=STARTER, metavar="M", help="a known name (see `models`) or a bundle's file (default starter)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each n-th frame (default 1)")
    parser.add_argument("--max-frames", type=int, metavar="N", help="stop after that many frames")
    parser.add_argument(
        "--power", type=float, metavar="P", help="of the timesteps: 1 even, above it closer at the image (default: what suits the solver)"
    )
    parser.add_argument(
        "--clamp", action=argparse.BooleanOptionalAction, default=True, help="bring each step's estimate of the image into range"
    )
    add_out(parser)


def add_one_solver(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"diffusion steps each way (default {STEPS})")
    parser.add_argument("--solver", default=SOLVER, metavar="NAME", help=f"one of {', '.join(VIDEO_SOLVERS)} (default {SOLVER})")


def add_judge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teachers",
        type=Path,
        metavar="FOLDER",
        help="judge identity by the MobileFaceNet in this folder; otherwise by the model's own encoder, which flatters it",
    )


def run_reconstruction(args: argparse.Namespace) -> None:
    from ..evaluate.metrics import lpips_metric
    from ..evaluate.plots import plot_reconstruction
    from ..evaluate.reconstruction import evaluate_reconstruction

    videos, model = prepare(args, args.steps, args.solver)
    lpips, why_not = lpips_metric()
    with Bars() as bars:
        table = evaluate_reconstruction(
            videos, model, steps=args.steps, solvers=args.solver, lpips=lpips, progress=bars, **encode_settings(args)
        )
    table.notes += [why_not] if why_not else []
    plot_reconstruction(table, args.output / "reconstruction.png")
    table.notes += special(args, args.solver, model)
    finish(table, args.output, "reconstruction")


def run_consistency(args: argparse.Namespace) -> None:
    from ..evaluate.consistency import evaluate_consistency
    from ..evaluate.plots import draw_consistency

    if len(args.attribute) != len(args.scale) or not args.attribute:
        raise DVAError("Give each edit as --attribute NAME --scale S, at least one pair.")
    videos, model = prepare(args, [args.steps], [args.solver])
    attributes = AttributeSet.from_model(model)
    edits = {f"{name} {scale:+g}": attributes.check({name: scale}) for name, scale in zip(args.attribute, args.scale)}
    with Bars() as bars:
        table, results = evaluate_consistency(
            videos,
            model,
            judge(args, model),
            edits,
            steps=args.steps,
            solver=args.solver,
            detail=args.detail,
            progress=bars,
            **encode_settings(args),
        )
    table.notes += special(args, [args.solver], model)
    for video in dict.fromkeys(name for name, _ in results):
        some = {label: figures for (name, label), figures in results.items() if name == video}
        save_picture(args.output / f"consistency_{video}.png", draw_consistency(some))
    finish(table, args.output, "consistency")


def run_switch(args: argparse.Namespace) -> None:
    from ..evaluate.switching import evaluate_switch

    videos, model = prepare(args, [args.steps], [args.solver])
    if len(videos) != 2:
        raise DVAError(f"Switching takes two videos, and here are {len(videos)}; name two.")
    with Bars() as bars:
        settings = {"steps": args.steps, "solver": args.solver, **encode_settings(args)}
        a, b = (encode(path, model, **settings, progress=bars) for path in videos)
        table, grid = evaluate_switch(a, b, model, judge(args, model), columns=args.columns, progress=bars)
    table.notes += special(args, [args.solver], model)
    save_picture(args.output / "switch.png", grid)
    finish(table, args.output, "switch")


def run_ablation(args: argparse.Namespace) -> None:
    from ..evaluate.ablation import evaluate_ablation, train_pair
    from ..train.faces import read_faces
    from ..train.settings import read_json

    make_folder(args.output)
    faces = read_faces(args.faces)
    if args.trained:
        bundles = dict(zip(("with L_reg", "without L_reg"), args.trained))
    else:
        settings = (read_json(args.settings) if args.settings else {}) | {"minutes": args.minutes, "steps": 0, "seed": args.seed}
        start = resolve_model(args.start) if args.start else None
        bundles = train_pair(faces, args.folder, args.output, config=args.config, start=start, **settings)
    models = {name: load_model(bundle, device=args.device, dtype=args.precision) for name, bundle in bundles.items()}
    held_out = faces.pictures[faces.held_out]
    people = held_out[:: max(1, len(held_out) // args.pictures)][: args.pictures]
    table, grid = evaluate_ablation(models, lambda model: judge(args, model), people, seed=args.seed)
    save_picture(args.output / "ablation.png", grid)
    finish(table, args.output, "ablation")


def encode_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Settings of `encode` other than steps and solver."""
    return {key: getattr(args, key) for key in ("every", "max_frames", "power", "clamp")}


def special(args: argparse.Namespace, solvers: Sequence[str], model) -> list[str]:
    """Note about timesteps or clamp that differ from the paper's."""
    powers = {name: power_of(name, args.power, model) for name in solvers}
    if args.clamp and set(powers.values()) == {1.0}:
        return []
    each = ", ".join(f"{power:g} for {name}" for name, power in powers.items())
    return [f"Timesteps by the power {each}; clamp {'on' if args.clamp else 'off'}."]


def prepare(args: argparse.Namespace, steps: Sequence[int], solvers: Sequence[str]):
    """Load videos and model, check the settings and make the output folder."""
    for name in solvers:
        find_solver(name, VIDEO_SOLVERS)
        for count in steps:
            check_steps(count, power=power_of(name, args.power))
    videos = list_videos(args.videos)
    make_folder(args.output)
    model = load_model(args.model, device=args.device, dtype=args.precision)
    say(describe_model(model))
    return videos, model


def list_videos(names: Sequence[str]) -> list[Path]:
    """List the videos, replacing folders by the videos in them; DVAError if there are none."""
    videos: list[Path] = []
    for path in map(Path, names):
        paths = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES) if path.is_dir() else [path]
        if not paths:
            raise DVAError(f"The folder {path} holds no video; give one that does.")
        check_input(paths[0])
        videos += paths
    return videos


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DVAError(f"The folder {folder} cannot be made ({error.strerror}); choose a writable place.") from error


def judge(args: argparse.Namespace, model):
    from ..evaluate.judges import own_judge, teacher_judge

    return teacher_judge(model, args.teachers) if args.teachers else own_judge(model)


def finish(table, folder: Path, name: str) -> None:
    """Write the table and print it."""
    paths = table.save(folder, name)
    show(table.markdown())
    say(f"Wrote {', '.join(path.name for path in paths)} and pictures to {folder}.")
