"""Loading a model by name or from a file."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from ..errors import DVAError
from ..hosts.devices import choose_device, choose_dtype, same_device
from ..hosts.plain import PlainHost
from ..networks.normalisation import prefers_channels_last
from .build import build_empty, expected_tensors
from .bundle import read_bundle, resolve_model
from .checks import check_tensors
from .evaluation import CompiledEvaluation
from .graphs import GraphEvaluation

if TYPE_CHECKING:
    from .autoencoder import DiffusionVideoAutoencoder

logger = logging.getLogger(__name__)

STARTER = "starter"


def load_model(
    name_or_path: str | Path = STARTER,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    operations: ModuleType | type | None = None,
    host: Any = None,
    compile: bool = False,
    cuda_graphs: bool | None = None,
) -> DiffusionVideoAutoencoder:
    """Load the model of a known name (`bundle.find_models`) or of a .safetensors bundle; frozen, in evaluation mode.

    device       None: cuda, else mps, else cpu
    dtype        of the noise predictor (`choose_dtype`); encoders, fusion layer and attributes are small and stay float32
    operations   namespace of the noise predictor's layers (the host's, or torch.nn)
    host         memory management (None: PlainHost), which has a device and a dtype of its own
    compile      torch.compile generates code for the noise predictor when it is first used, which takes minutes
    cuda_graphs  replay its evaluations as CUDA graphs (`GraphEvaluation`); None: where it pays, as measured on the device, without a
                 `host` that shares the device with others

    Every load checks the file against its fingerprint.
    Raises DVAError for an unknown name, a damaged or foreign file, a device that this machine lacks, a `device` or `dtype` other than the
    host's, and for both `compile` and `cuda_graphs`.
    """
    if compile and cuda_graphs:
        raise DVAError("A model is either compiled or replayed as CUDA graphs; choose one of compile and cuda_graphs.")
    automatic = cuda_graphs is None and host is None
    if host is None:
        host = PlainHost(device)
        host.dtype = choose_dtype(dtype, host.device)
    check_host(host, device, dtype)
    bundle = read_bundle(resolve_model(name_or_path))
    check_tensors(bundle.tensors, expected_tensors(bundle.config, bundle.path), bundle.path)
    model = build_empty(bundle.config, bundle.path, operations or host.operations)
    tensors = {
        name: tensor.to(host.dtype if name.startswith("noise_predictor.") else torch.float32) if tensor.is_floating_point() else tensor
        for name, tensor in bundle.tensors.items()
    }
    model.load_state_dict(tensors, assign=True)
    if host.device.type == "cpu" or prefers_channels_last(host.device.type):
        streamed = model.noise_predictor if host.operations is not None else None  # ComfyUI pins contiguous weights only
        for part in model.children():
            if part is not streamed:
                part.to(memory_format=torch.channels_last)  # a sixth less time of the noise predictor on a CPU, a fifth of the small ones
    if compile:
        model.evaluate = CompiledEvaluation()
    elif cuda_graphs or (automatic and host.device.type == "cuda"):
        model.evaluate = GraphEvaluation(automatic)
        host.on_unload = model.evaluate.clear
    model.fingerprint, model.path = bundle.fingerprint, bundle.path
    model.host = host
    logger.info("Model %s (%s) on %s, noise predictor in %s.", bundle.path.stem, bundle.path, host.device, host.dtype)
    return model.eval().requires_grad_(False)


def check_host(host: Any, device: str | torch.device | None, dtype: str | torch.dtype | None) -> None:
    """DVAError if `device` or `dtype` is given and differs from the host's."""
    if device is not None and not same_device(choose_device(device), host.device):
        raise DVAError(f"The host runs on {host.device} and the device asked for is {device}; leave one of them out.")
    if dtype is not None and choose_dtype(dtype, host.device) != host.dtype:
        raise DVAError(f"The host computes in {host.dtype} and the precision asked for is {dtype}; leave one of them out.")


def face_tools(model: DiffusionVideoAutoencoder) -> DiffusionVideoAutoencoder:
    """The model whose `detector` and `landmarks` find faces for `model`: itself, or the starter if it has none (as the published one).

    The starter is kept as the host's `companion`. Raises DVAError if it is needed and missing.
    """
    if model.config.get("detector") and model.config.get("landmarks"):
        return model
    host = model.host
    if host.companion is None:
        try:
            host.companion = load_model(STARTER, host=host.sibling())
        except DVAError as error:
            name = model.config.get("name", "this one")
            raise DVAError(f"The model {name} has no face detector of its own and the starter's cannot be borrowed: {error}") from error
    return host.companion
