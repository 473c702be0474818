"""Tensors that say they are on a graphics card and are computed on the CPU, and the waits of the program for that card."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

CARD = torch.device("cuda", 0)
PROGRAM = str(Path(__file__).resolve().parents[1] / "dva_core")
SOLVERS = str(Path(PROGRAM) / "diffusion")
READ_BACK = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "_unique2", "bincount", "linalg_inv"}


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


class Copy(NamedTuple):
    """On its way from the card to pinned memory."""

    place: torch.Tensor
    values: torch.Tensor
    stream: Any


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
        tensor = torch.Tensor._make_subclass(cls, shell, False)
        tensor.held, tensor.card, tensor.memory = held, card, memory
        return tensor

    device = property(lambda self: self.card.kind.device)
    is_cuda = property(lambda self: self.card.kind.type == "cuda")
    is_mps = property(lambda self: self.card.kind.type == "mps")
    is_meta = False

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def __deepcopy__(self, memo: dict) -> torch.Tensor:
        copy = self.detach().clone()
        memo[id(self)] = torch.nn.Parameter(copy, self.requires_grad) if getattr(self, "_is_param", False) else copy
        return memo[id(self)]

    def record_stream(self, stream: Any) -> None:
        """Memory is given back when the last tensor in it is gone, and all is done by then."""

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        card = next(x for x in leaves((args, kwargs)) if isinstance(x, OnCard)).card
        return card.run(func, args, kwargs or {})


class Card(TorchDispatchMode):
    """Runs an operation on the CPU and says that its results are on the card."""

    def __init__(self, limit: int, kind: Kind = NVIDIA) -> None:
        super().__init__()
        self.limit, self.used, self.peak, self.kind = limit, 0, 0, kind
        self.waits: Counter[Wait] = Counter()
        self.lines: dict[Wait, str] = {}  # where each was last
        self.copies: list[Copy] = []
        self.stream: Any = None  # the current one
        self.clock = self.launch_ms = self.replay_ms = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else every operation goes through its wrapper first; nothing is compiled here

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.run(func, args, kwargs or {})

    def run(self, func, args: tuple, kwargs: dict[str, Any]) -> Any:
        flat = leaves((args, kwargs))
        ours = [x for x in flat if isinstance(x, OnCard)]
        theirs = [x for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, OnCard)]
        if not ours and not any(isinstance(x, torch.device) for x in flat):
            return func(*args, **kwargs)
        name, device = func.overloadpacket.__name__, kwargs.get("device")
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd") and name != "detach":
            with self:  # under inference mode they arrive whole
                return func.decompose(*args, **kwargs)
        to_card = bool(ours) if device is None else torch.device(device).type in (self.kind.type, "meta")
        if not (ours or to_card):
            return func(*args, **kwargs)
        self.check(name, args, ours, theirs)
        self.clock += self.launch_ms
        behind = name == "copy_" and (kwargs.get("non_blocking") or args[2:] == (True,)) and getattr(args[0], "is_pinned_here", False)
        if behind and isinstance(args[1], OnCard):
            self.leave(args[0], args[1].held)
            return args[0]
        self.note_waits(name, args, kwargs, ours, theirs, to_card)
        args, kwargs = with_leaves(lambda x: x.held if isinstance(x, OnCard) else x, (args, kwargs))
        beside = []  # ATen copies what lies otherwise than it likes
        if name == "native_group_norm" and not args[0].is_contiguous():  # whatever comes in, channel after channel comes out
            args = (args[0].contiguous(), *args[1:])
            beside.append(Memory(self, args[0].nbytes))
        if name == "convolution" and lies_apart(args[0]) and not lies_apart(args[1]):
            beside.append(Memory(self, args[0].nbytes))
        result = func(*args, **({**kwargs, "device": torch.device("cpu")} if device is not None else kwargs))
        return with_leaves(lambda x: self.wrapped(x, ours) if isinstance(x, torch.Tensor) else x, result) if to_card else result

    def pinned(self, x: torch.Tensor) -> torch.Tensor:
        """x as pinned memory."""
        x.is_pinned_here = True
        return x

    def leave(self, place: torch.Tensor, values: torch.Tensor) -> None:
        """A copy to pinned memory sets out: until it has arrived, there is anything there."""
        place.view(torch.uint8).fill_(0x7F) if place.dim() else place.fill_(False)
        self.copies.append(Copy(place, values.clone(), self.stream))

    def arrive(self, copies: list[Copy]) -> None:
        for copy in [copy for copy in copies if any(copy is other for other in self.copies)]:
            copy.place.copy_(copy.values)
            self.copies = [other for other in self.copies if other is not copy]

    def note(self, what: str) -> None:
        """Note that the program waits for the card."""
        if what != "event":  # what the current stream has to copy arrives too
            self.arrive([copy for copy in self.copies if copy.stream is self.stream])
        wait, line = wait_here(what)
        self.waits[wait] += 1
        self.lines[wait] = line

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
            indices = [x for x in leaves(args[1:]) if isinstance(x, torch.Tensor)]
            if any(x.dtype == torch.bool for x in indices):
                what = "nonzero"
            elif theirs and any(x.dim() for x in theirs):
                what = "to the card"
        if what:
            self.note(what)

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


def leaves(value: Any) -> list[Any]:
    """What lists, tuples and dicts hold; torch's own function for it takes longer than most operations of a test."""
    if type(value) in (list, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    if type(value) is dict:
        return [leaf for part in value.values() for leaf in leaves(part)]
    return [value]


def with_leaves(make: Callable[[Any], Any], value: Any) -> Any:
    """The same lists, tuples and dicts of what is made of each."""
    if type(value) in (list, tuple):
        return type(value)(with_leaves(make, part) for part in value)
    if type(value) is dict:
        return {name: with_leaves(make, part) for name, part in value.items()}
    return make(value)


def lies_apart(x: torch.Tensor) -> bool:
    """Whether the channels of a pixel lie apart in memory."""
    return x.dim() == 4 and not x.is_contiguous(memory_format=torch.channels_last)
