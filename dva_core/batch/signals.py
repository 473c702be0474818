"""Ctrl-C and termination signals in an event loop, with time to cancel what was started."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


async def run_until_signal(work: Awaitable[T]) -> T:
    """Await `work`; a first signal cancels it and raises KeyboardInterrupt after its cleanup, a second ends the process."""
    loop, task, received = asyncio.get_running_loop(), asyncio.ensure_future(work), []
    handlers = []

    def stop() -> None:
        received.append(True)
        task.cancel()
        for number in handlers:
            loop.remove_signal_handler(number)  # the next one is the system's
        handlers.clear()

    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) is signal.SIG_IGN:
            continue
        try:
            loop.add_signal_handler(number, stop)
        except (NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread: asyncio's own way
            continue
        handlers.append(number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
