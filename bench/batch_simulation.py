"""What the order of a batch costs on many servers: the scheduler itself with drawn service times, on a clock of its own.

    python bench/batch_simulation.py [--servers 64] [--jobs 10000] [--seed 0]

A server takes 0.100 s a frame to encode and 0.055 s to decode (docs/performance.md), and its own factor on both; between two jobs it waits
for the client. Now and then one dies: it is noticed after the time-out, its job begins anew elsewhere, and it comes back empty.
The ideal shares all work out evenly over the time that servers were up, each video encoded once, nothing ever lost.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import tracemalloc
from dataclasses import dataclass
from itertools import count

from dva_core.batch.scheduler import Scheduler

ENCODE, DECODE = 0.100, 0.055  # seconds a frame


@dataclass(frozen=True)
class Job:
    name: str
    group: str
    size: int  # frames


@dataclass
class Outcome:
    """Seconds: of the whole, of the ideal; how often a video was encoded, per video; what failures did; who did what how often."""

    seconds: float
    ideal: float
    encodes: float
    failures: int
    times_done: dict[str, int]
    given_up: int
    peak_bytes: int


def make_jobs(jobs: int, edits: int, draw: random.Random) -> list[Job]:
    """Videos of 2 s to several minutes (log-normal, median 6 s at 25 frames a second), `edits` each."""
    frames = [max(50, int(draw.lognormvariate(5.0, 0.8))) for _ in range(-(-jobs // edits))]
    return [Job(f"{n // edits}_{n % edits}", str(n // edits), frames[n // edits]) for n in range(jobs)]


def simulate(
    jobs: list[Job],
    servers: int = 64,
    *,
    failures_an_hour: float = 1.0,
    down: float = 60.0,
    timeout: float = 60.0,
    gap: float = 0.2,
    spread: float = 0.1,
    shared: bool = False,
    seed: int = 0,
) -> Outcome:
    """Runs all jobs on a clock of its own. gap: seconds between two jobs of a server; spread: of the servers' speeds."""
    draw = random.Random(seed)
    scheduler, order = Scheduler(jobs, shared), count()
    events: list[tuple[float, int, str, tuple]] = []
    speed = {f"s{n}": max(0.3, draw.gauss(1.0, spread)) for n in range(servers)}
    generation = dict.fromkeys(speed, 0)
    encoded: dict[str, str] = {}
    done = dict.fromkeys((job.name for job in jobs), 0)
    decomposed: set[str] = set()
    given_up = failures = encodes = 0
    now, idle, up_since, up = 0.0, set(), {}, dict.fromkeys(speed, 0.0)
    tracemalloc.start()

    def at(when: float, what: str, *about) -> None:
        heapq.heappush(events, (when, next(order), what, about))

    def start(server: str) -> None:
        nonlocal encodes
        job = scheduler.next(server)
        if job is None:
            idle.add(server)
            return
        idle.discard(server)
        needs = encoded.get(server) != job.group and not (shared and job.group in decomposed)
        encodes += needs
        encoded[server] = job.group
        seconds = job.size * speed[server] * (ENCODE * needs + DECODE) * draw.uniform(0.95, 1.05)
        at(now + gap + seconds, "end", server, generation[server], job, seconds)

    def join(server: str) -> None:
        scheduler.join(server)
        encoded.pop(server, None)
        up_since[server] = now
        if failures_an_hour:
            at(now + draw.expovariate(failures_an_hour / 3600), "die", server)
        start(server)

    for server in speed:
        join(server)
    while scheduler.remaining:
        now, _, what, about = heapq.heappop(events)
        server = about[0]
        if what == "end" and about[1] == generation[server]:
            job = about[2]
            done[job.name] += 1
            decomposed.add(job.group)
            scheduler.finish(server, job.name, about[3])
            start(server)
        elif what == "die" and server in up_since:
            failures += 1
            generation[server] += 1
            idle.discard(server)
            up[server] += now - up_since.pop(server)
            at(now + timeout, "noticed", server)
        elif what == "noticed":
            given_up += len(scheduler.leave(server))
            at(now + down, "back", server)
        elif what == "back":
            join(server)
        for waiting in sorted(idle & scheduler.workers.keys()) if scheduler.waiting else ():
            start(waiting)
    for server, since in up_since.items():
        up[server] += now - since
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    frames = {job.group: job.size for job in jobs}
    work = ENCODE * sum(frames.values()) + DECODE * sum(job.size for job in jobs)
    rate = sum(up[server] / now / speed[server] for server in speed)  # of the servers as they were up
    return Outcome(now, work / rate, encodes / len(frames), failures, done, given_up, peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--edits", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    jobs = make_jobs(args.jobs, args.edits, random.Random(args.seed))
    for name, settings in {
        "as described": {},
        "no failures": {"failures_an_hour": 0.0},
        "speeds of 0.3 to 2": {"spread": 0.5},
        "a shared folder of decompositions": {"shared": True},
    }.items():
        figures = simulate(jobs, args.servers, seed=args.seed, **settings)
        print(
            json.dumps(
                {
                    "run": name,
                    "hours": round(figures.seconds / 3600, 3),
                    "ideal": round(figures.ideal / 3600, 3),
                    "lost": f"{(figures.seconds / figures.ideal - 1):.1%}",
                    "encodes a video": round(figures.encodes, 3),
                    "servers died": figures.failures,
                    "jobs given up": figures.given_up,
                    "done twice": sum(times > 1 for times in figures.times_done.values()),
                    "not done": sum(times == 0 for times in figures.times_done.values()),
                    "peak MB": round(figures.peak_bytes / 1e6, 1),
                }
            )
        )


if __name__ == "__main__":
    main()
