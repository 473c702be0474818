"""`convert` and `models`: the model files."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace

from ..edit.attributes import entries_of
from ..files import check_input, check_place, check_spares
from ..hosts.devices import PRECISIONS
from ..model.bundle import BundleInfo, find_models, model_folders, read_header
from .terminal import answer, show


def add_commands(commands) -> None:
    convert = commands.add_parser("convert", help="turn the published checkpoints into one model file")
    convert.add_argument("checkpoint", metavar="CHECKPOINT", help="the diffusion checkpoint; it carries the encoders too")
    convert.add_argument("-o", "--output", required=True, metavar="BUNDLE.safetensors")
    convert.add_argument("--classifier", metavar="FILE", help="the attribute classifiers' checkpoint")
    convert.add_argument("--classifier-ema", action="store_true", help="take the classifiers' moving average")
    convert.add_argument("--statistics", metavar="FILE", help="mean and deviation of the identity vectors (latent.pkl)")
    convert.add_argument("--identity", metavar="FILE", help="IR-SE50 file to use instead of the checkpoint's")
    convert.add_argument("--landmarks", metavar="FILE", help="landmark network to use instead of the checkpoint's")
    convert.add_argument("--parser", metavar="FILE", help="face parser to use instead of the checkpoint's")
    convert.add_argument("--precision", choices=PRECISIONS, default="fp16", help="how the weights are stored (default fp16)")
    convert.add_argument(
        "--trust-pickle", action="store_true", help="read the tensors of a file that holds other objects too; these are never run"
    )
    convert.add_argument("--json", action="store_true", help="print what was made as JSON")
    convert.set_defaults(run=run_convert)
    models = commands.add_parser("models", help="list the model files found")
    models.add_argument("--json", action="store_true", help="print the list as JSON")
    models.set_defaults(run=run_models)


def run_convert(args: argparse.Namespace) -> None:
    from ..model.convert import convert

    files = [args.checkpoint, args.classifier, args.statistics, args.identity, args.landmarks, args.parser]
    for file in filter(None, files):
        check_input(file)
    check_place(args.output)
    check_spares(args.output, "output", files)
    checkpoint, classifier, statistics, identity, landmarks, parser = files
    info = convert(
        checkpoint,
        args.output,
        classifier=classifier,
        statistics=statistics,
        identity=identity,
        landmarks=landmarks,
        parser=parser,
        precision=args.precision,
        trust_pickle=args.trust_pickle,
        classifier_ema=args.classifier_ema,
    )
    answer(asdict(info), args.json, f"Wrote {info.path}: {summary(info)}.")


def run_models(args: argparse.Namespace) -> None:
    infos = [info if info.problem else with_shapes(info) for info in find_models()]
    if args.json:
        answer({"models": [asdict(info) for info in infos], "folders": model_folders()}, True, "")
        return
    for info in infos:
        show(f"{info.name}  {info.problem or summary(info)}")
        if not info.problem:
            show(f"    {info.path}\n    source: {info.source or 'not said'}\n    licence: {info.licence or 'not said'}")
            show(f"    attributes: {', '.join(info.attributes) or 'none'}")
    if not infos:
        show(f"No models in {', '.join(map(str, model_folders()))}.")


def with_shapes(info: BundleInfo) -> BundleInfo:
    """The same with all that the model edits: see `edit.shapes`."""
    return replace(info, attributes=tuple(entry.name for entry in entries_of(read_header(info.path).config)))


def summary(info: BundleInfo) -> str:
    """One line: sizes and precision."""
    return f"{info.image_size} px, {info.parameters / 1e6:.1f} M parameters, {info.precision}, {info.size_bytes / 1e6:.1f} MB"
