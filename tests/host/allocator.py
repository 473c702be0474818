"""In the place of comfy-aimdo's native library, on a card that is not there: where ComfyUI's layers have their weights under dynamic VRAM.

Only the interface. What is not resident holds NaN, so that nobody can use it unseen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import torch
from card_tensors import CARD

NAN = 0xFF  # the byte that makes NaN of every kind of float


@dataclass
class Slot:
    """Room for one layer's weights."""

    size: int
    content: torch.Tensor | None = None
    pinned: bool = False
    signature: bytearray = field(default_factory=lambda: bytearray(8))


class Slots:
    """As comfy_aimdo.model_vbar.ModelVBAR: one model's slots, each filled when it is first used and given back on demand."""

    room = 1 << 40  # bytes for all models together; tests make it less
    everyone: list[Slots] = []  # noqa: RUF012
    numbers = itertools.count(1)

    def __init__(self, size: int, device: int) -> None:
        self.max_size, self.device, self.offset, self.base_addr = int(size), device, 0, 1 << 30
        self.slots: dict[int, Slot] = {}
        self.everyone.append(self)

    def prioritize(self, *_) -> None:
        pass

    def alloc(self, size: int) -> tuple[Slots, int, int]:
        self.offset = (self.offset + 511) & ~511
        if self.offset + size > self.max_size:
            raise MemoryError("VBAR OOM")
        address = self.base_addr + self.offset
        self.offset += size
        self.slots[address] = Slot(size)
        return self, address, size

    def fault(self, address: int, size: int) -> bytearray | None:
        slot = self.slots[address]
        assert slot.size == size
        if slot.content is None:
            if sum(slots.loaded_size() for slots in self.everyone) + size > self.room:
                return None
            slot.content = torch.full((size,), NAN, dtype=torch.uint8, device=CARD)
            slot.signature = bytearray(next(self.numbers).to_bytes(8, "little"))
        slot.pinned = True
        return slot.signature

    def unpin(self, address: int, size: int) -> None:
        self.slots[address].pinned = False

    def tensor(self, address: int, size: int) -> torch.Tensor:
        return self.slots[address].content[:size]

    def loaded_size(self) -> int:
        return sum(slot.size for slot in self.slots.values() if slot.content is not None)

    def free_memory(self, size: float) -> int:
        freed = 0
        for slot in self.slots.values():
            if slot.content is not None and not slot.pinned and freed < size:
                spoil(slot.content)
                slot.content, freed = None, freed + slot.size
        return freed


class Buffer:
    """As comfy_aimdo.vram_buffer.VRAMBuffer: where weights pass through that have no slot."""

    def __init__(self, max_size: int, device: int) -> None:
        self.content = torch.empty(0, dtype=torch.uint8, device=CARD)

    def size(self) -> int:
        return len(self.content)

    def get(self, size: int, offset: int = 0) -> tuple[Buffer, int, int]:
        if offset + size > len(self.content):
            self.content = torch.full((offset + size,), NAN, dtype=torch.uint8, device=CARD)
        return self, offset, size

    def tensor(self, address: int, size: int) -> torch.Tensor:
        return self.content[address : address + size]


class Pins:
    """As comfy_aimdo.host_buffer.HostBuffer: pinned main memory, which grows and is cut off at its end."""

    def __init__(self, size: int, prewarm: int = 0, max_grow_size: int = 0, **_) -> None:
        self.size, self.content = int(size), torch.empty(max(int(size), int(max_grow_size)), dtype=torch.uint8)

    def get_raw_address(self) -> int:
        return self.content.data_ptr()

    def extend(self, size: int, reallocate: bool = False, register: bool = True) -> int:
        if self.size + int(size) > len(self.content):
            raise RuntimeError("HostBuffer.extend failed")
        self.size += int(size)
        return self.get_raw_address()

    def truncate(self, size: int, do_unregister: bool = True) -> None:
        spoil(self.content[int(size) : self.size])
        self.size = int(size)


@torch.inference_mode()
def spoil(content: torch.Tensor) -> None:
    """Makes bytes NaN that nobody may use any more, in whatever mode they were made."""
    content.fill_(NAN)


def analyze(device: int | None = None) -> int:
    """As vbars_analyze: bytes that could be given back."""
    return sum(slot.size for slots in Slots.everyone for slot in slots.slots.values() if slot.content is not None and not slot.pinned)


@contextmanager
def dynamic_vram() -> Iterator[type[Slots]]:
    """ComfyUI's dynamic VRAM as main.py switches it on, with this allocator. Enter it before the pack asks ComfyUI for anything."""
    import comfy.memory_management
    import comfy.model_patcher
    import comfy_aimdo.host_buffer
    import comfy_aimdo.model_vbar
    import comfy_aimdo.torch
    import comfy_aimdo.vram_buffer

    fakes = [
        (comfy.memory_management, "aimdo_enabled", True),
        (comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcherDynamic),
        (comfy_aimdo.model_vbar, "ModelVBAR", Slots),
        (comfy_aimdo.model_vbar, "vbars_analyze", analyze),
        (comfy_aimdo.model_vbar, "vbars_reset_watermark_limits", lambda: None),
        (comfy_aimdo.vram_buffer, "VRAMBuffer", Buffer),
        (comfy_aimdo.host_buffer, "HostBuffer", Pins),
        (comfy_aimdo.torch, "aimdo_to_tensor", lambda alloc, device: alloc[0].tensor(*alloc[1:])),
        (comfy_aimdo.torch, "hostbuf_to_tensor", lambda pins: pins.content[: pins.size]),
    ]
    with ExitStack() as stack:
        for module, name, value in fakes:
            stack.enter_context(patch.object(module, name, value))
        stack.callback(Slots.everyone.clear)
        yield Slots
