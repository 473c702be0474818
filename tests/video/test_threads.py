"""Threads beside the work: order, errors, and nobody left behind."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from standin import write_video
from waiting import LONG, until

from dva_core.video import open_video
from dva_core.video.frames import Frames
from dva_core.video.threads import WriteBehind, in_order, read_ahead


def helpers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dva_video")]


class Numbers:
    """Counts what was asked for, and knows whether it was closed."""

    def __init__(self, fail_at: int | None = None):
        self.given, self.closed, self.fail_at = 0, False, fail_at

    def __iter__(self):
        try:
            while self.given < 100:
                if self.given == self.fail_at:
                    raise OSError("broken")
                self.given += 1
                yield self.given
        finally:
            self.closed = True


def test_items_come_in_order_and_only_a_few_ahead():
    numbers = Numbers()
    taken = read_ahead(iter(numbers), depth=3)
    assert [next(taken) for _ in range(5)] == [1, 2, 3, 4, 5]
    until(lambda: numbers.given == 9)  # three wait, one is in hand
    time.sleep(0.05)
    assert numbers.given == 9
    assert list(taken) == list(range(6, 101)) and numbers.closed and not helpers()


def test_leaving_early_ends_the_thread_and_closes_the_source():
    numbers = Numbers()
    taken = read_ahead(iter(numbers))
    next(taken)
    assert helpers() == ["dva_video_ahead"]
    taken.close()
    assert numbers.closed and not helpers()


def test_an_error_comes_in_its_place():
    taken = read_ahead(iter(Numbers(fail_at=3)))
    assert [next(taken) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(OSError, match="broken"):
        next(taken)
    assert not helpers()


def test_everything_is_done_in_order_before_leaving():
    done = []
    with WriteBehind(done.append, depth=2) as behind:
        for i in range(20):
            behind.put(i)
    assert done == list(range(20)) and not helpers()


@pytest.mark.parametrize("more", [0, 50])
def test_an_error_of_the_work_is_raised_where_the_items_come_from(more):
    done = []

    def work(item: int) -> None:
        if item == 3:
            raise OSError("disk full")
        done.append(item)

    with pytest.raises(OSError, match="disk full"), WriteBehind(work, depth=2) as behind:
        for i in range(4 + more):
            behind.put(i)
    assert done == [0, 1, 2] and not helpers()


def test_after_a_failed_block_nothing_more_is_done():
    done = []

    def work(item: int) -> None:
        assert behind._stop.wait(LONG)  # the block has failed, and what it had put is still there
        done.append(item)

    with pytest.raises(KeyboardInterrupt), WriteBehind(work) as behind:
        for i in range(4):
            behind.put(i)
        raise KeyboardInterrupt
    assert done in ([], [0]) and not helpers()


def open_files(path: Path) -> int:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system does not list open files")
    return sum(os.path.realpath(link) == str(path.resolve()) for link in folder.iterdir())


def test_a_video_gives_the_readers_frames_and_leaves_nothing_open(tmp_path):
    path = write_video(tmp_path / "video.mkv", 9)
    with open_video(path) as reader:
        expected = [frame.rgb for frame in reader]
    with Frames(path, max_frames=7) as frames:
        assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(frames, expected[:7], strict=True))
        half_way = iter(frames)
        next(half_way)
        assert helpers() and open_files(path)
    assert not helpers() and not open_files(path)


@pytest.mark.parametrize("workers", [0, 3])
def test_in_order_whoever_does_it(workers):
    begun = []

    def work(item):
        begun.append(item)
        time.sleep(0.02 if item % 2 else 0)
        return item**2

    results = in_order(work, iter(range(12)), workers, depth=2)
    assert next(results) == 0
    assert len(begun) <= (1 if not workers else 3)  # no more wait than is said
    assert list(results) == [n**2 for n in range(1, 12)] and sorted(begun) == list(range(12))


def test_an_error_comes_in_its_place_and_ends_it():
    def work(item):
        if item == 3:
            raise ValueError("three")
        return item

    results = in_order(work, range(100), 2, depth=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_a_thread_that_reads_ahead_knows_for_whom():
    """ComfyUI's progress asks which node is run, which is in a context variable."""
    whom = contextvars.ContextVar("whom", default="nobody")
    token = whom.set("node 7")
    try:
        assert list(read_ahead(whom.get() for _ in range(2))) == ["node 7", "node 7"]
    finally:
        whom.reset(token)
