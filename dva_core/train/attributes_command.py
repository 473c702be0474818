"""`train attributes`: linear classifiers of all labelled attributes, for a bundle or as direction files."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from dva_core.errors import DVAError
from dva_core.files import check_place, check_spares, file_names

log = logging.getLogger(__name__)


def add_parser(commands) -> None:
    sub = commands.add_parser("attributes", help="fit attribute classifiers from a folder of aligned faces and a table of labels")
    sub.add_argument("--faces", type=Path, required=True, help="folder of aligned square faces, such as CelebA-HQ's")
    sub.add_argument("--labels", type=Path, help="CelebA-HQ's annotation file, or a CSV (default: labels.csv in the folder)")
    sub.add_argument("--model", default="starter", help="whose identity encoder to use: a known name or a bundle (default: starter)")
    sub.add_argument("--only", action="append", default=[], metavar="NAME", help="fit this attribute only; repeat for several")
    sub.add_argument("--samples", type=int, default=300_000, help="pictures drawn while fitting (default: 300000, as the paper)")
    sub.add_argument("--least-auc", type=float, default=0.0, metavar="A", help="leave out of the bundle what is told worse (default: 0)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("-o", "--out", type=Path, help="a new bundle (.safetensors): the model with these attributes")
    sub.add_argument("--classifiers", type=Path, metavar="FILE", help="keep the classifiers themselves, last and averaged, with statistics")
    sub.add_argument("--directions", type=Path, metavar="FOLDER", help="write each attribute as a direction file")
    sub.add_argument("--json", action="store_true", help="print the figures as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Encode, fit, write the outputs and print the held-out figures of each attribute. DVAError for errors of the user."""
    from dva_core.edit.directions import SUFFIX, encoder_fingerprint
    from dva_core.model.loader import load_model, resolve_model
    from dva_core.train import classifiers as fitting
    from dva_core.train.labels import read_labels

    if not (args.out or args.classifiers or args.directions):
        raise DVAError("Nothing would be kept; give -o BUNDLE, --classifiers FILE or --directions FOLDER.")
    if args.samples < 1:
        raise DVAError(f"The samples cannot be {args.samples}; use 1 or more.")
    table = fitting.select_columns(read_labels(args.labels or args.faces / "labels.csv"), args.only)
    directions: dict[str, Path] = {}
    if args.directions:
        folder = make_folder(args.directions)
        directions = {name: folder / file for name, file in zip(table.names, file_names(table.names, SUFFIX))}
    for path in filter(None, (args.out, args.classifiers, *directions.values())):
        check_place(path)
        check_spares(path, "output", [args.labels or args.faces / "labels.csv", resolve_model(args.model)])
    model = load_model(args.model)
    log.info("encoding %d pictures", len(table.files))
    z_id = fitting.encode_folder(model, args.faces, table.files)
    classifiers = fitting.fit_classifiers(z_id, table, samples=args.samples, seed=args.seed)
    if args.classifiers:
        classifiers.save(args.classifiers, encoder_fingerprint(model, "identity"))
    for direction in fitting.to_directions(classifiers, model) if directions else ():
        direction.save(directions[direction.name])
    if args.out:
        fitting.into_bundle(classifiers, resolve_model(args.model), args.out, least_auc=args.least_auc)
    text = json.dumps({"pictures": len(table.files), "attributes": classifiers.figures}) if args.json else as_table(classifiers.figures)
    sys.stdout.write(text + "\n")
    return 0


def make_folder(folder: Path) -> Path:
    """Return the folder, creating it if needed; DVAError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DVAError(f"The folder {folder} cannot be made ({error.strerror}); choose another.") from error
    return folder


def as_table(figures: list[dict]) -> str:
    """Format the figures of the classes as text."""
    width = max(len(figure["name"]) for figure in figures)
    lines = [f"{'attribute':<{width}}  accuracy    AUC    yes     no   (accuracy and AUC on held-out people)"]
    for f in figures:
        accuracy, auc = (f"{f[key]:.3f}" if f[key] is not None else "  -  " for key in ("accuracy", "auc"))
        lines.append(f"{f['name']:<{width}}  {accuracy:>8}  {auc:>5}  {f['yes']:>5}  {f['no']:>5}")
    return "\n".join(lines)
