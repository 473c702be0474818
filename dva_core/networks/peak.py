"""The peak memory of an evaluation, counted on tensors without data (torch's `meta` device), as on the device it is planned for."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_planned: ContextVar[str] = ContextVar("planned", default="meta")


def kind_of(x: Tensor) -> str:
    """The kind of device x is on: "cpu", "cuda", "mps"; of a tensor without data, the one that `planned_for` tells."""
    return _planned.get() if x.device.type == "meta" else x.device.type


@contextmanager
def planned_for(kind: str) -> Iterator[None]:
    """Context: networks treat tensors without data as if they were on a device of this kind."""
    token = _planned.set(kind)
    try:
        yield
    finally:
        _planned.reset(token)


def lies_together(x: Tensor) -> bool:
    """Whether the channels of each pixel of x [B, C, H, W] lie together in memory."""
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


class Layouts(TorchDispatchMode):
    """Gives the results of convolutions and group norms the layout that ATen's kernels give them on a kind of device.

    On CUDA a convolution of channels-last maps or weights gives such maps, and copies others first; a group norm gives contiguous maps
    (torch copies others before it calls it). On a CPU a convolution does as on CUDA without the copy, and a group norm keeps the layout.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def lay(self, name: str, args: tuple, result: Any) -> tuple[Any, int]:
        """The result of operation `name` in its layout, and the bytes of the copy that was made of its input."""
        x = args[0] if args else None
        if name == "convolution" and x.dim() == 4 and self.kind != "mps" and (lies_together(x) or lies_together(args[1])):
            copied = self.kind == "cuda" and not lies_together(x)
            return result.contiguous(memory_format=torch.channels_last), copied * x.numel() * x.element_size()
        if name == "native_group_norm":
            layout = torch.channels_last if self.kind == "cpu" and lies_together(x) else torch.contiguous_format
            return (result[0].contiguous(memory_format=layout), *result[1:]), 0
        return result, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.lay(func.overloadpacket.__name__, args, func(*args, **(kwargs or {})))[0]


class Living(Layouts):
    """Counts the bytes of live tensors made by operations; `peak`: the largest sum."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.bytes = self.peak = 0
        self._storages: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result, beside = self.lay(func.overloadpacket.__name__, args, func(*args, **(kwargs or {})))
        inputs = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in inputs:
                self._note(tensor.untyped_storage())
        self.peak = max(self.peak, self.bytes + beside)
        return result

    def _note(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._storages:
            self._storages.add(key)
            self.bytes += size
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.bytes -= size


class Kernels(TorchFunctionMode):
    """Calls what torch would call for a kind of device, which for tensors without data it does not.

    Attention by the fused kernels of CPUs and CUDA, which never hold the matrix of weights; on a CPU, group norm without a copy.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention and self.kind in ("cpu", "cuda"):
            return args[0].new_empty(*args[0].shape[:-1], args[2].shape[-1])
        if func is F.group_norm and self.kind == "cpu":
            return group_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def group_norm(x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """F.group_norm without the copy that torch makes where the device is not a CPU."""
    return torch.native_group_norm(x, weight, bias, *x.shape[:2], x[0, 0].numel(), groups, eps)[0]


@torch.no_grad()
def peak_bytes(kind: str, network: nn.Module, *inputs: Tensor) -> int:
    """Peak bytes of network(*inputs), all on the meta device, beside its weights and inputs, on a device of this kind."""
    with planned_for(kind), Kernels(kind), Living(kind) as living:
        network(*inputs)
    return living.peak
