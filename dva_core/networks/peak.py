"""The peak memory of a network's evaluation, counted on meta tensors."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Living(TorchDispatchMode):
    """Counts the bytes of live tensors; `peak`: the largest sum.

    As on CUDA, group norms of channels-last maps, and convolutions of contiguous ones, need an additional copy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._storages: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in inputs:
                self._note(tensor.untyped_storage())
        name, beside = func.overloadpacket.__name__, 0
        together = isinstance(args[0], Tensor) and args[0].dim() == 4 and args[0].is_contiguous(memory_format=torch.channels_last)
        if (name == "native_group_norm" and together) or (name == "convolution" and args[0].dim() == 4 and not together):
            beside = args[0].numel() * args[0].element_size()
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


@torch.no_grad()
def peak_bytes(network: nn.Module, *inputs: Tensor) -> int:
    """Peak bytes of network(*inputs), all on the meta device, beside its weights and inputs."""
    with Living() as living:
        network(*inputs)
    return living.peak
