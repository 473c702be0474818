"""The order of a batch, without servers: nothing twice, nothing forgotten, a video encoded where it can be once, little lost."""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import dataclass

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from dva_core.batch.scheduler import LOSSES, Rates, Scheduler

sys.path.insert(0, str(ROOT / "bench"))
from batch_simulation import make_jobs, simulate


@dataclass(frozen=True)
class Job:
    name: str
    group: str
    size: int = 10


def jobs(videos: int, edits: int, size: int = 10) -> list[Job]:
    return [Job(f"{v}.{e}", str(v), size * (1 + v % 3)) for v in range(videos) for e in range(edits)]


def names(*assignments) -> list[str | None]:
    return [None if job is None else job.name for job in assignments]


def test_all_edits_of_a_video_on_one_worker_the_longest_video_first():
    scheduler = Scheduler([Job("a1", "a", 1), Job("a2", "a", 1), Job("b1", "b", 9), Job("b2", "b", 9), Job("c1", "c", 5)])
    scheduler.join("x"), scheduler.join("y")
    assert names(scheduler.next("x"), scheduler.next("y")) == ["b1", "c1"]
    scheduler.finish("x", "b1", 27.0)
    assert names(scheduler.next("x")) == ["b2"]
    scheduler.finish("y", "c1", 15.0)
    assert names(scheduler.next("y")) == ["a1"]
    scheduler.finish("y", "a1", 3.0)
    assert names(scheduler.next("y")) == ["a2"]


def test_who_has_nothing_to_do_takes_over_what_pays():
    """Of one video with many edits a second worker takes so many that both end together; of the last one none."""
    scheduler = Scheduler([Job(f"a{n}", "a") for n in range(10)])
    scheduler.join("x")
    assert names(scheduler.next("x")) == ["a0"]
    scheduler.join("y")
    taken = scheduler.next("y")
    assert taken is not None and taken.name != "a1"
    mine, theirs = len(scheduler.workers["x"].queue[0].names), len(scheduler.workers["y"].queue[0].names) + 1
    assert mine + theirs == 9 and mine > theirs >= 3  # y has to encode first
    scheduler = Scheduler([Job("a0", "a"), Job("a1", "a")])
    scheduler.join("x"), scheduler.next("x"), scheduler.join("y")
    scheduler.rates.add("x", 10, True, 100.0), scheduler.rates.add("x", 10, False, 1.0)
    assert scheduler.next("y") is None  # to encode the video again takes longer than x does
    shared = Scheduler([Job(f"a{n}", "a") for n in range(4)], shared=True)
    shared.join("x"), shared.next("x"), shared.finish("x", "a0", 100.0), shared.join("y"), shared.next("x")
    assert shared.next("y") is not None and not shared.workers["y"].running[next(iter(shared.workers["y"].running))]


def test_a_failure_is_tried_elsewhere_and_then_given_up():
    scheduler = Scheduler(jobs(1, 2))
    scheduler.join("x"), scheduler.join("y")
    assert names(scheduler.next("x")) == ["0.0"] and scheduler.fail("x", "0.0")
    assert names(scheduler.next("x")) == ["0.1"]
    scheduler.finish("x", "0.1")
    assert scheduler.next("x") is None  # there is another who may know better
    assert names(scheduler.next("y")) == ["0.0"] and not scheduler.fail("y", "0.0") and scheduler.remaining == 0
    alone = Scheduler(jobs(1, 1))
    alone.join("x"), alone.next("x"), alone.fail("x", "0.0")
    assert names(alone.next("x")) == ["0.0"] and not alone.fail("x", "0.0")


def test_a_job_that_takes_servers_with_it_is_given_up():
    scheduler = Scheduler(jobs(1, 1))
    for n in range(LOSSES):
        scheduler.join(f"s{n}")
        assert names(scheduler.next(f"s{n}")) == ["0.0"]
        assert scheduler.leave(f"s{n}") == (["0.0"] if n == LOSSES - 1 else [])
    assert scheduler.remaining == 0


def test_what_is_found_on_a_worker_is_not_given_to_others():
    scheduler = Scheduler(jobs(1, 2))
    scheduler.join("x"), scheduler.join("y")
    assert scheduler.adopt("x", "0.0") and not scheduler.adopt("y", "0.0")
    assert scheduler.next("y") is None and names(scheduler.peek("x")) == ["0.1"]  # the video is encoded at x
    assert scheduler.leave("x") == [] and names(scheduler.next("y"), scheduler.next("y")) in (["0.0", "0.1"], ["0.1", "0.0"])
    scheduler.give_back("y", "0.1")
    assert scheduler.waits("0.1") and not scheduler.waits("0.0") and names(scheduler.next("y")) == ["0.1"]


def test_rates_are_learnt():
    rates = Rates()
    assert rates.of("x") == (2.0, 1.0)
    rates.add("x", 10, True, 30.0), rates.add("x", 10, False, 10.0), rates.add("y", 10, False, 5.0)
    assert rates.of("x") == (2.0, 1.0) and rates.of("y")[1] == 0.5 and rates.of("z")[1] == 0.75


def test_the_time_left():
    scheduler = Scheduler(jobs(4, 2))
    assert scheduler.seconds_left() is None
    scheduler.join("x")
    first = scheduler.next("x")
    scheduler.finish("x", first.name, 3.0)
    before = scheduler.seconds_left()
    second = scheduler.next("x")
    scheduler.finish("x", second.name, 1.0)
    assert 0 < scheduler.seconds_left() < before


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_whatever_happens_every_job_ends_once(seed, videos, edits, workers, shared):
    """Workers come and go, jobs fail, are given back, found again: in the end each job was done once or given up, and nothing waits."""
    draw, work = random.Random(seed), jobs(videos, edits)
    scheduler, ended, running = Scheduler(work, shared), Counter(), {}
    for _ in range(4000):
        if not scheduler.remaining:
            break
        worker = f"w{draw.randrange(workers)}"
        if worker not in scheduler.workers:
            scheduler.join(worker)
        elif worker not in running:
            job = scheduler.next(worker)
            if job is not None:
                assert job.name not in running.values() and not ended[job.name]
                running[worker] = job.name
            if draw.random() < 0.3:
                scheduler.peek(worker)
        else:
            what, name = draw.random(), running.pop(worker)
            if what < 0.7:
                scheduler.finish(worker, name, draw.random())
                ended[name] += 1
            elif what < 0.8:
                ended[name] += not scheduler.fail(worker, name)
            elif what < 0.9:
                scheduler.give_back(worker, name)
            else:
                for given_up in scheduler.leave(worker):
                    ended[given_up] += 1
        assert scheduler.remaining == len(work) - sum(ended.values())
        assert scheduler.waiting == scheduler.remaining - len(running)
    assert ended == Counter(job.name for job in work) and scheduler.waiting == 0 and scheduler.remaining == 0


def test_sixty_four_servers_lose_little():
    figures = simulate(make_jobs(2000, 4, random.Random(1)), 16, failures_an_hour=1.0, seed=1)
    assert set(figures.times_done.values()) == {1} and figures.failures > 0 and figures.given_up == 0
    assert figures.seconds / figures.ideal < 1.10 and figures.encodes < 1.1
    steady = simulate(make_jobs(2000, 4, random.Random(1)), 16, failures_an_hour=0.0)
    assert steady.seconds / steady.ideal < 1.05 and steady.encodes < 1.06


@pytest.mark.parametrize("shared", [False, True])
def test_a_video_is_encoded_once_a_worker_at_most(shared):
    """When nothing is lost; with a shared folder once in all where it is not begun at two places at a time."""
    figures = simulate(make_jobs(120, 3, random.Random(2)), 4, failures_an_hour=0.0, shared=shared)
    assert figures.encodes <= (1.1 if shared else 1.2)
