"""The display of a running batch: a bar for each worker and one for all, failures as they happen, a table at the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .terminal import say

MOST_BARS = 16  # workers with a bar of their own
ROWS = 50  # failures that are listed


class BatchBars:
    """Progress bars for the events of a run (see batch.run.Watch); without a terminal on stderr only failures and workers are printed."""

    def __init__(self, jobs: int, before: int = 0) -> None:
        self.began = time.monotonic()
        form = "{desc}: {n_fmt}/{total_fmt}|{bar}| {elapsed}{postfix}"
        self.all = tqdm(total=jobs, initial=before, desc="all", position=0, bar_format=form, file=sys.stderr, disable=None)
        self.bars: dict[str, tqdm] = {}
        self.away: list[str] = []  # reported when the run continues without them, or at its end

    def __call__(self, event: dict[str, Any]) -> None:
        getattr(self, f"on_{event['event']}", lambda event: None)(event)

    def bar(self, worker: str) -> tqdm | None:
        if worker not in self.bars and len(self.bars) < MOST_BARS:
            form = "{desc} |{bar}| {n_fmt}/{total_fmt}{postfix}"
            position = len(self.bars) + 1
            self.bars[worker] = tqdm(desc=worker, total=1, position=position, bar_format=form, leave=False, file=sys.stderr, disable=None)
        return self.bars.get(worker)

    def on_begun(self, event: dict[str, Any]) -> None:
        while self.away:
            self.tell(self.away.pop(0))
        bar = self.bar(event["worker"])
        if bar is not None:
            bar.reset(1)
            bar.set_postfix_str(event["job"] + (", encodes" if event.get("encodes") else ""))

    def on_progress(self, event: dict[str, Any]) -> None:
        bar = self.bar(event["worker"])
        if bar is not None and event["total"]:
            bar.total, bar.n = event["total"], event["done"]
            bar.refresh()

    def on_done(self, event: dict[str, Any]) -> None:
        self.all.update(1)

    def on_left(self, event: dict[str, Any]) -> None:
        if event["seconds"] is not None:
            self.all.set_postfix_str(f"about {span(event['seconds'])} left")

    def on_server(self, event: dict[str, Any]) -> None:
        if event["state"] == "up":
            resumed = f"; takes up {', '.join(event['taken_up'])}" if event.get("taken_up") else ""
            self.tell(f"{event['worker']} is there{resumed}.") if resumed else None
        elif event["state"] == "away":
            self.away.append(event["error"])
        else:
            self.tell(f"{event['worker']} is {event['state']}: {event['error']}")

    def on_again(self, event: dict[str, Any]) -> None:
        self.tell(f"{result_of(event)}: {event['error']} It is tried once more.")

    def on_failed(self, event: dict[str, Any]) -> None:
        self.tell(f"{result_of(event)}: {event['error']}")

    def on_disk(self, event: dict[str, Any]) -> None:
        self.tell(event["error"])

    def tell(self, text: str) -> None:
        if self.all.disable:
            say(text)
        else:
            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        self.all.set_postfix_str("")  # no time is left
        for bar in self.bars.values():
            bar.close()
        self.all.close()

    def __enter__(self) -> BatchBars:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def result_of(event: dict[str, Any]) -> str:
    """Path of the result of an event, relative to the folder of results."""
    return event["job"] + Path(event["result"]).suffix


def span(seconds: float) -> str:
    """Format seconds: "45 s", "12 min", "3.2 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def table(summary: Any) -> list[str]:
    """Format the summary of a run as text."""
    lines = []
    width = max([len(name) for name in summary.workers] + [6])
    if summary.workers:
        lines.append(f"{'worker':<{width}}  jobs  encoded  at work   lost")
    for name, tally in sorted(summary.workers.items()):
        lines.append(f"{name:<{width}}  {tally.jobs:>4}  {tally.encodes:>7}  {span(tally.seconds):>7}  {tally.lost:>5}")
    lines += [f"failed: {name}: {error}" for name, error in list(summary.failed.items())[:ROWS]]
    if len(summary.failed) > ROWS:
        lines.append(f"... and {len(summary.failed) - ROWS} more failures; `batch status` lists all")
    if summary.stale:
        lines.append(
            f"{len(summary.stale)} results are of other settings than the batch's now, such as {summary.stale[0]}; --redo makes them anew"
        )
    parts = [f"{summary.done} done in {span(summary.seconds)}", *([f"{summary.before} before"] if summary.before else [])]
    parts += [f"{len(summary.failed)} failed"] if summary.failed else []
    parts += [f"{summary.missing} still to do"] if summary.missing else []
    return [*lines, f"{summary.jobs} jobs: {', '.join(parts)}."]
