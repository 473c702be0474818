"""Decompositions in ComfyUI's cache."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch

from dva_core.decomposition import Decomposition
from dva_core.decomposition.people import AnyDecomposition, people_of, together
from dva_core.decomposition.tensorfile import TensorStore


class CachedDecomposition(Decomposition, tuple):
    """A decomposition whose memory ComfyUI's cache can measure: the cache frees large results first, and counts tensors in tuples.

    As a tuple it holds the arrays in main memory, as tensors that share it; arrays in a file count nothing, and an unnamed file is
    deleted with the last decomposition that reads it. An edit of it is a CachedDecomposition too, with the same arrays.
    """

    def __new__(cls, store: TensorStore, *_: Any, **__: Any) -> CachedDecomposition:
        return tuple.__new__(cls, map(torch.from_numpy, [*store.in_memory(), store.read("z_id")]))

    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    @classmethod
    def of(cls, decomposition: Decomposition) -> CachedDecomposition:
        return cls(**{field.name: getattr(decomposition, field.name) for field in fields(decomposition)})

    def get_ram_usage(self) -> int:
        """The same size in bytes, for hosts that call this instead."""
        return sum(tensor.nbytes for tensor in self)


def cached(decomposition: AnyDecomposition) -> AnyDecomposition:
    """Convert a decomposition of one or several people so that ComfyUI's cache can measure it; a `People` becomes a tuple of such."""
    return together([CachedDecomposition.of(one) for one in people_of(decomposition)])
