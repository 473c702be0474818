"""`train diffusion`: fusion layer and noise predictor, on your own prepared footage or the starter's pictures; and `train export`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

from dva_core.errors import DVAError, MissingFileError
from dva_core.model.bundle import read_bundle, resolve_model
from dva_core.train import processes
from dva_core.train.settings import PRECISIONS, DiffusionSettings, read_json
from dva_core.train.state import TRAINED_PARTS, read_config, read_facts

log = logging.getLogger(__name__)

CONFIG = "starter"
MINUTES = 90.0
CHANGES = {  # settings that have an option of their own: kind and help
    "minutes": (float, f"how long to train (default: {MINUTES:g}, unless --steps or --settings say)"),
    "steps": (int, "how many steps to train instead"),
    "people": (int, "people in a batch, in each process"),
    "frames": (int, "frames of each person in a batch"),
    "accumulate": (int, "batches whose mean gradient makes a step"),
    "learning_rate": (float, "the highest learning rate"),
    "ema": (float, "decay of the averaged weights"),
    "reg_weight": (float, "weight of L_reg"),
    "precision": (str, f"autocast of the noise predictor: {', '.join(PRECISIONS)}"),
    "save_every": (float, "minutes between two savings"),
    "validate_every": (int, "steps between two validations, beside those at each saving"),
}


def add_start(sub: argparse.ArgumentParser) -> None:
    """Add the options shared by `diffusion` and `starter`."""
    sub.add_argument(
        "--config",
        metavar="FILE",
        help=f"the model's configuration (JSON; default: {CONFIG}, or with --data that of --start)",
    )
    sub.add_argument("--start", metavar="BUNDLE", help="begin with the weights of this bundle or known name, such as published ones")
    sub.add_argument(
        "--resume", action="store_true", help="take up the run that --run holds, with its settings, configuration and encoders"
    )
    sub.add_argument(
        "--settings", metavar="FILE", help="settings of the run (JSON, or starter_training, starter_large_training, paper_training)"
    )
    sub.add_argument("--tensorboard", action="store_true", help="log losses, validation and sample grids to RUN/diffusion/tensorboard")


def add_parser(commands) -> None:
    sub = commands.add_parser("diffusion", help="train fusion layer and noise predictor; under torchrun by several processes")
    sub.add_argument("--data", type=Path, help="folder of `train prepare`, or of aligned frames (<group>/<frame>.jpg or .png)")
    sub.add_argument("--faces", type=Path, help="instead of --data: the starter's faces, with the variants of --run")
    sub.add_argument("--run", type=Path, default=Path("runs/starter"), help="folder for everything the run writes (default: runs/starter)")
    sub.add_argument("--encoders", type=Path, help="bundle or folder with the frozen encoders (default: those of --start, else RUN's)")
    add_start(sub)
    for name, (kind, text) in CHANGES.items():
        sub.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text, metavar=kind.__name__.upper())
    sub.add_argument("--compile", action="store_const", const=True, help="make code for the noise predictor first; see docs/training.md")
    sub.add_argument("--seed", type=int)
    sub.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    sub.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")

    sub = commands.add_parser("export", help="a model file from a run of `diffusion`, all else from the bundle it started from")
    sub.add_argument("--run", type=Path, required=True, help="folder of the run")
    sub.add_argument("--start", required=True, metavar="BUNDLE", help="bundle or known name, whose encoders and attributes to use")
    sub.add_argument("-o", "--out", type=Path, required=True, help="the bundle to write (.safetensors)")
    sub.add_argument("--name", help="its name (default: that of the file)")
    sub.add_argument("--precision", choices=("fp16", "fp32"), default="fp16", help="how the weights are stored (default: fp16)")


def resolve_settings(args: argparse.Namespace) -> DiffusionSettings:
    """The settings of the resumed run, --settings, or the defaults, with the other options applied. DVAError if invalid."""
    values = {"minutes": MINUTES}
    if args.settings:
        values = read_json(args.settings)
    elif args.resume:
        values = read_facts(state_of(args))["settings"]
    changes = {name: value for name in (*CHANGES, "compile", "seed") if (value := getattr(args, name, None)) is not None}
    if "minutes" in changes and "steps" not in changes:
        changes["steps"] = 0
    return DiffusionSettings.of(values | changes, str(args.settings or "The run's state"))


def state_of(args: argparse.Namespace) -> Path:
    """Path of the state to resume from."""
    return args.run / "diffusion" / "state.safetensors"


def resolve_config(args: argparse.Namespace) -> dict:
    """The configuration of the resumed run, --config, with --data that of the bundle to start from, or the starter's.

    DVAError for a --config that differs from the resumed run's.
    """
    if args.resume:
        config = read_config(state_of(args))
        if args.config is not None and any(
            config[part] != value for part, value in read_json(args.config).items() if part in TRAINED_PARTS
        ):
            raise DVAError(f"{args.run} was begun with another configuration than {args.config}; leave out --config.")
        return config
    if args.config is None and args.start and getattr(args, "data", None):
        return read_bundle(args.start).config
    return read_json(args.config or CONFIG)


def resolve_encoders(args: argparse.Namespace) -> Path:
    """The encoders: --encoders, the run's own after `train steps`, the start bundle's, the resumed run's, or the run's own.

    DVAError if there are none.
    """
    if getattr(args, "encoders", None):
        return args.encoders
    if (args.run / "steps.safetensors").is_file() and (args.run / "identity.safetensors").is_file():
        return args.run  # the run has taught the encoder of its start
    if args.start:
        return args.start
    if args.resume and (encoders := read_facts(state_of(args)).get("encoders_from")) and Path(encoders).exists():
        return Path(encoders)
    if (args.run / "identity.safetensors").is_file():
        return args.run
    raise MissingFileError(f"{args.run} holds no encoders: name a bundle that has them with --start or --encoders, or distil them first.")


def load_frames(args: argparse.Namespace, size: int):
    """Load the pictures of --data, else the variants of --run, and a mask of those for validation."""
    if getattr(args, "data", None):
        from dva_core.train.frames import held_out_frames, open_frames

        frames = open_frames(args.data, size)
        return frames, held_out_frames(frames)
    if not args.faces:
        raise DVAError("There is nothing to train on; give --data FOLDER (made with `train prepare`), or --faces for the starter's way.")
    from dva_core.train.faces import read_faces
    from dva_core.train.synthesis import load_variants

    variants = load_variants(args.run)
    return variants, np.isin(variants.original, np.flatnonzero(read_faces(args.faces).held_out))


def run(args: argparse.Namespace) -> dict:
    """Train, alone or as one of torchrun's processes; returns the figures of the last validation."""
    from dva_core.train.diffusion import DiffusionTraining
    from dva_core.train.objective import OtherShapeError
    from dva_core.train.pairs import load_pairs

    args.start = resolve_model(args.start) if args.start else None
    device = processes.process_device(getattr(args, "device", None))
    with processes.process_group(device):
        rank, world = processes.rank_and_world()
        if rank:
            logging.getLogger("dva_core").setLevel(logging.WARNING)
        settings, config = resolve_settings(args), resolve_config(args)
        frames, held_out = load_frames(args, config["crop_size"])
        log.info("diffusion: %d frames of %d groups, %d process(es), %s", len(frames.group), len(np.unique(frames.group)), world, device)
        pairs = load_pairs(args.run) if settings.pairs else None
        training = DiffusionTraining(config, resolve_encoders(args), frames, held_out, args.run / "diffusion", settings, device, pairs)
        if args.resume:
            training.resume()
        elif args.start:
            try:
                training.start_from(args.start)
            except OtherShapeError:
                if args.step != "starter":
                    raise
                log.info(
                    "diffusion: the noise predictor of %s has another shape, so this one begins anew; its encoders are kept", args.start
                )
        return training.run(args.tensorboard)


def export(args: argparse.Namespace) -> dict:
    """Write the bundle and return its figures."""
    from dva_core.train.assemble import assemble_finetuned

    info = assemble_finetuned(args.run, resolve_model(args.start), args.out, name=args.name or args.out.stem, precision=args.precision)
    return {"bundle": str(info.path), "bytes": info.size_bytes, "parameters": info.parameters, "attributes": list(info.attributes)}
