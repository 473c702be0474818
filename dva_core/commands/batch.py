"""`batch`: many videos times many edits."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from typing import Any

from ..batch.messages import missing_package
from ..errors import DVAError
from .terminal import answer, say, show

MOST_LISTED = 200  # jobs that are printed for a person


def add_commands(commands) -> None:
    batch = commands.add_parser("batch", help="many videos times many edits, on ComfyUI servers or with Ray", description=BATCH)
    parts = batch.add_subparsers(dest="part", required=True, metavar="WHAT")
    check = parts.add_parser("check", help="look a batch over and print its jobs; nothing is run")
    add_batch(check)
    check.add_argument("--all", action="store_true", help=f"print all jobs (default: the first {MOST_LISTED})")
    check.set_defaults(run=run_check)
    run = parts.add_parser("run", help="do what is missing; the same command goes on where one was stopped")
    add_batch(run)
    run.add_argument("--server", action="append", default=[], metavar="URL", help="a ComfyUI server; repeat for several")
    run.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS", help="use Ray instead: this machine, or the cluster at the address"
    )
    run.add_argument("--workers", type=int, metavar="N", help="of --ray: models at a time (default: as many as the GPUs or CPUs hold)")
    run.add_argument("--gpus", type=float, metavar="SHARE", help="of --ray: of a GPU for each worker (default 1, where there is one)")
    run.add_argument("--cpus", type=float, default=1.0, metavar="N", help="of --ray: processors for each worker (default 1)")
    run.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="for every request to the servers; repeat")
    run.add_argument("--ca", metavar="FILE.pem", help="certificates that https servers are trusted by")
    run.add_argument("--timeout", type=float, default=60.0, metavar="S", help="without a sign of life a server is lost (default 60)")
    run.add_argument(
        "--patience", type=float, default=600.0, metavar="S", help="to wait without a server, or with a full disk (default 600)"
    )
    run.add_argument("--redo", action="store_true", help="make results again that were made with other settings")
    run.set_defaults(run=run_run)
    status = parts.add_parser("status", help="how a batch stands: what is done, on a server, failed, missing")
    add_batch(status)
    status.add_argument("--all", action="store_true", help=f"print all jobs that are not done (default: the first {MOST_LISTED})")
    status.set_defaults(run=run_status)
    report = parts.add_parser("report", help="write a page of HTML with pictures before and after, times and failures")
    add_batch(report)
    report.add_argument("--to", metavar="FOLDER", help="where the page goes (default: report/ among the results)")
    report.add_argument("--no-pictures", action="store_true", help="leave the pictures out")
    report.set_defaults(run=run_report)
    schema_ = parts.add_parser("schema", help="print the JSON schema of a batch, for editors")
    schema_.set_defaults(run=run_schema)


BATCH = "Runs every edit of a list on every video of another, as a .yaml, .json or .csv file describes it (docs/batch.md)."


def add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("batch", metavar="JOBS", help="the description of the batch: .yaml, .json or .csv")
    parser.add_argument("-o", "--results", metavar="FOLDER", help="folder of results, instead of the batch's own")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON on stdout")


def plan_of(args: argparse.Namespace):
    """Make the plan of the command's manifest; a missing package is reported as a user error."""
    from .. import batch

    try:
        return batch.load_plan(args.batch, args.results)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error


def run_check(args: argparse.Namespace) -> None:
    plan = plan_of(args)
    from ..batch.check import check_plan

    review = check_plan(plan)
    if args.json:
        jobs = [about(plan, job) for job in plan.jobs]
        answer({"jobs": jobs, **asdict(review)}, True, "")
    else:
        for line in lines_of(plan, review, None if args.all else MOST_LISTED):
            show(line)
    if review.problems:
        raise DVAError(f"{len(review.problems)} thing{'s' * (len(review.problems) > 1)} in {args.batch} will fail: {review.problems[0]}")


def run_run(args: argparse.Namespace) -> None:
    plan = plan_of(args)
    from .. import batch
    from .batch_view import BatchBars, table

    headers = dict(map(header, args.header))
    if args.timeout <= 0 or args.patience <= 0:
        raise DVAError("--timeout and --patience are seconds; give more than 0.")
    if args.ray and (args.server or args.header or args.ca):
        raise DVAError("Give either --server (with --header and --ca) or --ray.")
    if (args.workers is not None and args.workers < 1) or args.cpus <= 0 or (args.gpus is not None and args.gpus < 0):
        raise DVAError("--workers, --cpus and --gpus are counts of what each takes; give more than 0 (--gpus 0 for none).")
    options = {"patience": args.patience, "redo": args.redo}
    if args.ray:
        run = partial(batch.run_on_ray, plan, args.ray, workers=args.workers, gpus=args.gpus, cpus=args.cpus, **options)
    else:
        run = partial(batch.run_on_servers, plan, batch_servers(plan, args.server, headers), timeout=args.timeout, ca=args.ca, **options)
    bars = None if args.json else BatchBars(len(plan.jobs), sum(job.result.exists() for job in plan.jobs))
    watch = print_event if bars is None else bars
    try:
        summary = run(watch=watch)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    finally:
        if bars is not None:
            bars.close()
    if args.json:
        answer({"event": "summary", **asdict(summary)}, True, "")
    else:
        for line in table(summary):
            say(line)
    if summary.failed:
        first = next(iter(summary.failed.items()))
        raise DVAError(f"{len(summary.failed)} of {summary.jobs} jobs failed, {first[0]} first: {first[1]}")


def batch_servers(plan, urls: list[str], headers: dict[str, str]) -> list:
    """List the servers of the command line, or those of the batch, with extra headers; DVAError for an invalid address."""
    from pydantic import ValidationError

    from ..batch import Server

    try:
        servers = [Server(url=url) for url in urls] or plan.manifest.servers
    except ValidationError as error:
        first = next((url for url in urls if "://" not in url), urls[0])
        raise DVAError(f"The server {first} is no address; write for example http://127.0.0.1:8188.") from error
    return [Server(url=server.url, headers={**server.headers, **headers}) for server in servers]


def header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not value.strip():
        raise DVAError("A --header is no name and value; write it as 'Authorization: Bearer ...'.")
    return name.strip(), value.strip()


def print_event(event: dict[str, Any]) -> None:
    """Print an event as a line of JSON on stdout, flushed."""
    show(json.dumps(event))
    sys.stdout.flush()


def about(plan, job) -> dict[str, Any]:
    """Describe a job for --json."""
    return {
        "name": job.name,
        "video": str(job.video),
        "edit": job.edit,
        "face": job.face,
        "result": str(job.result),
        "done": job.result.exists(),
    }


def lines_of(plan, review, most: int | None) -> list[str]:
    """Summarise a batch as text: videos, jobs, problems."""
    lines = [f"{len(review.videos)} videos, {len(plan.jobs)} jobs, {review.done} done; results in {plan.results}", ""]
    for video in review.videos[:most]:
        size = f"{video['width']}x{video['height']}, {video['frames'] or '?'} frames" if "width" in video else "CANNOT BE READ"
        lines.append(f"  {video['file']}  {size}, {video['bytes'] / 1e6:.1f} MB, {video['edits']} edits")
    lines.append("")
    for job in plan.jobs[:most]:
        lines.append(f"  {'done   ' if job.result.exists() else 'missing'}  {job.name}  {in_words(job)}")
    if most is not None and len(plan.jobs) > most:
        lines.append(f"  ... and {len(plan.jobs) - most} more; --all lists them")
    lines += ["", *(f"  ! {problem}" for problem in review.problems)]
    return lines[: -1 if lines[-1] == "" else None]


def in_words(job) -> str:
    """Describe an edit: "Young +0.8, Smiling 0 to 0.5"."""
    edit = job.spec
    parts = [f"{name} {strength(scale)}" for name, scale in {**edit.attributes, **edit.directions}.items()]
    parts += [f'"{edit.text.source}" to "{edit.text.target}" {strength(edit.text.scale)}'] if edit.text else []
    parts += [f"{name}={value}" for name, value in edit.inputs.items()]
    parts += [job.face] if job.face != "largest" else []
    parts += [f"person {job.whom} alone"] if job.whom else []
    parts += [f"{job.keep.name} in front"] if job.keep else []
    return ", ".join(parts)


def strength(scale: float | dict[str, Any]) -> str:
    if isinstance(scale, dict):
        values = [value for when, value in scale.items() if when != "curve"]
        return f"{values[0]:g} to {values[-1]:g}"
    return f"{scale:+g}"


def run_status(args: argparse.Namespace) -> None:
    plan = plan_of(args)
    from ..batch.report import DONE, standings

    counts: dict[str, int] = {}
    stale, seconds, lines = 0, 0.0, []
    for standing in standings(plan):
        record = standing.record
        counts[standing.state] = counts.get(standing.state, 0) + 1
        stale += standing.stale
        seconds += (record.seconds or 0.0) if record else 0.0
        if args.json:
            facts = {} if record is None else {"where": record.where, "seconds": record.seconds, "error": record.error}
            show(json.dumps({**about(plan, standing.job), "state": standing.state, "stale": standing.stale, **facts}))
        elif standing.state != DONE and (args.all or len(lines) < MOST_LISTED):
            error = f": {record.error}" if record is not None and record.error else ""
            lines.append(f"  {standing.state:<11}  {standing.job.name}{error}")
    if args.json:
        return
    for line in lines:
        show(line)
    if (more := len(plan.jobs) - counts.get(DONE, 0) - len(lines)) > 0:
        show(f"  ... and {more} more; --all lists them")
    parts = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    show(
        f"{len(plan.jobs)} jobs: {parts}"
        + (f" ({stale} with other settings)" if stale else "")
        + f"; {seconds / 60:.1f} min of work so far."
    )


def run_report(args: argparse.Namespace) -> None:
    plan = plan_of(args)
    from ..batch.report import write_report

    place = write_report(plan, args.to, not args.no_pictures)
    answer({"report": str(place)}, args.json, f"Wrote {place}.")


def run_schema(args: argparse.Namespace) -> None:
    from .. import batch

    try:
        show(json.dumps(batch.schema(), indent=2))
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    say("Put it beside the batch and name it in the first line of a .yaml: # yaml-language-server: $schema=batch.schema.json")
