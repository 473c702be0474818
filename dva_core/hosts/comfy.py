"""ComfyUI's model management as the host of the networks."""

from __future__ import annotations

import weakref
from typing import Any

import comfy.model_management as management
import comfy.model_patcher
import comfy.ops
import torch
from comfy.patcher_extension import CallbacksMP
from torch import nn

from dva_core.errors import DVAError
from dva_core.hosts.devices import AUTO, PRECISIONS, choose_dtype, same_device
from dva_core.hosts.plain import PlainHost

STREAMED = "noise_predictor"  # the network made of the host's own layers, whose weights may stay in main memory until they are used


class ComfyHost(PlainHost):
    """Runs networks on the device that ComfyUI chooses and lets ComfyUI unload them for other nodes. `dtype` is the noise predictor's.

    `whole`: the noise predictor is loaded as a whole, as compiled code and CUDA graphs need it. With ComfyUI's dynamic VRAM ("dynamic"
    here) a layer's weights are otherwise loaded when it is used; networks made of plain layers are always moved as a whole.
    """

    def __init__(self, dtype: torch.dtype, whole: bool = False) -> None:
        self.device = management.get_torch_device()
        self.offload_device = management.unet_offload_device()
        self.dtype = dtype
        self._streamed = () if whole else (STREAMED,)
        self._patchers: dict[str, Any] = {}  # ComfyUI itself holds them weakly
        self._room: dict[str, int] = {}  # bytes that were free beside a network when it was loaded last

    def use(self, name: str, module: nn.Module, activation_bytes: int = 0) -> torch.device:
        """Have ComfyUI load `module` (the part called `name`) and keep `activation_bytes` free; raises if the user has cancelled."""
        management.throw_exception_if_processing_interrupted()
        patcher = self._patchers.get(name)
        if patcher is None or patcher.model is not module:
            patcher = self._patchers[name] = self._patcher(name, module)
            self._room.pop(name, None)
        if activation_bytes <= self._room.get(name, -1) and self._is_in_place(name, module):
            return self.device  # asking again before every step would empty torch's cache each time
        whole = name not in self._streamed
        management.load_models_gpu([patcher], memory_required=activation_bytes, force_full_load=whole)
        self._room[name] = activation_bytes
        if whole and not is_dynamic(patcher) and not self._is_on_device(module):
            patcher.load(self.device, full_load=True)  # --novram leaves plain layers in main memory, where they cannot run
        return self.device

    def _patcher(self, name: str, module: nn.Module) -> Any:
        """Make ComfyUI's patcher of one network: of the class that ComfyUI prefers, unless the weights have to stay loaded."""
        patchers = comfy.model_patcher  # main.py chooses when it starts; older hosts have one kind
        kind = getattr(patchers, "CoreModelPatcher", patchers.ModelPatcher)
        if name == STREAMED and name not in self._streamed:
            kind = patchers.ModelPatcher
        patcher = kind(module, load_device=self.device, offload_device=self.offload_device)
        if name == STREAMED:
            own = weakref.ref(self)  # else the networks would outlive their model
            patcher.add_callback(CallbacksMP.ON_DETACH, lambda *_: (host := own()) and host.on_unload())
        return patcher

    def _is_in_place(self, name: str, module: nn.Module) -> bool:
        """Whether the network is still loaded, with only other networks of this model loaded after it: then ComfyUI need not be called."""
        loaded = management.loaded_models()
        if self._patchers[name] not in loaded:
            return False
        later = loaded[: loaded.index(self._patchers[name])]
        if name == STREAMED:
            return not later and (name in self._streamed or self._is_on_device(module))
        return all(patcher in self._patchers.values() for patcher in later) and self._is_on_device(module)

    def _is_on_device(self, module: nn.Module) -> bool:
        return all(same_device(weight.device, self.device) for weight in module.parameters())

    def forget(self, name: str) -> None:
        """As PlainHost's. ComfyUI holds the patcher by a weak reference, so its memory is freed."""
        self._patchers.pop(name, None)

    def convert(self, name: str, module: nn.Module, dtype: torch.dtype) -> None:
        """As PlainHost's, with ComfyUI's bookkeeping updated."""
        patcher = self._patchers[name]
        self._room.pop(name, None)
        if is_dynamic(patcher):  # every layer casts its weights to its input's dtype; their buffers have the size they were loaded with
            self.dtype = dtype
            return
        patcher.detach()
        super().convert(name, module, dtype)
        patcher.size = 0
        patcher.model_size()

    def free_bytes(self) -> int | None:
        """As PlainHost's, plus the memory of other models that ComfyUI would unload."""
        if self.device.type in ("cpu", "mps"):
            return None
        loaded = [entry for entry in management.current_loaded_models if entry.model is not None and same_device(entry.device, self.device)]
        ask = next((entry.model.get_free_memory for entry in loaded if hasattr(entry.model, "get_free_memory")), management.get_free_memory)
        # newer patchers count the memory that dynamic ones can release
        return int(ask(self.device) + sum(entry.model_loaded_memory() for entry in loaded if not is_dynamic(entry.model)))

    @staticmethod
    def is_out_of_memory(error: BaseException) -> bool:
        exception = management.OOM_EXCEPTION  # Exception itself where torch has none of its own
        is_oom = getattr(management, "is_oom", lambda error: isinstance(error, exception))  # newer hosts know other accelerators' too
        return PlainHost.is_out_of_memory(error) or (exception is not Exception and is_oom(error))

    def free_memory(self) -> None:
        """Unload all models, including those of other nodes; the next use loads as much as fits."""
        management.unload_all_models()
        management.soft_empty_cache()

    @property
    def operations(self) -> type | None:
        """The layer classes whose weights ComfyUI loads one by one; None on a CPU."""
        return None if self.device.type == "cpu" else comfy.ops.disable_weight_init

    def sibling(self) -> ComfyHost:
        """As PlainHost's."""
        return ComfyHost(choose_precision(), whole=not self._streamed)

    def place(self, predictor: nn.Module, device: Any = None, dtype: Any = None) -> None:
        """DVAError: both are ComfyUI's choice."""
        raise DVAError("ComfyUI decides where this model runs; load it anew (Load DVA Model) for another precision.")


def is_dynamic(patcher: Any) -> bool:
    """Whether a network's weights are loaded layer by layer as they are used (dynamic VRAM)."""
    return getattr(patcher, "is_dynamic", bool)()


def choose_precision(precision: str = AUTO) -> torch.dtype:
    """Choose the noise predictor's dtype: `precision`, or the one in which ComfyUI (by flags and device) would run a diffusion network.

    ComfyUI runs everything in float32 on CPUs; on those that multiply bfloat16 in hardware bfloat16 is used, unless its flags ask for
    float32.
    """
    if precision != AUTO:
        return choose_dtype(precision)
    device, kinds = management.get_torch_device(), [torch.float16, torch.bfloat16, torch.float32]
    if device.type == "cpu" and not management.FORCE_FP32:
        return choose_dtype(AUTO, device)
    storage_dtype = management.unet_dtype(device=device, supported_dtypes=kinds)
    compute_dtype = management.unet_manual_cast(storage_dtype, device, kinds) or storage_dtype
    return compute_dtype if compute_dtype in PRECISIONS.values() else torch.float32
