"""A graphics card that is not there: tensors that say they are on `cuda:0` or `mps:0`, computed on the CPU.

Operations on tensors of both devices are refused, as the card refuses them, and what its kind lacks. What C++ alone would do (the number
of `cuda`, `to` where a tensor already is, autocast) is done by a mode of torch's functions. Enter it before a program looks for its
device:

    with card() as here: ...      here.used: bytes that tensors hold; here.limit: bytes there are, beyond which memory runs out
                                  here.peak: the most there were; an assignment starts anew
                                  here.waits: how often the program waited for the card, by `Wait`
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

CARD = torch.device("cuda", 0)
PROGRAM = str(Path(__file__).resolve().parents[1] / "dva_core")
SOLVERS = str(Path(PROGRAM) / "diffusion")
READ_BACK = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "_unique2", "bincount", "linalg_inv"}
# what autocast does on CUDA (torch.testing._internal.autocast_test_lists), as far as it occurs here
HALVED = {"conv1d", "conv2d", "linear", "matmul", "bmm", "mm", "__matmul__", "scaled_dot_product_attention"}
WIDENED = {"group_norm", "softmax", "norm", "cosine_similarity", "exp", "log", "rsqrt", "sum", "pow"}
WIDEST = {"addcmul", "cat", "stack", "grid_sample"}


@dataclass(frozen=True)
class Kind:
    """A kind of card: how torch calls it, the types it has no arithmetic for, and the operations nobody has written for it."""

    device: torch.device = CARD
    lacks: tuple[torch.dtype, ...] = ()
    unwritten: tuple[str, ...] = ()
    whole_ratios: bool = False  # adaptive pooling
    is_amd: bool = False  # torch calls it cuda too

    @property
    def type(self) -> str:
        return self.device.type


ANTIALIASED = ("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward")
NVIDIA = Kind()
AMD = Kind(is_amd=True)
APPLE = Kind(torch.device("mps", 0), (torch.float64, torch.complex128), ANTIALIASED, whole_ratios=True)
OLD_APPLE = Kind(APPLE.device, (*APPLE.lacks, torch.bfloat16), APPLE.unwritten, whole_ratios=True)  # before macOS 14


class Wait(NamedTuple):
    """The program waited for the card: for what, where (`file function` of dva_core), and whether between two steps of a solver."""

    what: str
    place: str
    in_steps: bool = False


def wait_here(what: str) -> tuple[Wait, str]:
    """The wait that happens now, and its line."""
    frame, place, line, in_steps = sys._getframe(1), "", "", False
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PROGRAM):
            if not place:
                name = getattr(code, "co_qualname", code.co_name).split(".<locals>")[0].split(".")[-1]
                place = f"{Path(code.co_filename).relative_to(PROGRAM).as_posix()} {name}"
                line = f"{code.co_filename}:{frame.f_lineno}"
            in_steps |= code.co_filename.startswith(SOLVERS) and code.co_name not in ("invert", "sample")
        frame = frame.f_back
    return Wait(what, place, in_steps), line


class Memory:
    """Bytes of the card, given back when the last tensor in them is gone."""

    def __init__(self, card: Card, size: int) -> None:
        self.card, self.size = card, 0
        if card.used + size > card.limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes")
        self.size = size
        card.used += size
        card.peak = max(card.peak, card.used)

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

    device = property(lambda self: self.card.kind.device)
    is_cuda = property(lambda self: self.card.kind.type == "cuda")
    is_mps = property(lambda self: self.card.kind.type == "mps")
    is_meta = False

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        card = next(x for x in tree_flatten((args, kwargs))[0] if isinstance(x, OnCard)).card
        return card.run(func, args, kwargs or {})


class Card(TorchDispatchMode):
    """Runs an operation on the CPU and says that its results are on the card."""

    def __init__(self, limit: int, kind: Kind = NVIDIA) -> None:
        super().__init__()
        self.limit, self.used, self.peak, self.kind = limit, 0, 0, kind
        self.waits: Counter[Wait] = Counter()
        self.lines: dict[Wait, str] = {}  # where each was last

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
        to_card = bool(ours) if asked is None else torch.device(asked).type in (self.kind.type, "meta")
        if not (ours or to_card):
            return func(*args, **kwargs)
        self.check(name, args, ours, theirs)
        self.note_waits(name, args, kwargs, ours, theirs, to_card)
        args, kwargs = tree_unflatten([x.held if isinstance(x, OnCard) else x for x in flat], spec)
        beside = []  # ATen copies what lies otherwise than it likes
        if name == "native_group_norm" and not args[0].is_contiguous():  # whatever comes in, channel after channel comes out
            args = (args[0].contiguous(), *args[1:])
            beside.append(Memory(self, args[0].nbytes))
        if name == "convolution" and lies_apart(args[0]) and not lies_apart(args[1]):
            beside.append(Memory(self, args[0].nbytes))
        result = func(*args, **({**kwargs, "device": torch.device("cpu")} if asked is not None else kwargs))
        return tree_map(lambda x: self.wrapped(x, ours) if isinstance(x, torch.Tensor) else x, result) if to_card else result

    def check(self, name: str, args: tuple, ours: list[OnCard], theirs: list[torch.Tensor]) -> None:
        """Raises what torch raises for an operation that this card has not, or cannot do with these tensors."""
        indexes = name.startswith(("index", "_index"))
        if indexes and ours and not isinstance(args[0], OnCard):
            raise RuntimeError(
                f"indices should be either on cpu or on the same device as the indexed tensor (cpu), not on {self.kind.device}"
            )
        crosses = name in ("_to_copy", "copy_") or indexes or name.startswith("_foreach")
        if ours and not crosses and any(x.dim() for x in theirs):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {self.kind.device} and cpu! (aten.{name})"
            )
        if name in self.kind.unwritten:
            raise NotImplementedError(f"The operator 'aten::{name}' is not currently implemented for the MPS device.")
        if self.kind.whole_ratios and name == "_adaptive_avg_pool2d" and any(a % b for a, b in zip(args[0].shape[-2:], args[1])):
            raise RuntimeError("Adaptive pool MPS: input sizes must be divisible by output sizes.")

    def note_waits(self, name: str, args: tuple, kwargs: dict, ours: list[OnCard], theirs: list[torch.Tensor], to_card: bool) -> None:
        what = name if name in READ_BACK else ""
        if name == "_to_copy":
            what = "" if bool(ours) == to_card or (to_card and kwargs.get("non_blocking")) else "to the card" if to_card else "to the host"
        elif name == "copy_" and isinstance(args[0], OnCard) != isinstance(args[1], OnCard):
            blocking = not (kwargs.get("non_blocking") or args[2:] == (True,))
            what = ("to the card" if blocking else "") if isinstance(args[0], OnCard) else "to the host"
        elif name.startswith(("index", "_index")):
            indices = [x for x in tree_flatten(args[1:])[0] if isinstance(x, torch.Tensor)]
            if any(x.dtype == torch.bool for x in indices):
                what = "nonzero"
            elif theirs and any(x.dim() for x in theirs):
                what = "to the card"
        if what:
            wait, line = wait_here(what)
            self.waits[wait] += 1
            self.lines[wait] = line

    def wrapped(self, x: torch.Tensor, ours: list[OnCard]) -> OnCard:
        """A result as a tensor of the card: one of the operation's own, a view into one, or a new one."""
        for one in ours:
            if one.held is x:
                return one
        if x.dtype in self.kind.lacks:
            raise TypeError(
                f"Cannot convert a MPS Tensor to {x.dtype} dtype as the MPS framework doesn't support it. Please use float32 instead."
            )
        base = next((one for one in ours if one.held.untyped_storage()._cdata == x.untyped_storage()._cdata), None)
        if base is None:
            return OnCard(x, self, Memory(self, x.untyped_storage().nbytes()))
        with torch.inference_mode(base.is_inference()):  # a view is what its base is
            return OnCard(x, self, base.memory)


def lies_apart(x: torch.Tensor) -> bool:
    """Whether the channels of a pixel lie apart in memory."""
    return x.dim() == 4 and not x.is_contiguous(memory_format=torch.channels_last)


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
        args, kwargs = tuple(map(self.numbered, args)), {name: self.numbered(x) for name, x in kwargs.items()}
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
            return args[0].clone()
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
        given = {} if memory_format is None else {"memory_format": memory_format}
        return torch._C.TensorBase.to(x, *where, dtype or x.dtype, non_blocking, copy, **given)


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
def card(limit: int = 24 << 30, kind: Kind = NVIDIA) -> Iterator[Card]:
    """The only graphics card there is while this lasts, with `limit` bytes of memory."""
    here, stream = Card(limit, kind), Stream()
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
        "mem_get_info": lambda *_: (max(0, here.limit - here.used), here.limit),
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_properties": lambda *_: properties,
        "get_device_name": lambda *_: properties.name,
        "get_device_capability": lambda *_: (properties.major, properties.minor),
        "get_allocator_backend": lambda: "native",
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda *_: None,
        "Stream": Stream,
        "stream": lambda *_: nullcontext(),
        "current_stream": lambda *_: stream,
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
        stack.enter_context(patch.object(torch.version, "cuda", "12.8" if kind.type == "cuda" and not kind.is_amd else None))
        stack.enter_context(patch.object(torch.version, "hip", "6.4" if kind.is_amd else None))
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, torch.__future__.get_swap_module_params_on_conversion())
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)
        stack.enter_context(Functions(here))
        stack.enter_context(here)
        yield here
