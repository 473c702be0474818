"""A graphics card that is not there: tensors that say they are on `cuda:0`, computed on the CPU.

Operations on tensors of both devices are refused, as CUDA refuses them. What C++ alone would do (the number of `cuda`, `to` where a
tensor already is) is done by a mode of torch's functions. Enter it before a program looks for its device:

    with card() as here: ...      here.used: bytes that tensors hold; here.limit: bytes there are, beyond which memory runs out
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

CARD = torch.device("cuda", 0)


class Memory:
    """Bytes of the card, given back when the last tensor in them is gone."""

    def __init__(self, card: Card, size: int) -> None:
        self.card, self.size = card, 0
        if card.used + size > card.limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes")
        self.size = size
        card.used += size

    def __del__(self) -> None:
        self.card.used -= self.size


class OnCard(torch.Tensor):
    """A shell without data (for autograd it is on `meta`) around the tensor `held` on the CPU."""

    @staticmethod
    def __new__(cls, held: torch.Tensor, card: Card, memory: Memory) -> OnCard:
        shell = torch.empty_strided(held.shape, held.stride(), dtype=held.dtype, device="meta")
        made = torch.Tensor._make_subclass(cls, shell, False)
        made.held, made.card, made.memory = held, card, memory
        return made

    device, is_cuda, is_meta = property(lambda self: CARD), True, False

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        card = next(x for x in tree_flatten((args, kwargs))[0] if isinstance(x, OnCard)).card
        return card.run(func, args, kwargs or {})


class Card(TorchDispatchMode):
    """Runs an operation on the CPU and says that its results are on the card."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.used = limit, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.run(func, args, kwargs or {})

    def run(self, func, args: tuple, kwargs: dict[str, Any]) -> Any:
        flat, spec = tree_flatten((args, kwargs))
        ours = [x for x in flat if isinstance(x, OnCard)]
        theirs = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, OnCard)]
        if not ours and not any(isinstance(x, torch.device) for x in flat):
            return func(*args, **kwargs)
        name, asked = func.overloadpacket.__name__, kwargs.get("device")
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd") and name != "detach":
            with self:  # under inference mode they arrive whole
                return func.decompose(*args, **kwargs)
        to_card = bool(ours) if asked is None else torch.device(asked).type in ("cuda", "meta")
        if not (ours or to_card):
            return func(*args, **kwargs)
        crosses = name in ("_to_copy", "copy_") or name.startswith(("index", "_index", "_foreach"))
        if ours and not crosses and any(x.dim() for x in theirs):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {CARD} and cpu! (aten.{name})"
            )
        args, kwargs = tree_unflatten([x.held if isinstance(x, OnCard) else x for x in flat], spec)
        result = func(*args, **({**kwargs, "device": torch.device("cpu")} if asked is not None else kwargs))
        return tree_map(lambda x: self.wrapped(x, ours) if isinstance(x, torch.Tensor) else x, result) if to_card else result

    def wrapped(self, x: torch.Tensor, ours: list[OnCard]) -> OnCard:
        """A result as a tensor of the card: one of the operation's own, a view into one, or a new one."""
        for one in ours:
            if one.held is x:
                return one
        base = next((one for one in ours if one.held.untyped_storage()._cdata == x.untyped_storage()._cdata), None)
        if base is None:
            return OnCard(x, self, Memory(self, x.untyped_storage().nbytes()))
        with torch.inference_mode(base.is_inference()):  # a view is what its base is
            return OnCard(x, self, base.memory)


class Functions(TorchFunctionMode):
    """What torch decides before an operation is dispatched."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.device:
            return torch.device("cuda", *args) if args and isinstance(args[0], int) else func(*args, **kwargs)
        if func is torch._has_compatible_shallow_copy_type:
            return False  # so that a module's parameters are exchanged
        args, kwargs = tuple(map(numbered, args)), {name: numbered(x) for name, x in kwargs.items()}
        if func in (torch.Tensor.tolist, torch.Tensor.numpy) and isinstance(args[0], OnCard):
            if func is torch.Tensor.numpy and not kwargs.get("force"):
                raise TypeError(
                    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
                )
            return func(args[0].detach().cpu())
        return self.to(*args, **kwargs) if func is torch.Tensor.to else func(*args, **kwargs)

    def to(self, x: torch.Tensor, *args, copy: bool = False, **kwargs) -> torch.Tensor:
        if args and len(args) > (3 if isinstance(args[0], (torch.device, str, type(None))) else 2) and isinstance(args[-1], bool):
            args, copy = args[:-1], args[-1]
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if args and isinstance(args[0], torch.Tensor):
            device, dtype = args[0].device, args[0].dtype
        if device in (None, x.device) and dtype in (None, x.dtype) and memory_format is None and not copy:
            return x
        where = () if device in (None, x.device) else (device,)
        given = {} if memory_format is None else {"memory_format": memory_format}
        return torch._C.TensorBase.to(x, *where, dtype or x.dtype, non_blocking, copy, **given)


def numbered(x: Any) -> Any:
    """The card where it was called `cuda`, all else as it is."""
    return CARD if isinstance(x, (str, torch.device)) and str(x) == "cuda" else x


class Stream:
    """Everything is done at once and in order."""

    cuda_stream = 0

    def __init__(self, *_, **__) -> None:
        pass

    def wait_stream(self, stream: Any) -> None:
        pass

    def wait_event(self, event: Any) -> None:
        pass

    def record_event(self, event: Any = None) -> None:
        pass

    def synchronize(self) -> None:
        pass


@contextmanager
def card(limit: int = 24 << 30) -> Iterator[Card]:
    """The only graphics card there is while this lasts, NVIDIA's by its properties, with `limit` bytes of memory."""
    here, stream = Card(limit), Stream()
    used = {"active_bytes.all.current": lambda: here.used, "reserved_bytes.all.current": lambda: here.used}
    properties = SimpleNamespace(name="pretended", major=9, minor=0, total_memory=limit, gcnArchName="", multi_processor_count=1)
    fakes = {
        "is_available": lambda: True,
        "_lazy_init": lambda: None,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda *_: None,
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "ipc_collect": lambda: None,
        "memory_stats": lambda *_: {name: value() for name, value in used.items()},
        "memory_reserved": lambda *_: here.used,
        "memory_allocated": lambda *_: here.used,
        "mem_get_info": lambda *_: (max(0, here.limit - here.used), here.limit),
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_properties": lambda *_: properties,
        "get_device_name": lambda *_: properties.name,
        "get_allocator_backend": lambda: "native",
        "Stream": Stream,
        "stream": lambda *_: nullcontext(),
        "current_stream": lambda *_: stream,
        "cudart": lambda: SimpleNamespace(cudaHostRegister=lambda *_: 0, cudaHostUnregister=lambda *_: 0),
    }
    with ExitStack() as stack:
        for name, fake in fakes.items():
            stack.enter_context(patch.object(torch.cuda, name, fake))
        stack.enter_context(patch.object(torch.version, "cuda", "12.8"))
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, torch.__future__.get_swap_module_params_on_conversion())
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)
        stack.enter_context(Functions())
        stack.enter_context(here)
        yield here
