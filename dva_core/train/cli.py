"""`python -m dva_core train ...`: every step from pictures to a bundle.

train variants    people and expressions made from aligned faces
train landmarks | identity | detector      distil the small networks
train diffusion   fusion layer and noise predictor, both losses
train bundle      attribute directions and the model file
train attributes  classifiers of your own labels (CelebA-HQ's, or a CSV), for a bundle or as direction files
train starter     all of it, in order
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dva_core.errors import DVAError
from dva_core.train import attributes_command

log = logging.getLogger(__name__)

STEPS = ("variants", "landmarks", "identity", "detector", "diffusion", "bundle")
MINUTES = {"landmarks": 20.0, "identity": 30.0, "detector": 15.0, "diffusion": 90.0}


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python -m dva_core train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = root.add_subparsers(dest="step", required=True, metavar="STEP")
    attributes_command.add_parser(commands)
    for name in (*STEPS, "starter"):
        sub = commands.add_parser(name, help=f"run the step {name}" if name != "starter" else "run all steps")
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
        if name in ("diffusion", "starter"):
            sub.add_argument("--config", type=Path, default=Path("configs/starter.json"), help="configuration of the model (JSON)")
            sub.add_argument("--start", type=Path, metavar="BUNDLE", help="begin with the noise predictor of this bundle")
            sub.add_argument("--resume", action="store_true", help="take up the run that --run holds")
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
    if args.threads:
        torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)
    for step in STEPS if args.step == "starter" else (args.step,):
        started = time.monotonic()
        figures = run_step(step, args)
        figures["seconds"] = round(time.monotonic() - started)
        (args.run / f"{step}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        log.info("%s: %s", step, figures)
    return 0


def run_step(step: str, args: argparse.Namespace) -> dict:
    """One step of the training; its figures."""
    from dva_core.train.faces import read_faces
    from dva_core.train.synthesis import Variants, make_variants
    from dva_core.train.teachers import Teachers

    faces = read_faces(args.faces)
    if step == "variants":
        made = make_variants(faces, Teachers(args.teachers), morphs=args.morphs, seed=args.seed)
        made.save(args.run / "variants.npz")
        return {"pictures": len(made.pictures), "people": int(made.group.max()) + 1}
    if step == "bundle":
        return write_starter(args, faces)
    if not (args.run / "variants.npz").is_file():
        raise DVAError(f"{args.run} holds no variants.npz: run `python -m dva_core train variants` first.")
    variants = Variants.load(args.run / "variants.npz")
    minutes = getattr(args, "minutes", MINUTES[step])
    if step == "diffusion":
        from dva_core.train.diffusion import DiffusionSettings, DiffusionTraining

        config = json.loads(args.config.read_text(encoding="utf-8"))
        held_out = np.isin(variants.original, np.flatnonzero(faces.held_out))
        settings = DiffusionSettings(minutes=minutes, seed=args.seed)
        training = DiffusionTraining(config, args.run, variants, held_out, args.run / "diffusion", settings)
        if args.resume:
            training.resume()
        elif args.start:
            training.start_from(args.start)
        return training.run()
    from dva_core.train.detector import train_detector
    from dva_core.train.encoders import train_identity, train_landmarks

    train = {"landmarks": train_landmarks, "identity": train_identity, "detector": train_detector}[step]
    return train(faces, variants, args.run / f"{step}.safetensors", minutes=minutes, seed=args.seed)


def write_starter(args: argparse.Namespace, faces) -> dict:
    from dva_core.train.assemble import assemble, read_figures

    training = "; ".join(f"{name} {figures}" for name, figures in read_figures(args.run).items())
    info = assemble(args.run, faces, args.out, precision=args.precision, training=training)
    return {"bundle": str(info.path), "bytes": info.size_bytes, "parameters": info.parameters, "attributes": list(info.attributes)}
