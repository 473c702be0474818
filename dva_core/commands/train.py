"""`python -m dva_core train ...`: every step from pictures to a bundle.

train prepare     your footage: faces found, aligned, filtered, in shards
train diffusion   fusion layer and noise predictor, both losses; on your footage or the starter's pictures
train export      a model file from such a run and the bundle it started from

The starter's own steps:
train variants    people and expressions made from aligned faces
train pairs       the same face without and with each attribute
train landmarks | identity | detector      distil the small networks
train steps       the identity step of each attribute, and the identity encoder fine-tuned to follow it
train mask        a face parser: visible face, and what is in front of it
train bundle      attribute directions and the model file
train look        how its edits are decoded and pasted: guidance, tone, regions
train set-mask    a bundle with the face parser of `train mask`, or with the hull of the landmarks
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

import numpy as np
import torch

from dva_core.commands.parser import Parser
from dva_core.errors import DVAError, MissingFileError
from dva_core.files import write_text
from dva_core.networks.compact import CompactDetector, CompactIdentity, CompactLandmarks
from dva_core.networks.parser import CompactParser
from dva_core.train import attributes_command, diffusion_command, look, prepare_command, processes
from dva_core.train.mask import command as mask_command
from dva_core.train.state import write_network

log = logging.getLogger(__name__)

STEPS = ("variants", "pairs", "landmarks", "identity", "steps", "detector", "mask", "diffusion", "bundle")
MINUTES = {"landmarks": 20.0, "identity": 30.0, "steps": 13.0, "detector": 15.0, "mask": 25.0}
SHARES = {
    "landmarks": 10,
    "identity": 15,
    "steps": 8,
    "detector": 8,
    "mask": 8,
    "diffusion": 51,
}  # of the time of `train starter`
SIZES = {64: "starter_64", 128: "starter"}  # configurations, by the size of the pictures
NETWORKS = {"landmarks": CompactLandmarks, "identity": CompactIdentity, "detector": CompactDetector, "mask": CompactParser}


def parser() -> Parser:
    root = Parser(prog="python -m dva_core train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = root.add_subparsers(dest="step", required=True, metavar="STEP")
    prepare_command.add_parser(commands)
    diffusion_command.add_parser(commands)
    attributes_command.add_parser(commands)
    look.add_parser(commands)
    mask_command.add_parser(commands)
    for name in (*(step for step in STEPS if step != "diffusion"), "starter"):
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
        if name in ("pairs", "starter"):
            sub.add_argument("--each", type=int, default=600, help="pairs of each attribute (default: 600)")
            sub.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that draw pairs (default: one a core)")
        if name == "starter":
            diffusion_command.add_start(sub)
            sub.add_argument("--minutes", type=float, help="for all training together, pictures not counted (default: each step's own)")
            sub.add_argument(
                "--size", type=int, choices=tuple(SIZES), help="pixels of the face, where --config says nothing (default: 128)"
            )
            sub.set_defaults(settings="starter_training")
            sub.add_argument("--device", help="of the diffusion part: cpu, cuda or cuda:N (default: cuda where there is one)")
        if name == "mask":
            sub.add_argument("--resume", action="store_true", help="go on with the training that RUN holds")
        if name == "steps":
            sub.add_argument("--start", metavar="BUNDLE", help="bundle or known name, whose encoders to begin with where RUN has none")
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
    """Run one step or all. DVAError for errors of the user."""
    args = parser().parse_args(argv)
    logging.getLogger("dva_core").setLevel(logging.INFO)
    if args.step == "attributes":
        return attributes_command.run(args)
    if args.step == "look":
        return look.run(args)
    if args.step == "set-mask":
        return mask_command.run(args)
    if args.step == "prepare":
        return prepare_command.run(args)
    first = int(os.environ["RANK"]) == 0 if processes.check_environment(os.environ) else True
    if args.step != "diffusion" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise DVAError(f"Only `train diffusion` can be run by several processes; start `train {args.step}` without torchrun.")
    if getattr(args, "threads", 0):
        torch.set_num_threads(args.threads)
    if args.step != "export":
        args.run.mkdir(parents=True, exist_ok=True)
    if getattr(args, "size", None):
        if args.config:
            raise DVAError("--size chooses a configuration, and so does --config; leave one of them out.")
        args.config = SIZES[args.size]
    steps = steps_of_starter(args) if args.step == "starter" else [args.step]
    minutes = shared_minutes(args.minutes, steps) if args.step == "starter" and args.minutes else {}
    for step in steps:
        if args.step == "starter":
            args.minutes = minutes.get(step)
        start = time.monotonic()
        figures = run_step(step, args)
        figures["seconds"] = round(time.monotonic() - start)
        if first:
            write_text(args.run / f"{step}.json", json.dumps(figures, indent=1))
            log.info("%s: %s", step, figures)
    return 0


def steps_of_starter(args: argparse.Namespace) -> list[str]:
    """List the steps to run: all but those finished by an earlier run (--resume) or replaced by the bundle (--start)."""
    finished_stages = {"landmarks", "identity", "detector", "mask"} if args.start else set()
    if args.resume:
        finished_stages |= {step for step in ("variants", "pairs", *MINUTES) if step not in finished_stages and is_made(step, args.run)}
        args.resume = (args.run / "diffusion" / "state.safetensors").is_file()
    return [step for step in STEPS if step not in finished_stages]


def is_made(step: str, run: Path) -> bool:
    """Tell whether `run` holds the complete output of a step; warns if it is incomplete."""
    from dva_core.train.pair_steps import load_steps
    from dva_core.train.pairs import load_pairs
    from dva_core.train.state import read_network
    from dva_core.train.synthesis import load_variants

    try:
        if step in NETWORKS:
            read_network(run / f"{step}.safetensors", NETWORKS[step]())
        else:
            {"variants": load_variants, "pairs": load_pairs, "steps": load_steps}[step](run)
    except MissingFileError:
        return False
    except DVAError as error:
        log.warning("%s: the step %s is run again", str(error).rstrip("."), step)
        return False
    return True


def shared_minutes(total: float, steps: Sequence[str]) -> dict[str, float]:
    """Divide the remaining time among the training steps by SHARES."""
    shares = {step: SHARES[step] for step in steps if step in SHARES}
    minutes = {step: round(total * share / sum(shares.values()), 2) for step, share in shares.items()}
    log.info("starter: %g minutes of training: %s", total, ", ".join(f"{step} {value:g}" for step, value in minutes.items()))
    return minutes


def run_step(step: str, args: argparse.Namespace) -> dict:
    """Run one training step and return its figures."""
    from dva_core.train.faces import read_faces
    from dva_core.train.synthesis import load_variants, make_variants
    from dva_core.train.teachers import Teachers

    if step == "diffusion":
        return diffusion_command.run(args)
    if step == "export":
        return diffusion_command.export(args)
    faces = read_faces(args.faces)
    if step == "variants":
        variants = make_variants(faces, Teachers(args.teachers), morphs=args.morphs, seed=args.seed)
        variants.save(args.run / "variants.npz")
        return {"pictures": len(variants.pictures), "people": int(variants.group.max()) + 1}
    if step == "pairs":
        from dva_core.train.pairs import make_looks, make_pairs
        from dva_core.train.prototypes import Prototypes

        variants, prototypes = load_variants(args.run), Prototypes.fit(faces)
        make_looks(faces, prototypes, args.seed).save(args.run / "looks.npz")
        pairs = make_pairs(faces, variants, prototypes, each=args.each, seed=args.seed, processes=args.processes)
        pairs.save(args.run / "pairs.npz")
        return {"pairs": len(pairs), "held out": int(pairs.held_out.sum())}
    if step == "bundle":
        return write_starter(args, faces)
    if step == "steps":
        return learn_steps(args, faces)
    minutes = getattr(args, "minutes", None) or MINUTES[step]
    if step == "mask":
        from dva_core.train.mask.training import train_mask

        resume = bool(args.resume) and args.step == "mask"
        return train_mask(faces, args.run / "mask.safetensors", minutes=minutes, seed=args.seed, resume=resume)
    from dva_core.train.detector import train_detector
    from dva_core.train.encoders import train_identity, train_landmarks

    train = {"landmarks": train_landmarks, "identity": train_identity, "detector": train_detector}[step]
    return train(faces, load_variants(args.run), args.run / f"{step}.safetensors", minutes=minutes, seed=args.seed)


def learn_steps(args: argparse.Namespace, faces) -> dict:
    """Compute the attributes' steps from the pairs, and fine-tune the identity encoder to follow them."""
    from dva_core.model.bundle import resolve_model
    from dva_core.train.conditioner import load_encoders
    from dva_core.train.pair_identity import train_pair_identity
    from dva_core.train.pair_steps import PairedSteps
    from dva_core.train.pairs import load_pairs
    from dva_core.train.settings import read_json
    from dva_core.train.synthesis import load_variants

    own = (args.run / "identity.safetensors").is_file()
    if not own and not args.start:
        raise DVAError(f"{args.run} has no identity.safetensors; run `train identity` first, or name a bundle that has one with --start.")
    encoders = load_encoders(read_json(getattr(args, "config", None) or "starter"), args.run if own else resolve_model(args.start))
    identity, landmarks = encoders["identity_encoder"], encoders["motion_encoder"]
    variants, pairs = load_variants(args.run), load_pairs(args.run)
    steps = PairedSteps.fit(identity, landmarks, pairs)
    held_out = np.isin(variants.original, np.flatnonzero(faces.held_out))
    minutes = getattr(args, "minutes", None) or MINUTES["steps"]
    figures = train_pair_identity(identity, variants, pairs, steps, held_out, minutes=minutes, seed=args.seed)
    write_network(args.run / "identity.safetensors", identity)
    if not own:
        write_network(args.run / "landmarks.safetensors", landmarks)
    steps.save(args.run / "steps.safetensors")
    return figures


def write_starter(args: argparse.Namespace, faces) -> dict:
    from dva_core.model.bundle import resolve_model
    from dva_core.train.assemble import assemble, read_figures

    training = "; ".join(f"{name} {figures}" for name, figures in read_figures(args.run).items())
    start = resolve_model(args.start) if args.start else None
    info = assemble(args.run, faces, args.out, precision=args.precision, training=training, start=start, teachers=args.teachers)
    return {"bundle": str(info.path), "bytes": info.size_bytes, "parameters": info.parameters, "attributes": list(info.attributes)}
