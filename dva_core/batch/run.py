"""State shared by the executors: the jobs to do, the events they report, and the summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import DVAError
from .jobs import Job, Plan
from .journal import Journal, lock_folder

Watch = Callable[[dict[str, Any]], None]
"""Called with each event: {"event": "server" | "begun" | "progress" | "done" | "failed" | "again" | "disk" | "end", ...}."""


def ignore_event(event: dict[str, Any]) -> None:
    """Event handler that does nothing."""


@dataclass
class Tally:
    """Statistics of a worker: jobs, encodes, busy seconds, and how often it was lost."""

    jobs: int = 0
    encodes: int = 0
    seconds: float = 0.0
    lost: int = 0


@dataclass
class Summary:
    """Result of a run: jobs done now and before, message of each failed one, seconds, statistics of each worker.

    `stale`: existing results that were made with earlier settings.
    """

    jobs: int = 0
    done: int = 0
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    seconds: float = 0.0
    workers: dict[str, Tally] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Jobs that are neither done nor failed, because the run was stopped."""
        return self.jobs - self.done - self.before - len(self.failed)


class Run:
    """State of a run: journal (locked for this run), missing jobs, events."""

    def __init__(self, plan: Plan, journal: Journal, watch: Watch | None = None, redo: bool = False) -> None:
        self.plan, self.journal = plan, journal
        self._watch = ignore_event if watch is None else watch
        self.began = time.monotonic()
        self.summary = Summary(len(plan.jobs))
        self.todo: list[Job] = []
        for job in plan.jobs:
            record = journal.records.get(job.name)
            stale = record is not None and record.state == "done" and record.fingerprint not in ("", plan.fingerprint(job))
            if not job.result.exists() or (redo and stale):
                self.todo.append(job)
            else:
                self.summary.before += 1
                if stale:
                    self.summary.stale.append(job.name)
        journal.records.clear()  # later records are only on the disk, so that memory stays bounded

    @classmethod
    @contextmanager
    def of(cls, plan: Plan, watch: Watch | None = None, redo: bool = False) -> Iterator[Run]:
        """Start a run and lock its folder of results. DVAError if another run holds the lock, or the folder cannot be written to."""
        with lock_folder(plan.state):
            run = cls(plan, Journal.read(plan.state), watch, redo)
            try:
                yield run
            finally:
                run.summary.seconds = time.monotonic() - run.began
                run.tell(
                    "end", done=run.summary.done, before=run.summary.before, failed=len(run.summary.failed), missing=run.summary.missing
                )

    def tell(self, event: str, **about: Any) -> None:
        self._watch({"event": event, **about})

    def tally(self, worker: str) -> Tally:
        return self.summary.workers.setdefault(worker, Tally())

    def record_done(self, job: Job, worker: str, seconds: float, encoded: bool, **about: Any) -> None:
        """Record that the result of a job is in place."""
        self.journal.note("done", job.name, where=worker, seconds=round(seconds, 3), fingerprint=self.plan.fingerprint(job), **about)
        self.summary.done += 1
        tally = self.tally(worker)
        tally.jobs, tally.encodes, tally.seconds = tally.jobs + 1, tally.encodes + encoded, tally.seconds + seconds
        self.tell("done", job=job.name, worker=worker, seconds=round(seconds, 3), result=str(job.result))

    def record_failure(self, job: Job, worker: str, error: str, **about: Any) -> None:
        """Record that a job has failed for good."""
        self.summary.failed[job.name] = error
        self.tell("failed", job=job.name, worker=worker, error=error, result=str(job.result))
        self.journal.note("failed", job.name, where=worker, error=error, **about)

    def record_retry(self, job: Job, worker: str, error: str) -> None:
        """Record that a job failed and will be tried once more."""
        self.tell("again", job=job.name, worker=worker, error=error, result=str(job.result))


class Stopped(DVAError):
    """The run cannot go on; finished results are kept, and the same command resumes it."""
