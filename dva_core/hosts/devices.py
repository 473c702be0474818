"""Devices and precisions by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import DVAError

AUTO = "auto"
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Convert to a torch.device; None: cuda, mps or cpu, the first available. DVAError for one that this machine lacks."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device is None or device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        result = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DVAError(f"{device!r} is no device; choose cpu, cuda, cuda:N or mps.") from error
    if result.type == "cuda" and not (cuda and (result.index or 0) < torch.cuda.device_count()):
        raise DVAError(f"Device {result} is not there (CUDA devices found: {torch.cuda.device_count()}); choose another, such as cpu.")
    if result.type == "mps" and not mps:
        raise DVAError("Device mps is not there; choose another, such as cpu.")
    return result


def to_device(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Move `tensor` to `device`; from the CPU to CUDA through pinned memory, without waiting for the copy."""
    device = torch.device(device)
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    try:
        tensor = tensor.pin_memory()
    except RuntimeError:  # pinned memory is limited by the system
        return tensor.to(device)
    return tensor.to(device, non_blocking=True)


@contextmanager
def exactly(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Context manager: compute float32 convolutions exactly; by default CUDA rounds their factors to TF32 (10 bits)."""
    if device.type != "cuda" or dtype != torch.float32:
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device | None = None) -> torch.dtype:
    """Convert "fp32", "fp16", "bf16" or a torch dtype; None: float32, in which the reference numbers were computed.

    "auto": fp16 on CUDA devices, whose mean error is a sixth of bf16's; bf16 where a CPU multiplies it in hardware; else float32.
    """
    if dtype == AUTO:
        return fastest_dtype(device or torch.device("cpu"))
    result = torch.float32 if dtype is None else PRECISIONS.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if result not in PRECISIONS.values():
        raise DVAError(f"There is no precision {dtype!r}; choose one of {', '.join((*PRECISIONS, AUTO))}.")
    return result


def fastest_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which `device` computes fastest."""
    if device.type == "cuda":
        return torch.float16  # a batch that overflows is computed again in float32 (pipeline.solving)
    if device.type == "cpu":
        queries = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public name for them
        if any(getattr(torch.cpu, name, bool)() for name in queries):
            return torch.bfloat16
    return torch.float32


def same_device(one: torch.device, other: torch.device) -> bool:
    """Tell whether two names mean one device; without an index, the first of its kind."""
    return one.type == other.type and (one.index or 0) == (other.index or 0)
