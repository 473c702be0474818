"""`batch`: many videos times many edits."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from ..errors import DVAError
from .terminal import answer, say, show

LISTED = 200  # jobs that are printed for a person


def add_commands(commands) -> None:
    batch = commands.add_parser("batch", help="many videos times many edits, on ComfyUI servers or with Ray", description=BATCH)
    parts = batch.add_subparsers(dest="part", required=True, metavar="WHAT")
    check = parts.add_parser("check", help="look a batch over and print its jobs; nothing is run")
    add_batch(check)
    check.add_argument("--all", action="store_true", help=f"print all jobs (default: the first {LISTED})")
    check.set_defaults(run=run_check)
    schema_ = parts.add_parser("schema", help="print the JSON schema of a batch, for editors")
    schema_.set_defaults(run=run_schema)


BATCH = "Runs every edit of a list on every video of another, as a .yaml, .json or .csv file describes it (docs/batch.md)."


def add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("batch", metavar="JOBS", help="the description of the batch: .yaml, .json or .csv")
    parser.add_argument("-o", "--results", metavar="FOLDER", help="where results go, instead of where the batch says")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON on stdout")


def plan_of(args: argparse.Namespace):
    """The plan that a command is about; a missing package is told in a sentence."""
    from .. import batch

    try:
        return batch.load_plan(args.batch, args.results)
    except ModuleNotFoundError as error:
        raise batch.missing(error) from error


def run_check(args: argparse.Namespace) -> None:
    plan = plan_of(args)
    from ..batch.check import look_over

    found = look_over(plan)
    if args.json:
        jobs = [about(plan, job) for job in plan.jobs]
        answer({"jobs": jobs, **asdict(found)}, True, "")
    else:
        for line in lines_of(plan, found, None if args.all else LISTED):
            show(line)
    if found.problems:
        raise DVAError(f"{len(found.problems)} thing{'s' * (len(found.problems) > 1)} in {args.batch} will fail: {found.problems[0]}")


def about(plan, job) -> dict[str, Any]:
    """A job for a script."""
    return {
        "name": job.name,
        "video": str(job.video),
        "edit": job.edit,
        "face": job.face,
        "result": str(job.result),
        "done": job.result.exists(),
    }


def lines_of(plan, found, most: int | None) -> list[str]:
    """A batch for a person: videos, jobs, what is wrong."""
    lines = [f"{len(found.videos)} videos, {len(plan.jobs)} jobs, {found.done} done; results in {plan.results}", ""]
    for video in found.videos[:most]:
        size = f"{video['width']}x{video['height']}, {video['frames'] or '?'} frames" if "width" in video else "CANNOT BE READ"
        lines.append(f"  {video['file']}  {size}, {video['bytes'] / 1e6:.1f} MB, {video['edits']} edits")
    lines.append("")
    for job in plan.jobs[:most]:
        lines.append(f"  {'done   ' if job.result.exists() else 'missing'}  {job.name}  {in_words(job)}")
    if most is not None and len(plan.jobs) > most:
        lines.append(f"  ... and {len(plan.jobs) - most} more; --all lists them")
    lines += ["", *(f"  ! {problem}" for problem in found.problems)]
    return lines[: -1 if lines[-1] == "" else None]


def in_words(job) -> str:
    """What an edit does: "Young +0.8, Smiling 0 to 0.5"."""
    edit = job.spec
    parts = [f"{name} {strength(scale)}" for name, scale in {**edit.attributes, **edit.directions}.items()]
    parts += [f'"{edit.text.source}" to "{edit.text.target}" {strength(edit.text.scale)}'] if edit.text else []
    parts += [f"{name}={value}" for name, value in edit.inputs.items()]
    face = "" if job.face == "largest" else f", {job.face}"
    return ", ".join(parts) + face


def strength(scale: float | dict[str, Any]) -> str:
    if isinstance(scale, dict):
        values = [value for when, value in scale.items() if when != "curve"]
        return f"{values[0]:g} to {values[-1]:g}"
    return f"{scale:+g}"


def run_schema(args: argparse.Namespace) -> None:
    from .. import batch

    try:
        show(json.dumps(batch.schema(), indent=2))
    except ModuleNotFoundError as error:
        raise batch.missing(error) from error
    say("Put it beside the batch and name it in the first line of a .yaml: # yaml-language-server: $schema=batch.schema.json")
