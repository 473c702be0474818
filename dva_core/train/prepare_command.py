"""`train prepare`: prepares your footage for training."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_parser(commands) -> None:
    sub = commands.add_parser("prepare", help="find, align and filter the faces of videos, and pack them in shards to train on")
    sub.add_argument("videos", type=Path, nargs="+", metavar="VIDEOS", help="video files, or folders that hold videos or frames")
    sub.add_argument("-o", "--out", type=Path, required=True, help="folder to fill; the same command goes on where it was interrupted")
    sub.add_argument("--aligned", action="store_true", help="the folders hold aligned frames already: <group>/<frame>.jpg or .png")
    sub.add_argument("--size", type=int, default=256, help="pixels of the aligned squares (default: 256)")
    sub.add_argument("--every", type=int, default=1, help="take every n-th frame (default: 1)")
    sub.add_argument("--max-frames", type=int, default=0, help="at most so many frames of a video (default: all)")
    sub.add_argument("--least-size", type=float, default=64, help="drop frames whose face square is smaller, in pixels (default: 64)")
    sub.add_argument("--least-sharpness", type=float, default=8, help="drop frames more blurred than this (default: 8; 0: none)")
    sub.add_argument("--least-frames", type=int, default=8, help="drop videos with fewer frames left (default: 8)")
    sub.add_argument("--shard-frames", type=int, default=5000, help="about how many frames a shard holds (default: 5000)")
    sub.add_argument("--format", choices=("jpg", "png"), default="jpg", help="how frames are stored (default: jpg, quality 95)")
    sub.add_argument("--model", default="starter", help="whose networks find the faces: a known name or a bundle (default: starter)")
    sub.add_argument("--json", action="store_true", help="print the report as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Prepare the videos and print the frames dropped, by reason. DVAError for errors of the user."""
    from dva_core.model.loader import load_model
    from dva_core.train.prepare import Preparation, prepare

    settings = Preparation(
        size=args.size,
        every=args.every,
        max_frames=args.max_frames,
        least_size=args.least_size,
        least_sharpness=args.least_sharpness,
        least_frames=args.least_frames,
        shard_frames=args.shard_frames,
        kind=args.format,
        aligned=args.aligned,
    )
    figures = prepare(args.videos, args.out, load_model(args.model), settings)
    sys.stdout.write((json.dumps(figures) if args.json else as_text(figures, args.out)) + "\n")
    return 0


def as_text(figures: dict, out: Path) -> str:
    """Format the report as text."""
    lines = [f"{figures['clips']} of {figures['videos']} videos, {figures['frames']} frames, {figures['shards']} shards in {out}"]
    lines += [f"  {count} frames dropped: {reason}" for reason, count in figures["frames_dropped"].items()]
    lines += [f"  {name} left out: {problem}" for name, problem in figures["videos_left_out"].items()]
    return "\n".join(lines)
