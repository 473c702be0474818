"""Plain torch as the host: everything stays on one device; a batch that runs out of memory is halved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dva_core.errors import DVAError
from dva_core.hosts.devices import choose_device

OUT_OF_MEMORY = (
    "out of memory",
    "allocate memory",
    "not enough memory",
    "not enough gpu video memory",  # DirectML
    "alloc_failed",
    "unable to find an engine",  # cuDNN's message if there is no memory for any of its algorithms
)
NO_MEMORY = (MemoryError, getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError))  # before torch 2.5 it is CUDA's alone

logger = logging.getLogger(__name__)


class PlainHost:
    """Runs networks without a host program. `dtype` is the noise predictor's; the small encoders stay float32.

    `operations` supplies the noise predictor's layers (None: torch.nn). `companion` keeps a reference to another model whose networks
    this one uses. `on_unload` releases what belongs to the noise predictor on the device beside its weights; called before memory is
    freed, and when a host program takes the weights away.
    """

    operations: Any = None
    companion: nn.Module | None = None
    on_unload: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, device: str | torch.device | None = None, dtype: torch.dtype = torch.float32) -> None:
        self.device = choose_device(device)
        self.dtype = dtype
        self._on_device: dict[str, nn.Module] = {}

    def use(self, name: str, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        """Move `module` (the part called `name`) to the device, on first use only, and return the device.

        `activation_bytes`, the memory its evaluation needs beside the weights, is for hosts that share the device; not used here.
        """
        if self._on_device.get(name) is not module:
            module.to(self.device)
            self._on_device[name] = module
        return self.device

    def sibling(self) -> PlainHost:
        """A host for another model, on the same device."""
        return PlainHost(self.device)

    def __deepcopy__(self, memo: dict) -> PlainHost:
        """The host for a copy of a model: the same device and precision, with nothing moved yet."""
        copy = self.sibling()
        copy.dtype = self.dtype
        return copy

    def place(self, predictor: nn.Module, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        """Change the device of all networks and the precision of the noise predictor; None leaves either unchanged.

        Raises DVAError for a device that this machine lacks.
        """
        if device is not None:
            self.device = choose_device(device)
            self._on_device.clear()
        if dtype is not None:
            self.convert("noise_predictor", predictor, dtype)

    def forget(self, name: str) -> None:
        """Release the part called `name`; for networks that are needed only for a while."""
        self._on_device.pop(name, None)

    @contextmanager
    def in_float32(self, name: str, module: nn.Module) -> Iterator[None]:
        """Context manager that converts the noise predictor, the part called `name`, to float32; for a batch that overflows half precision.

        On exit the weights are exactly the same as before: float32 represents every number of the half precisions.
        """
        dtype = self.dtype
        try:
            self.convert(name, module, torch.float32)
            yield
        finally:
            self.convert(name, module, dtype)

    def convert(self, name: str, module: nn.Module, dtype: torch.dtype) -> None:
        """Convert the noise predictor, the part called `name`, to another precision."""
        module.to(dtype)
        self.dtype = dtype

    @staticmethod
    def is_out_of_memory(error: BaseException) -> bool:
        """Tell whether `error` is an out-of-memory error of CUDA, MPS or the CPU allocator."""
        message = str(error).lower()
        return isinstance(error, NO_MEMORY) or (isinstance(error, RuntimeError) and any(words in message for words in OUT_OF_MEMORY))

    def free_bytes(self) -> int | None:
        """Free memory of the device for a batch, bytes; None where it is unknown or, on a CPU, not the limit."""
        if self.device.type != "cuda":
            return None
        cache_bytes = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + cache_bytes

    def free_memory(self) -> None:
        """Release cached device memory before another try."""
        self.on_unload()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    def run_batched(self, fn: Callable[[Any], Any], items: Any, batch: int) -> Iterator[Any]:
        """Yield fn(items[0:batch]), fn(items[batch:2 batch]), ...; `items` is anything with a length and slices.

        A call that runs out of memory is repeated with half as many items, which is the batch size from then on; earlier results are not
        computed again. DVAError if a single item does not fit.
        """
        start, batch = 0, max(1, batch)
        while start < len(items):
            try:
                answer = fn(items[start : start + batch])
            except (RuntimeError, MemoryError) as error:
                if not self.is_out_of_memory(error):
                    raise
                if batch == 1:
                    raise DVAError(
                        f"The memory of {self.device} does not hold even one frame's step; choose a lower precision or device cpu."
                    ) from error
                retry = True  # the retry waits until the error, which keeps the failed call's tensors alive, is gone
            else:
                retry = False
            if retry:
                batch = min(batch, len(items) - start) // 2 or 1
                logger.info("Out of memory on %s: going on with batches of %d.", self.device, batch)
                self.free_memory()
                continue
            yield answer
            start += batch
