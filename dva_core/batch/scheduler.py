"""Assignment of jobs to workers. No input or output here: workers are names, and the executor reports events.

A video is encoded by the worker that does its first edit and stays encoded there, so all its edits go to that worker. A worker without
work takes the largest video that no worker has begun. If none is left, it takes edits over from the worker with the most work left, as
many as let both finish earliest, if encoding the video once more pays off.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count
from typing import Protocol

ENCODE_TIMES = 2.0  # time of an encode over that of a decode, until measured: 0.10 s and 0.055 s a frame (docs/performance.md)
LOSSES = 4  # workers lost on one job before it is given up; chance does not cause as many in ten thousand jobs
TRIES = 2


class Work(Protocol):
    """A job for the scheduler: unique name, the video it shares an encode with, and that video's size in any unit."""

    name: str
    group: str
    size: int


class Chunk:
    """Waiting jobs of one video, in order."""

    __slots__ = ("group", "names", "size")

    def __init__(self, group: str, size: int, names: Iterable[str] = ()) -> None:
        self.group, self.size, self.names = group, max(1, size), dict.fromkeys(names)


class Rates:
    """Seconds per unit of size for encoding and decoding, of one worker or, before it has done any, of all."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str | None, bool], list[float]] = {}

    def add(self, worker: str, size: int, first: bool, seconds: float) -> None:
        for key in ((worker, first), (None, first)):
            total = self._sums.setdefault(key, [0.0, 0.0])
            total[0] += seconds
            total[1] += max(1, size)

    @property
    def has_data(self) -> bool:
        return bool(self._sums)

    def of(self, worker: str) -> tuple[float, float]:
        """(encode, decode)."""
        whole, decode = self._rate(worker, True), self._rate(worker, False)
        if decode is None:
            decode = 1.0 if whole is None else whole / (1 + ENCODE_TIMES)
        return (ENCODE_TIMES * decode if whole is None else max(0.0, whole - decode)), decode

    def _rate(self, worker: str, first: bool) -> float | None:
        seconds, sizes = self._sums.get((worker, first)) or self._sums.get((None, first)) or (0.0, 0.0)
        return seconds / sizes if sizes else None


class WorkerState:
    """State of a worker. `queue`: its jobs; `running`: the current one, and whether it encodes first; `encoded`: the video it holds."""

    __slots__ = ("encoded", "queue", "running")

    def __init__(self) -> None:
        self.queue: list[Chunk] = []
        self.running: dict[str, bool] = {}
        self.encoded: str | None = None


class Scheduler:
    """State of all jobs. `shared`: a video encoded by one worker is available to all."""

    def __init__(self, jobs: Iterable[Work], shared: bool = False, tries: int = TRIES, losses: int = LOSSES) -> None:
        self.jobs: dict[str, Work] = {}
        self.workers: dict[str, WorkerState] = {}
        self.rates = Rates()
        self.remaining = 0  # neither done nor given up
        self._shared, self._tries, self._losses = shared, tries, losses
        self._free: list[tuple[float, int, Chunk]] = []  # a heap, the most work first
        self._free_of: dict[str, Chunk] = {}
        self._order = count()
        self._where: dict[str, tuple[str | None, Chunk]] = {}  # of those that wait: whose queue
        self._retries: list[str] = []  # failed once
        self._failures: dict[str, list[str]] = {}
        self._losses_of: dict[str, int] = {}
        self._encoded_groups: set[str] = set()
        groups: dict[str, Chunk] = {}
        for job in jobs:
            self.jobs[job.name] = job
            groups.setdefault(job.group, Chunk(job.group, job.size)).names[job.name] = None
        for chunk in groups.values():
            self._release(chunk)
        self.remaining = len(self.jobs)

    # -- workers come and go ---------------------------------------------------------------------------------

    def join(self, worker: str) -> None:
        """Add a worker that is ready; nothing is encoded there yet."""
        self.workers[worker] = WorkerState()

    def leave(self, worker: str, lost: bool = True) -> list[str]:
        """Remove a worker and release its jobs. Returns the jobs given up because too many workers were lost on them (`lost`)."""
        state, failures = self.workers.pop(worker), []
        for chunk in state.queue:
            self._release(chunk)
        for name in state.running:
            self._losses_of[name] = self._losses_of.get(name, 0) + lost
            if self._losses_of[name] >= self._losses:
                failures.append(name)
                self._end(name)
            else:
                self._requeue(name)
        return failures

    # -- what happened ---------------------------------------------------------------------------------------

    def finish(self, worker: str, name: str, seconds: float | None = None) -> None:
        """Mark a job done. `seconds` it took, if known."""
        job, first = self.jobs[name], self._ran(worker, name)
        if seconds is not None:
            self.rates.add(worker, job.size, first, seconds)
        self._encoded_groups.add(job.group)
        self._end(name)

    def fail(self, worker: str, name: str, retry: bool = True) -> bool:
        """Mark a job failed; True if it will be retried, on another worker if there is one."""
        self._ran(worker, name)
        self._failures.setdefault(name, []).append(worker)
        if retry and len(self._failures[name]) < self._tries:
            self._retries.append(name)
            return True
        self._end(name)
        return False

    def give_back(self, worker: str, name: str) -> None:
        """Return a job that was assigned but not started."""
        self._ran(worker, name)
        self._requeue(name)

    def drop(self, name: str) -> None:
        """Remove a waiting job, because its result came from elsewhere or it cannot be done."""
        self._take(name)
        self._end(name)

    # -- what is next ----------------------------------------------------------------------------------------

    def next(self, worker: str) -> Work | None:
        """Choose the next job for `worker`; None if there is none now, which may change with any event."""
        state = self.workers[worker]
        if not state.queue:
            name = self._retry_for(worker)
            if name is not None:
                return self._begin(worker, name)
            if not self._claim(worker):
                self._steal(worker)
        return self._begin(worker, next(iter(state.queue[0].names))) if state.queue else None

    def peek(self, worker: str) -> Work | None:
        """Predict the job that `worker` will do after the current one; other workers may still take it."""
        state = self.workers[worker]
        if not state.queue:
            self._claim(worker)
        return self.jobs[next(iter(state.queue[0].names))] if state.queue else None

    def adopt(self, worker: str, name: str) -> bool:
        """Record that `worker` is already running `name`; True if that job is still wanted from it."""
        if name not in self._where and name not in self._retries:
            return False
        rest = self._free_of.get(self._begin(worker, name).group)
        if rest is not None:  # the video is encoded there, or will be
            del self._free_of[rest.group]
            chunk, rest.names = Chunk(rest.group, rest.size, rest.names), {}
            self._give(worker, chunk)
        return True

    def waits(self, name: str) -> bool:
        """Tell whether a job has not been started."""
        return name in self._where or name in self._retries

    @property
    def waiting(self) -> int:
        """Number of jobs not started."""
        return len(self._where) + len(self._retries)

    def seconds_left(self) -> float | None:
        """Estimate the remaining seconds; None before any job is done or without workers."""
        if not self.workers or not self.rates.has_data:
            return None
        encode, decode = self.rates.of("")
        whole = 0.0
        for _, chunk in {id(chunk): (owner, chunk) for owner, chunk in self._where.values()}.values():
            whole += chunk.size * ((0 if chunk.group in self._encoded_groups else encode) + decode * len(chunk.names))
        whole += sum(self.jobs[name].size * decode for name in self._retries)
        whole += sum(self.jobs[name].size * decode / 2 for state in self.workers.values() for name in state.running)
        return whole / len(self.workers)

    # -- inside ----------------------------------------------------------------------------------------------

    def _begin(self, worker: str, name: str) -> Work:
        self._take(name)
        job, state = self.jobs[name], self.workers[worker]
        encodes = state.encoded != job.group and not (self._shared and job.group in self._encoded_groups)
        state.running[name], state.encoded = encodes, job.group
        return job

    def _ran(self, worker: str, name: str) -> bool:
        """Tell whether the job that has just ended encoded its video."""
        return self.workers[worker].running.pop(name) if worker in self.workers else False

    def _end(self, name: str) -> None:
        self.remaining -= 1
        self._failures.pop(name, None)
        self._losses_of.pop(name, None)

    def _requeue(self, name: str) -> None:
        if name in self._failures:
            self._retries.append(name)
        else:
            job = self.jobs[name]
            self._release(Chunk(job.group, job.size, [name]))

    def _release(self, chunk: Chunk) -> None:
        """Make jobs available to all workers, those of one video together."""
        other = self._free_of.get(chunk.group)
        if other is not None:
            chunk.names, other.names = {**chunk.names, **other.names}, {}
        self._free_of[chunk.group] = chunk
        for name in chunk.names:
            self._where[name] = (None, chunk)
        work = chunk.size * (ENCODE_TIMES + len(chunk.names))  # one fixed unit, independent of rates measured since
        heapq.heappush(self._free, (-work, next(self._order), chunk))

    def _take(self, name: str) -> None:
        """Remove a job from wherever it waits."""
        if name in self._retries:
            self._retries.remove(name)
            return
        owner, chunk = self._where.pop(name)
        del chunk.names[name]
        if not chunk.names and owner is not None:
            self.workers[owner].queue.remove(chunk)
        elif not chunk.names:
            del self._free_of[chunk.group]

    def _give(self, worker: str, chunk: Chunk) -> None:
        for name in chunk.names:
            self._where[name] = (worker, chunk)
        self.workers[worker].queue.append(chunk)

    def _retry_for(self, worker: str) -> str | None:
        """Choose a job that failed on another worker, or on this one if there is no other."""
        others = self.workers.keys() - {worker}
        return next((n for n in self._retries if worker not in self._failures[n] or not others - set(self._failures[n])), None)

    def _claim(self, worker: str) -> bool:
        while self._free:
            chunk = heapq.heappop(self._free)[2]
            if chunk.names:
                del self._free_of[chunk.group]
                self._give(worker, chunk)
                return True
        return False

    def _steal(self, worker: str) -> None:
        """Take edits over from the worker with the most work left, if both then finish earlier."""
        longest = max(
            ((self._to_go(other), other) for other in self.workers if other != worker and self.workers[other].queue), default=None
        )
        if longest is None:
            return
        to_go, victim = longest
        chunk = self.workers[victim].queue[-1]
        encode, decode = self.rates.of(worker)
        theirs = self.rates.of(victim)[1] * chunk.size
        encoded = (self._shared and chunk.group in self._encoded_groups) or self.workers[worker].encoded == chunk.group
        start, each = 0.0 if encoded else encode * chunk.size, decode * chunk.size
        ends = {k: max(start + k * each, to_go - k * theirs) for k in range(1, len(chunk.names) + 1)}
        best = min(ends, key=lambda k: (ends[k], k))
        if ends[best] >= to_go:
            return
        chunk = Chunk(chunk.group, chunk.size, list(chunk.names)[-best:])
        for name in chunk.names:
            self._take(name)
        self._give(worker, chunk)

    def _to_go(self, worker: str) -> float:
        """Estimate the seconds until a worker has finished its jobs; the running one counts half."""
        state, (encode, decode) = self.workers[worker], self.rates.of(worker)
        seconds = sum(self.jobs[name].size * (encode * first + decode) / 2 for name, first in state.running.items())
        for chunk in state.queue:
            first = state.encoded != chunk.group and not (self._shared and chunk.group in self._encoded_groups)
            seconds += chunk.size * (encode * first + decode * len(chunk.names))
        return seconds
