"""A graphics card that is not there: tensors that say they are on `cuda:0` or `mps:0`, computed on the CPU.

Operations on tensors of both devices are refused, as the card refuses them, and what its kind lacks. What C++ alone would do (the number
of `cuda`, `to` where a tensor already is, autocast) is done by a mode of torch's functions. Enter it before a program looks for its
device:

    with card() as here: ...      here.used: bytes that tensors hold; here.limit: bytes there are, beyond which memory runs out
                                  here.peak: the most there were; an assignment starts anew
                                  here.waits: how often the program waited for the card, by `Wait`
                                  here.clock: its time in ms, of which an operation takes here.launch_ms and a replay here.replay_ms
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from card_tensors import NVIDIA, Card, Kind, OnCard
from torch.overrides import TorchFunctionMode, _pop_mode_temporarily
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

from dva_core.networks.unet import UNet

# what autocast does on CUDA (torch.testing._internal.autocast_test_lists), as far as it occurs here
HALVED = {"conv1d", "conv2d", "linear", "matmul", "bmm", "mm", "__matmul__", "scaled_dot_product_attention"}
WIDENED = {"group_norm", "softmax", "norm", "cosine_similarity", "exp", "log", "rsqrt", "sum", "pow"}
WIDEST = {"addcmul", "cat", "stack", "grid_sample"}


class Functions(TorchFunctionMode):
    """What torch decides before an operation is dispatched."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        self.card = card

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.device:
            return torch.device(self.card.kind.type, *args) if args and isinstance(args[0], int) else func(*args, **kwargs)
        if func is torch.Tensor.backward:
            with self:  # checkpoints compute again in there
                return torch.autograd.backward(args[0], grad_tensors=kwargs.pop("gradient", None), **kwargs)
        if func is torch._has_compatible_shallow_copy_type:
            return False  # so that a module's parameters are exchanged
        args = tuple(map(self.numbered, args))
        kwargs = {name: self.numbered(x) for name, x in kwargs.items()} if kwargs else kwargs
        if func in (torch.Tensor.tolist, torch.Tensor.numpy) and isinstance(args[0], OnCard):
            if func is torch.Tensor.numpy and not kwargs.get("force"):
                raise TypeError(
                    f"can't convert {self.card.kind.device} device type tensor to numpy. "
                    "Use Tensor.cpu() to copy the tensor to host memory first."
                )
            return func(args[0].detach().cpu())
        if func is torch.Tensor.to:
            return self.to(*args, **kwargs)
        if func is torch.Tensor.cuda and self.card.kind.type == "cuda":
            return self.to(args[0], self.card.kind.device)
        if func is torch.Tensor.pin_memory:
            return self.card.pinned(args[0].clone())
        if func is torch.empty and kwargs.pop("pin_memory", False):
            return self.card.pinned(func(*args, **kwargs))
        name, kind = getattr(func, "__name__", ""), self.card.kind.type
        if name in HALVED | WIDENED | WIDEST and "out" not in kwargs and torch.is_autocast_enabled(kind):
            return self.autocast(func, name, args, kwargs)
        return func(*args, **kwargs)

    def autocast(self, func, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        kind = self.card.kind.type
        ours = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, OnCard) and x.is_floating_point()]
        dtype = torch.float32 if name in WIDENED else torch.get_autocast_dtype(kind)
        if name in WIDEST:
            dtype = max((x.dtype for x in ours), key=lambda d: d.itemsize, default=dtype)
        with torch.autocast(kind, enabled=False):
            args, kwargs = tree_map(lambda x: x.to(dtype) if isinstance(x, OnCard) and x.is_floating_point() else x, (args, kwargs))
            return func(*args, **kwargs)

    def numbered(self, x: Any) -> Any:
        """The card where it was called without its number, all else as it is."""
        return self.card.kind.device if isinstance(x, (str, torch.device)) and str(x) == self.card.kind.type else x

    def to(self, x: torch.Tensor, *args, copy: bool = False, **kwargs) -> torch.Tensor:
        if args and len(args) > (3 if isinstance(args[0], (torch.device, str, type(None))) else 2) and isinstance(args[-1], bool):
            args, copy = args[:-1], args[-1]
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if args and isinstance(args[0], torch.Tensor):
            device, dtype = args[0].device, args[0].dtype
        if device in (None, x.device) and dtype in (None, x.dtype) and memory_format is None and not copy:
            return x
        where = () if device in (None, x.device) else (device,)
        layout = {} if memory_format is None else {"memory_format": memory_format}
        return torch._C.TensorBase.to(x, *where, dtype or x.dtype, non_blocking, copy, **layout)


class Event:
    """What a stream had to copy when it was recorded there has arrived once it, or that stream, has been waited for, and not before."""

    def __init__(self, card: Card, stream: Stream | None = None) -> None:
        self.card, self.copies, self.time = card, [], 0.0
        self.record(stream)

    def record(self, stream: Stream | None = None) -> None:
        stream = stream or self.card.stream
        self.copies, self.time = [copy for copy in self.card.copies if copy.stream is stream], self.card.clock

    def query(self) -> bool:
        return not any(copy is other for copy in self.copies for other in self.card.copies)

    def elapsed_time(self, later: Event) -> float:
        return later.time - self.time

    def synchronize(self) -> None:
        self.card.note("event")
        self.card.arrive(self.copies)


class Stream:
    """Operations are done at once and in order; copies to pinned memory arrive when an event or a stream is waited for."""

    cuda_stream = 0

    def __init__(self, card: Card | None = None) -> None:
        self.card, self.outside = card, []

    def __enter__(self) -> None:
        """Make it the current one, as torch.cuda.stream does."""
        self.outside.append(self.card.stream)
        self.card.stream = self

    def __exit__(self, *_: object) -> None:
        self.card.stream = self.outside.pop()

    def wait_stream(self, stream: Any) -> None:
        pass

    def wait_event(self, event: Any) -> None:
        pass

    def record_event(self, event: Any = None) -> Event:
        return Event(self.card, self)

    def synchronize(self) -> None:
        pass


class Graph(TorchDispatchMode):
    """A CUDA graph: a replay runs what was recorded again, from and into the same memory."""

    def __init__(self, card: Card | None = None) -> None:
        super().__init__()
        self.card, self.calls = card, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        waits = self.card.waits.total()
        result = func(*args, **(kwargs or {}))
        if self.card.waits.total() > waits:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.inference_mode()
    def replay(self) -> None:
        assert self.calls, "nothing was recorded"
        started = self.card.clock
        for func, args, kwargs, result in self.calls:
            for old, new in zip(tree_flatten(result)[0], tree_flatten(func(*args, **kwargs))[0]):
                if isinstance(old, torch.Tensor) and old is not new:
                    old.copy_(new)
        self.card.clock = started + self.card.replay_ms


def apart(work: Callable) -> Callable:
    """`work` as if there was no card: what is counted on tensors without data is not on it."""

    def run(*args, **kwargs):
        with _disable_current_modes(), _pop_mode_temporarily():
            return work(*args, **kwargs)

    return run


def beside(here: Card, run: Callable) -> Callable:
    """What a thread runs, with the card there: modes belong to a thread."""

    def run_on_card(thread: threading.Thread) -> None:
        with Functions(here), here:
            run(thread)

    return run_on_card


@contextmanager
def card(limit: int = 24 << 30, kind: Kind = NVIDIA) -> Iterator[Card]:
    """The only graphics card there is while this lasts, with `limit` bytes of memory."""
    here = Card(limit, kind)
    here.stream = Stream(here)
    used = {"active_bytes.all.current": lambda: here.used, "reserved_bytes.all.current": lambda: here.used}
    properties = SimpleNamespace(name="pretended", major=9, minor=0, total_memory=limit, gcnArchName="", multi_processor_count=1)
    cuda = {
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
        "max_memory_allocated": lambda *_: here.peak,
        "reset_peak_memory_stats": lambda *_: setattr(here, "peak", here.used),
        "mem_get_info": lambda *_: (max(0, here.limit - here.used), here.limit),
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_properties": lambda *_: properties,
        "get_device_name": lambda *_: properties.name,
        "get_device_capability": lambda *_: (properties.major, properties.minor),
        "get_allocator_backend": lambda: "native",
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda *_: None,
        "CUDAGraph": lambda: Graph(here),
        "graph": lambda graph, pool=None, stream=None, capture_error_mode="global": graph,
        "graph_pool_handle": lambda: (0, 1),
        "Stream": lambda *_, **__: Stream(here),
        "Event": lambda **_: Event(here),
        "device": lambda *_: nullcontext(),
        "stream": lambda stream: stream or nullcontext(),
        "current_stream": lambda *_: here.stream,
        "cudart": lambda: SimpleNamespace(cudaHostRegister=lambda *_: 0, cudaHostUnregister=lambda *_: 0),
    }
    mps = {
        "empty_cache": lambda: None,
        "synchronize": lambda: None,
        "current_allocated_memory": lambda: here.used,
        "driver_allocated_memory": lambda: here.used,
        "recommended_max_memory": lambda: here.limit,
    }
    with ExitStack() as stack:
        if kind.type == "mps":
            stack.enter_context(patch.object(torch.backends.mps, "is_available", lambda: True))
        for name, fake in (cuda if kind.type == "cuda" else mps).items():
            stack.enter_context(patch.object(torch.cuda if kind.type == "cuda" else torch.mps, name, fake))
        stack.enter_context(patch.object(UNet, "peak_bytes", apart(UNet.peak_bytes)))
        stack.enter_context(patch.object(torch.version, "cuda", "12.8" if kind.type == "cuda" and not kind.is_amd else None))
        stack.enter_context(patch.object(torch.version, "hip", "6.4" if kind.is_amd else None))
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, torch.__future__.get_swap_module_params_on_conversion())
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)
        stack.enter_context(patch.object(threading.Thread, "run", beside(here, threading.Thread.run)))
        stack.enter_context(Functions(here))
        stack.enter_context(here)
        yield here
