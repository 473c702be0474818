"""Decompositions in ComfyUI's cache."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch

from dva_core.decomposition import Decomposition
from dva_core.decomposition.tensorfile import TensorStore


class WeighedClip(Decomposition, tuple):
    """A decomposition for ComfyUI's cache, which frees what is heavy when memory gets short and weighs the tensors in lists and tuples.

    As a tuple it holds the arrays that are in main memory, as tensors on the same memory; those of a file weigh nothing, and a file
    without a name is gone with the last decomposition that reads it. An edit of it is one too, for it keeps the same arrays.
    """

    def __new__(cls, store: TensorStore, *_: Any, **__: Any) -> WeighedClip:
        return tuple.__new__(cls, map(torch.from_numpy, [*store.in_memory(), store.read("z_id")]))

    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    @classmethod
    def of(cls, decomposition: Decomposition) -> WeighedClip:
        return cls(**{field.name: getattr(decomposition, field.name) for field in fields(decomposition)})

    def get_ram_usage(self) -> int:
        """The same in bytes, which older hosts ask for."""
        return sum(tensor.nbytes for tensor in self)
