"""Evaluation of the noise predictor on a batch: by a pool of threads on a CPU, or compiled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

WORKERS = 4  # most threads of Python; with more cores each of them uses several
LEAST_PART = 4  # images; with smaller parts the overhead exceeds that of synchronising at every layer
MOST = 64  # images per batch
PADDING = 2.0  # times the images of a batch up to which it is padded

Network = Callable[[Tensor, Tensor, Any], Tensor]  # (x_t [B, ...], t [B], z_face [B, F] or a tuple of tensors [B, ...]) -> [B, ...]


class ThreadedEvaluation:
    """Evaluates a network on the CPU with each part of the batch on a core of its own.

    One batch on all cores synchronises at every layer, hundreds of times; parts synchronise once. The result of an image does not depend
    on the others. With gradients, on other devices and for few images the network is called directly.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._threads = 0

    def __deepcopy__(self, memo: dict) -> ThreadedEvaluation:
        return ThreadedEvaluation()

    def __call__(self, network: Network, x_t: Tensor, t: Tensor, z_face: Any) -> Tensor:
        threads = torch.get_num_threads()
        parts = min(threads, WORKERS, len(x_t) // LEAST_PART)
        if x_t.device.type != "cpu" or parts < 2 or torch.is_grad_enabled():
            return network(x_t, t, z_face)
        if self._pool is None or self._threads != threads:
            self._pool, self._threads = thread_pool(min(threads, WORKERS), threads), threads
        inference = torch.is_inference_mode_enabled()

        def evaluate_part(x_t: Tensor, t: Tensor, z_face: Any) -> Tensor:
            with torch.inference_mode(inference), torch.no_grad():  # both settings are per thread
                return network(x_t, t, z_face)

        pieces = zip(x_t.tensor_split(parts), t.tensor_split(parts), split_batch(z_face, parts))
        work = [self._pool.submit(evaluate_part, *piece) for piece in pieces]
        wait(work)  # also if one fails: no thread runs on after the call
        return torch.cat([future.result() for future in work])


def thread_pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """A pool of `workers` threads, each of which runs torch with its share of `threads` cores."""
    together = threading.Barrier(workers, timeout=60)

    def settle() -> None:
        torch.get_num_threads()  # initialises torch in this thread, which would later override the number set next
        torch.set_num_threads(threads // workers)
        together.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="dva_core", initializer=settle)
    wait([pool.submit(int) for _ in range(workers)])
    torch.set_num_threads(threads)  # threads started later get the number that was set last
    return pool


def split_batch(value: Any, parts: int) -> list[Any]:
    """Split a tensor, or a (nested) tuple of tensors, into parts along the first axis."""
    if isinstance(value, tuple):
        return list(zip(*(split_batch(part, parts) for part in value)))
    return list(value.tensor_split(parts))


class CompiledEvaluation:
    """Evaluates a network by torch.compile, which generates code for one batch size at a time.

    A batch somewhat smaller than an earlier one is padded to that size, so that the last batch of a video does not compile again; a much
    smaller one, as of a preview, runs uncompiled. If compiling fails (it needs a C++ compiler, on CUDA Triton), a warning says so once
    and the network runs uncompiled.
    """

    def __init__(self, compiler: Callable[[Network], Network] | None = None) -> None:
        self._compiler = compiler or (lambda network: torch.compile(network, dynamic=False))
        self._network: Network | None = None
        self._run: Network | None = None
        self._sizes: set[int] = set()

    def __deepcopy__(self, memo: dict) -> CompiledEvaluation:
        return CompiledEvaluation(self._compiler)

    def __call__(self, network: Network, x_t: Tensor, t: Tensor, z_face: Any) -> Tensor:
        if network is not self._network:
            self._network, self._run, self._sizes = network, self._compiler(network), set()
        if self._run is network:
            return network(x_t, t, z_face)
        batch = len(x_t)
        size = padded_size(batch, self._sizes, PADDING)
        if size not in self._sizes and any(other > batch for other in self._sizes):
            return network(x_t, t, z_face)
        try:
            result = self._run(pad_batch(x_t, size), pad_batch(t, size), pad_batch(z_face, size))[:batch]
        except Exception as error:
            self._sizes.discard(size)  # after memory ran out, smaller batches must not be padded to this size again
            if not is_compiler_error(error):
                raise
            reason = str(error).strip().splitlines() or [type(error).__name__]
            logger.warning("The noise predictor cannot be compiled here and runs as it is (%s).", reason[0])
            self._run = network
            return network(x_t, t, z_face)
        self._sizes.add(size)
        return result


def padded_size(batch: int, sizes: Iterable[int], most: float) -> int:
    """The least of `sizes` that holds the batch and is at most `most` times as large; else the batch itself."""
    return min((size for size in sizes if batch <= size <= most * batch), default=batch)


def pad_batch(value: Any, size: int) -> Any:
    """Pad a tensor [B, ...], or a tuple of tensors, to `size` by repeating its last row; an expanded one stays expanded."""
    if isinstance(value, tuple):
        return tuple(pad_batch(tensor, size) for tensor in value)
    padding = size - len(value)
    if not padding:
        return value
    if value.stride(0) == 0:
        return value[:1].expand(size, *value.shape[1:])
    return torch.cat([value, value[-1:].expand(padding, *value.shape[1:])])


def is_compiler_error(error: Exception) -> bool:
    """Whether torch.compile itself failed, not the network."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def activation_bytes(part: nn.Module, images: Tensor, dtype: torch.dtype, device: torch.device | None = None) -> int:
    """Estimate the bytes that evaluating `part` needs beside its weights; for a GPU (`device`) they are counted if the part supports it."""
    if device is not None and device.type != "cpu" and hasattr(part, "peak_bytes"):
        return part.peak_bytes(len(images), dtype, device.type)
    return len(images) * getattr(part, "activations_per_image", 2**22) * dtype.itemsize


def usual_batch(model, guidance: bool = False) -> int:
    """Choose the batch size of the noise predictor, in frames; the host halves it if it does not fit.

    On a CPU 16 per core for first feature maps of 32 pixels, or images of 64; elsewhere as many as fill three quarters of the free memory,
    at most 64: larger ones are not faster on any device. Half as many with guidance, which evaluates each frame twice.
    """
    host, pixels = model.host, model.image_size**2
    if host.device.type == "cpu":
        folded = getattr(model.noise_predictor, "patch_size", 1) ** 2  # pixels that become channels before the first convolution
        fit = max(1 << 16, (1 << 14) * folded) * torch.get_num_threads() // pixels
    elif (free := host.free_bytes()) is None:
        fit = (1 << 20) // pixels
    else:
        fit = batch_within(3 * free // 4, model.noise_predictor, host.dtype, host.device)
    return max(1, min(MOST, fit) // (1 + guidance))


def batch_within(room: int, part: nn.Module, dtype: torch.dtype, device: torch.device) -> int:
    """The largest batch, MOST at the most and 1 at the least, whose evaluation is foreseen to take no more than `room` bytes."""
    batch = MOST
    while batch > 1 and (needed := activation_bytes(part, range(batch), dtype, device)) > room:
        batch = max(1, min(batch - 1, room * batch // needed))
    return batch
