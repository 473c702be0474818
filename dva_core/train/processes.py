"""Distributed training: `torchrun --nproc_per_node N -m dva_core train diffusion ...`, on one machine or many."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from dva_core.errors import DVAError, one_line
from dva_core.hosts.devices import choose_device

NUMBERS = ("RANK", "WORLD_SIZE", "MASTER_PORT")


def check_environment(environment: Mapping[str, str]) -> bool:
    """Tell whether this is one of several processes. DVAError for an incomplete environment of torchrun."""
    if "RANK" not in environment and "WORLD_SIZE" not in environment:
        return False
    cure = "start the processes with torchrun, or unset RANK and WORLD_SIZE to train in one process"
    for name in (*NUMBERS, "MASTER_ADDR"):
        if not environment.get(name):
            raise DVAError(f"The environment speaks of several processes but has no {name}; {cure}.")
        if name in NUMBERS and not environment[name].isdigit():
            raise DVAError(f"The environment has {environment[name]!r} as {name} where a whole number belongs; {cure}.")
    if not int(environment["RANK"]) < int(environment["WORLD_SIZE"]):
        raise DVAError(
            f"The environment has RANK {environment['RANK']} of WORLD_SIZE {environment['WORLD_SIZE']}, which is out of range; {cure}."
        )
    return True


def process_device(name: str | None = None) -> torch.device:
    """Choose the device `name`, the GPU of this process, or the CPU. DVAError if it is not available."""
    local = os.environ.get("LOCAL_RANK", "0")
    device = choose_device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and device.index is not None and int(os.environ.get("LOCAL_WORLD_SIZE") or 1) > 1:
        raise DVAError(f"--device {name} puts all processes of this machine on one GPU; say --device cuda, and each takes its own.")
    if device.type == "cuda":
        device = choose_device(f"cuda:{local if device.index is None and local.isdigit() else device.index or 0}")
        torch.cuda.set_device(device)
    return device


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Context manager for the process group of torchrun's processes, NCCL for GPUs, else gloo; does nothing in a single process."""
    if dist.is_initialized() or not check_environment(os.environ):
        yield
        return
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise DVAError(f"The processes cannot find one another ({one_line(error)}); check torchrun's --rdzv-endpoint and ports.") from error
    try:
        yield
        dist.barrier()  # one that leaves while another still writes its files may end in an abort of its gloo threads
    finally:
        dist.destroy_process_group()


def rank_and_world() -> tuple[int, int]:
    """Rank of this process and number of processes: (0, 1) for a single one."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def average(tensors: list[Tensor]) -> None:
    """Average each tensor over all processes, in place, in one message."""
    if rank_and_world()[1] == 1:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    for tensor, mean in zip(tensors, (flat / dist.get_world_size()).split([t.numel() for t in tensors])):
        tensor.copy_(mean.view_as(tensor))


def from_first(tensors: list[Tensor]) -> None:
    """Copy each tensor from the first process to all; sums differ in the last bit between kinds of machines."""
    if rank_and_world()[1] > 1:
        for tensor in tensors:
            values = tensor.detach().contiguous()
            dist.broadcast(values, 0)
            with torch.no_grad():
                tensor.copy_(values)


def broadcast(value: float, device: torch.device) -> float:
    """Return the value of the first process in all processes: clocks differ, but all must stop at the same step."""
    if rank_and_world()[1] == 1:
        return value
    message = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(message, 0)
    return message.item()


def gather(value: object) -> list:
    """Return the values of all processes, by rank, in all processes."""
    _, world = rank_and_world()
    if world == 1:
        return [value]
    values = [None] * world
    dist.all_gather_object(values, value)
    return values
