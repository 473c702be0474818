"""Times of things taken in turn, and tables of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

Clock = Callable[[], float]  # seconds; time.process_time counts the processor's, whatever else the machine does


def seconds(work: Callable[[], object], device: torch.device, clock: Clock = time.perf_counter) -> float:
    """How long `work` takes, until the device has done it."""
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - started


def in_turn(
    works: dict[str, Callable[[], object]], repeats: int, device: torch.device, warm: bool = True, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each, all of them once before any is timed again, so that what the machine does besides meets all alike."""
    if warm:
        for work in works.values():
            seconds(work, device, clock)
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            taken[name].append(seconds(work, device, clock))
    return taken


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Lowest to highest."""
    return f"{min(values):.3g} to {max(values):.3g}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int, clock: Clock = time.perf_counter) -> float:
    """FLOP a second of a matrix product [size, size], the best of several."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(in_turn({"product": lambda: a @ b}, 7, device, clock=clock)["product"])
