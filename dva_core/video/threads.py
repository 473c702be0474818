"""Threads for reading a few frames ahead and writing a few frames behind."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

T, R = TypeVar("T"), TypeVar("R")

DEPTH = 4  # frames in the queue at most, which bounds memory
PATIENCE = 0.1  # seconds between checks whether the other side has stopped
END = object()


def read_ahead(items: Iterator[T], depth: int = DEPTH) -> Iterator[T]:
    """Yield `items` in order while a thread fetches up to `depth` of them ahead; an exception of `items` is raised in its place.

    Closing or deleting the generator stops the thread and closes `items` first.
    """
    queue: Queue = Queue(depth)
    stop = threading.Event()

    def put(item: object, error: BaseException | None = None) -> None:
        while not stop.is_set():
            try:
                return queue.put((item, error), timeout=PATIENCE)
            except Full:
                continue

    def get_all() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 (raised again where the items are taken)
            put(END, error)
        else:
            put(END)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    context = contextvars.copy_context()  # whose work it is, which ComfyUI's progress asks for
    thread = threading.Thread(target=context.run, args=(get_all,), name="dva_video_ahead", daemon=True)
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
        stop.set()
        thread.join()


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int, depth: int = DEPTH) -> Iterator[R]:
    """Yield work(item) for each item, in order: computed here (0 workers), or by `workers` threads up to `depth` items ahead."""
    if not workers:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="dva_in_order") as pool:
        pending: deque[Future] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for one in pending:
                one.cancel()


class WriteBehind(Generic[T]):
    """Context manager whose thread calls `work(item)` for each `put(item)`, in order, at most `depth` items behind.

    An error of `work` is raised by the next `put` or on exit. After an error of `work` or of the block, pending items are dropped. The
    thread has ended on exit.
    """

    def __init__(self, work: Callable[[T], object], depth: int = DEPTH) -> None:
        self._work, self._queue = work, Queue(depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._do_all, name="dva_video_behind", daemon=True)

    def __enter__(self) -> WriteBehind[T]:
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
            self._stop.set()
        elif self._error is None:
            self.put(END)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _do_all(self) -> None:
        while not self._stop.is_set():
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
