"""Reading untrusted pickles without running their code.

A pickle names functions and classes to be called. Only those that a checkpoint needs are allowed here: tensors, plain containers and
numeric numpy arrays, each rebuilt by functions of this file. Every other name becomes an inert stand-in that takes any argument and
does nothing, so that tensors can be read from a checkpoint that also holds training objects.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

NUMERIC = re.compile(r"[<>|=]?[biuf][1248]")


class Inert:
    """Stands for an object whose class is unknown; accepts and ignores everything that a pickle does to an object."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        pass

    __setstate__ = __setitem__ = __call__ = append = extend = add = update = _ignore


class PickledDtype:
    """Stands for a numpy dtype: its code, such as "f4", and byte order."""

    def __init__(self, code: str, *flags: Any) -> None:
        if not (isinstance(code, str) and NUMERIC.fullmatch(code)):
            raise pickle.UnpicklingError(f"numpy dtype {code!r} is not a plain number's")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class PickledArray:
    """Stands for a numpy array; `tensor()` gives its numbers."""

    def __init__(self, *args: Any) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, code, fortran, data = state
        self.fill(data, code, shape, "F" if fortran else "C")

    def fill(self, data: Any, code: PickledDtype, shape: tuple[int, ...], order: str = "C") -> None:
        if not isinstance(data, (bytes, bytearray)):
            data = data.encode("latin1")
        self.array = np.frombuffer(data, code.dtype).reshape(shape, order=order)

    @classmethod
    def from_buffer(cls, data: Any, code: PickledDtype, shape: tuple[int, ...], order: str = "C") -> PickledArray:
        array = cls()
        array.fill(data, code, shape, order)
        return array

    def tensor(self) -> Tensor:
        return torch.from_numpy(np.array(self.array, self.array.dtype.newbyteorder("="), order="C"))


def rebuild_tensor(storage: Any, offset: int, size: tuple, stride: tuple, *ignored: Any) -> Tensor:
    """Make a tensor on its storage (torch checks the bounds), without gradients, hooks and metadata."""
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


def rebuild_parameter(data: Tensor, *ignored: Any) -> Tensor:
    return data


def encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """Encode bytes as pickles of protocol 2 store them."""
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
    ("_codecs", "encode"): encode_latin1,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledDtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): PickledArray for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): PickledArray.from_buffer for core in ("core", "_core")},
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in (("set", set), ("frozenset", frozenset))},
}


def restricted_pickle(storage_from_bytes: Callable[[bytes], Any]) -> SimpleNamespace:
    """Make a replacement of the module `pickle` for torch.load; `storage_from_bytes` rebuilds storages contained in a bare pickle."""

    class Unpickler(pickle.Unpickler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.inert: dict[tuple[str, str], type] = {}

        def find_class(self, module: str, name: str) -> Any:
            if (module, name) in ALLOWED:
                return ALLOWED[module, name]
            if (module, name) == ("torch.storage", "_load_from_bytes"):
                return storage_from_bytes
            if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
                return getattr(torch, name)
            return self.inert.setdefault((module, name), type("Inert", (Inert,), {"__qualname__": f"Inert[{module}.{name}]"}))

    def load(file: Any, **kwargs: Any) -> Any:
        return Unpickler(file, **kwargs).load()

    return SimpleNamespace(__name__="restricted", Unpickler=Unpickler, load=load)
