"""From a name or a file to a model that is ready to run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from .bundle import PRECISIONS, read_bundle, resolve_model
from .errors import DVAError
from .hosts.evaluators import Compiled
from .hosts.plain import PlainHost
from .structure import build_empty, check_tensors, expected_tensors

if TYPE_CHECKING:
    from .autoencoder import DiffusionVideoAutoencoder

logger = logging.getLogger(__name__)

STARTER = "starter"
AUTO = "auto"


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device | None = None) -> torch.dtype:
    """ "fp32", "fp16", "bf16", the like from torch, or None for float32 (what the reference numbers were computed in).

    "auto": bf16 where `device` multiplies it in hardware, fp16 on other CUDA devices, else float32.
    """
    if dtype == AUTO:
        return fastest_dtype(device or torch.device("cpu"))
    chosen = torch.float32 if dtype is None else PRECISIONS.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if chosen not in PRECISIONS.values():
        raise DVAError(f"There is no precision {dtype!r}; choose one of {', '.join((*PRECISIONS, AUTO))}.")
    return chosen


def fastest_dtype(device: torch.device) -> torch.dtype:
    """The type `device` computes fastest in."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public name for them
        if any(getattr(torch.cpu, name, bool)() for name in asked):
            return torch.bfloat16
    return torch.float32


def load_model(
    name_or_path: str | Path = STARTER,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    operations: ModuleType | type | None = None,
    host: Any = None,
    compile: bool = False,
) -> DiffusionVideoAutoencoder:
    """The model of a known name (`bundle.find_models`) or of a .safetensors bundle; frozen, in evaluation mode.

    `device`: None takes cuda, else mps, else cpu. `dtype` is the noise predictor's (`choose_dtype`); the encoders, the fusion layer
    and the attributes are small and stay float32. `operations` supplies the noise predictor's layers (torch.nn), `host` the memory
    management (PlainHost); a host given here decides device and dtype. `compile`: torch.compile makes code for the noise predictor
    when it is first used, which takes minutes. Every load checks the file against its fingerprint.
    Raises DVAError for an unknown name, a damaged or foreign file, a device that is not there.
    """
    if host is None:
        host = PlainHost(device)
        host.dtype = choose_dtype(dtype, host.device)
    bundle = read_bundle(resolve_model(name_or_path))
    check_tensors(bundle.tensors, expected_tensors(bundle.config, bundle.path), bundle.path)
    model = build_empty(bundle.config, bundle.path, operations)
    tensors = {
        name: tensor.to(host.dtype if name.startswith("noise_predictor.") else torch.float32) if tensor.is_floating_point() else tensor
        for name, tensor in bundle.tensors.items()
    }
    model.load_state_dict(tensors, assign=True)
    if host.device.type in ("cpu", "cuda"):
        model.to(memory_format=torch.channels_last)  # a sixth less time of the noise predictor on a CPU, a fifth of the small networks
    if compile:
        model.evaluate = Compiled()
    model.fingerprint, model.path = bundle.fingerprint, bundle.path
    model.host = host
    logger.info("Model %s (%s) on %s, noise predictor in %s.", bundle.path.stem, bundle.path, host.device, host.dtype)
    return model.eval().requires_grad_(False)


def face_tools(model: DiffusionVideoAutoencoder, load: Callable[..., DiffusionVideoAutoencoder] = load_model) -> DiffusionVideoAutoencoder:
    """The model whose `detector` and `landmarks` find faces for `model`: itself, or the starter where it has none (published ones).

    `load` loads the starter (a host may have its own way). Raises DVAError where the starter is needed and missing.
    """
    if model.config.get("detector") and model.config.get("landmarks"):
        return model
    try:
        return load(STARTER, device=model.host.device)
    except DVAError as error:
        name = model.config.get("name", "this one")
        raise DVAError(f"The model {name} has no face detector of its own and the starter's cannot be borrowed: {error}") from error
