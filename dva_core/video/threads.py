"""Reading and writing beside the work: a few frames ahead, a few frames behind, each in a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

T, R = TypeVar("T"), TypeVar("R")

DEPTH = 4  # frames that wait at the most, so that memory stays what it is
PATIENCE = 0.1  # seconds between two looks at whether the other side is still there
END = object()


def ahead(items: Iterator[T], depth: int = DEPTH) -> Iterator[T]:
    """`items`, got by a thread up to `depth` ahead of whoever takes them; an error comes in its place.

    Closing this generator (or letting go of it) ends the thread and closes `items`, before it returns.
    """
    queue: Queue = Queue(depth)
    abandoned = threading.Event()

    def give(item: object, error: BaseException | None = None) -> None:
        while not abandoned.is_set():
            try:
                return queue.put((item, error), timeout=PATIENCE)
            except Full:
                continue

    def get_all() -> None:
        try:
            for item in items:
                give(item)
                if abandoned.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 (raised again where the items are taken)
            give(END, error)
        else:
            give(END)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=get_all, name="dva_video_ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = queue.get()
            if error is not None:
                raise error
            if item is END:
                return
            yield item
    finally:
        abandoned.set()
        thread.join()


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int, depth: int = DEPTH) -> Iterator[R]:
    """work(item) of each item, in their order: on the spot, or by so many `workers` (threads), up to `depth` items ahead."""
    if not workers:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="dva_in_order") as pool:
        begun: deque[Future] = deque()
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) > depth:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for one in begun:
                one.cancel()


class Behind(Generic[T]):
    """Context manager: `put(item)` has `work(item)` done by a thread, in order, at most `depth` items behind.

    An error of `work` is raised by the next `put` or on leaving; after it, or where the block fails, nothing more is done. On leaving
    the thread has ended.
    """

    def __init__(self, work: Callable[[T], object], depth: int = DEPTH) -> None:
        self._work, self._queue = work, Queue(depth)
        self._left = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._do_all, name="dva_video_behind", daemon=True)

    def __enter__(self) -> Behind[T]:
        self._thread.start()
        return self

    def put(self, item: T) -> None:
        while self._error is None:
            try:
                return self._queue.put(item, timeout=PATIENCE)
            except Full:
                continue
        raise self._error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._left.set()
        elif self._error is None:
            self.put(END)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _do_all(self) -> None:
        while not self._left.is_set():
            try:
                item = self._queue.get(timeout=PATIENCE)
            except Empty:
                continue
            if item is END:
                return
            try:
                self._work(item)
            except BaseException as error:  # noqa: BLE001 (raised again by `put` or on leaving)
                self._error = error
                return
