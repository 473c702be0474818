"""Results that come back to the CPU while the device goes on with the next batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")


def fetch(*tensors: Tensor, apart: bool = True) -> Callable[[], list[np.ndarray]]:
    """Begin to copy `tensors` to the CPU; the function returned gives them as arrays and waits for them if it has to.

    From CUDA they go into pinned memory, so that the program does not stand still; `apart` on a stream of their own, so that the device
    does not either, else in turn, as suits a few numbers. Copies from other devices are made at once.
    """
    device = next((tensor.device for tensor in tensors if tensor.device.type == "cuda"), None)
    if device is None:
        arrays = [tensor.cpu().numpy() for tensor in tensors]
        return lambda: arrays
    copies = torch.cuda.current_stream(device)
    if apart:
        copies, now = torch.cuda.Stream(device), copies
        copies.wait_stream(now)
    with torch.cuda.stream(copies):
        places = [copy_behind(tensor, copies) if tensor.device == device else tensor.cpu() for tensor in tensors]
        done = copies.record_event()

    def take() -> list[np.ndarray]:
        if not done.query():
            done.synchronize()
        return [place.numpy() for place in places]

    return take


def copy_behind(tensor: Tensor, stream: torch.cuda.Stream) -> Tensor:
    """A tensor on the CPU to which `stream`, the current one, copies; in pinned memory, or where there is none to be had, waited for."""
    try:
        place = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    except RuntimeError:
        return tensor.cpu()
    place.copy_(tensor, non_blocking=True)
    tensor.record_stream(stream)  # its memory is not given to others until it is copied
    return place


def as_here(items: Iterator[T]) -> Iterator[T]:
    """Yield `items`, each made with the modes and the device that torch has where this is called, in whatever thread it is taken."""
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    device = torch.cuda.current_device() if torch.cuda.is_available() else None

    def made() -> Iterator[T]:
        if device is not None:
            torch.cuda.set_device(device)
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            yield from items

    return made()


def two_in_flight(begun: Iterable[Callable[[], T]], device: torch.device) -> Iterator[T]:
    """Yield what each of `begun`, the work on one batch, gives when called: on CUDA once the next one has begun, elsewhere at once."""
    before: Callable[[], T] | None = None
    for answer in begun:
        if device.type != "cuda":
            yield answer()
            continue
        if before is not None:
            yield before()
        before = answer
    if before is not None:
        yield before()
