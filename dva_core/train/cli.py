"""`python -m dva_core train ...`: every step from pictures to a bundle.

train prepare     your footage: faces found, aligned, filtered, in shards
train diffusion   fusion layer and noise predictor, both losses; on your footage or the starter's pictures
train export      a model file from such a run and the bundle it started from

The starter's own steps:
train variants    people and expressions made from aligned faces
train landmarks | identity | detector      distil the small networks
train bundle      attribute directions and the model file
train look        how its edits are decoded and shown: guidance, tone, regions
train attributes  classifiers of your own labels (CelebA-HQ's, or a CSV), for a bundle or as direction files
train starter     all of it, in order
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from dva_core.commands.parser import Parser
from dva_core.errors import DVAError, MissingFileError
from dva_core.files import write_text
from dva_core.networks.compact import CompactDetector, CompactIdentity, CompactLandmarks
from dva_core.train import attributes_command, diffusion_command, look, prepare_command, processes

log = logging.getLogger(__name__)

STEPS = ("variants", "landmarks", "identity", "detector", "diffusion", "bundle")
MINUTES = {"landmarks": 20.0, "identity": 30.0, "detector": 15.0}
NETWORKS = {"landmarks": CompactLandmarks, "identity": CompactIdentity, "detector": CompactDetector}


def parser() -> Parser:
    root = Parser(prog="python -m dva_core train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = root.add_subparsers(dest="step", required=True, metavar="STEP")
    prepare_command.add_parser(commands)
    diffusion_command.add_parser(commands)
    attributes_command.add_parser(commands)
    look.add_parser(commands)
    for name in ("variants", "landmarks", "identity", "detector", "bundle", "starter"):
        sub = commands.add_parser(name, help=f"run the step {name}" if name != "starter" else "run all steps of the starter")
        sub.add_argument("--faces", type=Path, required=True, help="folder of aligned faces with labels.csv and annotations.npz")
        sub.add_argument(
            "--run", type=Path, default=Path("runs/starter"), help="folder for everything the run writes (default: runs/starter)"
        )
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
        if name in MINUTES:
            sub.add_argument("--minutes", type=float, default=MINUTES[name], help=f"how long to train (default: {MINUTES[name]:g})")
        if name in ("variants", "starter"):
            sub.add_argument("--teachers", type=Path, required=True, help="folder with the teachers' .onnx files")
            sub.add_argument("--morphs", type=int, default=2600, help="how many people to blend from two (default: 2600)")
        if name == "starter":
            diffusion_command.add_start(sub)
        if name == "bundle":
            sub.add_argument(
                "--teachers", type=Path, help="folder with age_gender.onnx: directions of Male and Young by its verdict (recommended)"
            )
            sub.add_argument("--start", metavar="BUNDLE", help="bundle or known name, whose networks to take where RUN has none of its own")
        if name in ("bundle", "starter"):
            sub.add_argument("-o", "--out", type=Path, required=True, help="the bundle to write (.safetensors)")
            sub.add_argument("--precision", choices=("fp16", "fp32"), default="fp16")
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one step, or all. Raises DVAError for what the user can mend."""
    args = parser().parse_args(argv)
    logging.getLogger("dva_core").setLevel(logging.INFO)
    if args.step == "attributes":
        return attributes_command.run(args)
    if args.step == "look":
        return look.run(args)
    if args.step == "prepare":
        return prepare_command.run(args)
    first = int(os.environ["RANK"]) == 0 if processes.check_environment(os.environ) else True
    if args.step != "diffusion" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise DVAError(f"Only `train diffusion` can be run by several processes; start `train {args.step}` without torchrun.")
    if getattr(args, "threads", 0):
        torch.set_num_threads(args.threads)
    if args.step != "export":
        args.run.mkdir(parents=True, exist_ok=True)
    for step in steps_of_starter(args) if args.step == "starter" else (args.step,):
        started = time.monotonic()
        figures = run_step(step, args)
        figures["seconds"] = round(time.monotonic() - started)
        if first:
            write_text(args.run / f"{step}.json", json.dumps(figures, indent=1))
            log.info("%s: %s", step, figures)
    return 0


def steps_of_starter(args: argparse.Namespace) -> list[str]:
    """Those still to do: with --resume not what an earlier run has made whole, with --start not the networks that the bundle brings."""
    done = {"landmarks", "identity", "detector"} if args.start else set()
    if args.resume:
        done |= {step for step in ("variants", *MINUTES) if step not in done and is_made(step, args.run)}
        args.resume = (args.run / "diffusion" / "state.safetensors").is_file()
    return [step for step in STEPS if step not in done]


def is_made(step: str, run: Path) -> bool:
    """Whether `run` holds what a step makes, whole; a warning where it is there and is not."""
    from dva_core.train.state import read_network
    from dva_core.train.synthesis import load_variants

    try:
        load_variants(run) if step == "variants" else read_network(run / f"{step}.safetensors", NETWORKS[step]())
    except MissingFileError:
        return False
    except DVAError as error:
        log.warning("%s: the step %s is run again", str(error).rstrip("."), step)
        return False
    return True


def run_step(step: str, args: argparse.Namespace) -> dict:
    """One step of the training; its figures."""
    from dva_core.train.faces import read_faces
    from dva_core.train.synthesis import load_variants, make_variants
    from dva_core.train.teachers import Teachers

    if step == "diffusion":
        return diffusion_command.run(args)
    if step == "export":
        return diffusion_command.export(args)
    faces = read_faces(args.faces)
    if step == "variants":
        made = make_variants(faces, Teachers(args.teachers), morphs=args.morphs, seed=args.seed)
        made.save(args.run / "variants.npz")
        return {"pictures": len(made.pictures), "people": int(made.group.max()) + 1}
    if step == "bundle":
        return write_starter(args, faces)
    from dva_core.train.detector import train_detector
    from dva_core.train.encoders import train_identity, train_landmarks

    train = {"landmarks": train_landmarks, "identity": train_identity, "detector": train_detector}[step]
    minutes = getattr(args, "minutes", MINUTES[step])
    return train(faces, load_variants(args.run), args.run / f"{step}.safetensors", minutes=minutes, seed=args.seed)


def write_starter(args: argparse.Namespace, faces) -> dict:
    from dva_core.bundle import resolve_model
    from dva_core.train.assemble import assemble, read_figures

    training = "; ".join(f"{name} {figures}" for name, figures in read_figures(args.run).items())
    start = resolve_model(args.start) if args.start else None
    info = assemble(args.run, faces, args.out, precision=args.precision, training=training, start=start, teachers=args.teachers)
    return {"bundle": str(info.path), "bytes": info.size_bytes, "parameters": info.parameters, "attributes": list(info.attributes)}
