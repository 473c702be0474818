"""`train set-mask`: a bundle with another face mask."""

from __future__ import annotations

import argparse
from pathlib import Path

from dva_core.model.bundle import resolve_model
from dva_core.train.mask.bundle import with_mask


def add_parser(commands) -> None:
    sub = commands.add_parser("set-mask", help="a bundle with the face parser of `train mask`, or with the hull of the landmarks")
    sub.add_argument("--start", required=True, metavar="BUNDLE", help="bundle or known name to begin with")
    kind = sub.add_mutually_exclusive_group(required=True)
    kind.add_argument("--mask", type=Path, metavar="FILE", help="mask.safetensors of a run")
    kind.add_argument("--hull", action="store_true", help="no parser: the hull of the landmarks")
    sub.add_argument("-o", "--out", type=Path, required=True, help="the bundle to write (.safetensors)")


def run(args: argparse.Namespace) -> int:
    with_mask(resolve_model(args.start), args.out, None if args.hull else args.mask)
    return 0
