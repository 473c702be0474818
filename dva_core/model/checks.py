"""Checks of a configuration's form and of the tensors it requires; errors are one sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion.guidance import Guidance
from ..diffusion.schedule import LARGEST_POWER, LEAST_POWER
from ..errors import DVAError

FORMAT, VERSION = "dva-bundle", 1
PARTS = ("noise_predictor", "identity_encoder", "motion_encoder")  # what every model has; the others may be null
SIZES = ("image_size", "crop_size", "identity_dim", "motion_dim", "face_dim")
CURE = "get it again, or make it anew with `python -m dva_core convert`"


def check_config(config: Any, path: str | Path) -> None:
    """DVAError unless `config` has the form of a bundle's configuration that this version reads."""
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise DVAError(f"{path} is not a model file of this project; choose a bundle, or make one with `python -m dva_core convert`.")
    if config.get("version") != VERSION:
        raise DVAError(f"{path} has bundle version {config.get('version')!r} and this program reads {VERSION}; update the program.")
    for key in SIZES:
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DVAError(f"{path} has {key} {value!r} in its configuration where a positive number belongs; {CURE}.")
    for key in (*PARTS, "diffusion"):
        if not isinstance(config.get(key), dict):
            raise DVAError(f"{path} lacks {key} in its configuration; {CURE}.")
    attributes = config.get("attributes", [])
    if not isinstance(attributes, list) or not all(isinstance(a, dict) and isinstance(a.get("name"), str) for a in attributes):
        raise DVAError(f"{path} has an unreadable list of attributes in its configuration; {CURE}.")
    for key in ("regions", "tone_attributes"):
        names = config.get(key) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DVAError(f"{path} has an unreadable list of {key} in its configuration; {CURE}.")
    powers = config.get("powers") or {}
    if not isinstance(powers, dict) or not all(
        isinstance(p, (int, float)) and not isinstance(p, bool) and LEAST_POWER <= p <= LARGEST_POWER for p in powers.values()
    ):
        raise DVAError(
            f"{path} has powers {powers!r} in its configuration where numbers from {LEAST_POWER} to {LARGEST_POWER} belong; {CURE}."
        )
    try:
        Guidance.from_config(config)
    except (AttributeError, DVAError, TypeError, ValueError) as error:
        raise DVAError(f"{path} has a guidance {config['guidance']!r} in its configuration that makes no sense; {CURE}.") from error


def check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path, cure: str = CURE) -> None:
    """DVAError naming file and tensor unless `tensors` has exactly the names, shapes and kinds of `expected`, and finite values."""
    for name, like in expected.items():
        if name not in tensors:
            raise DVAError(f"{path} lacks the tensor {name}; {cure}.")
        tensor = tensors[name]
        if tensor.shape != like.shape:
            raise DVAError(f"{path} has {name} in shape {list(tensor.shape)} where {list(like.shape)} belongs; {cure}.")
        if tensor.is_floating_point() != like.is_floating_point():
            raise DVAError(f"{path} has {name} as {tensor.dtype} where {like.dtype} belongs; {cure}.")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DVAError(f"{path} has values in {name} that are not finite numbers; {cure}.")
    for name in tensors:
        if name not in expected:
            raise DVAError(f"{path} has a tensor {name} that its configuration does not know; {cure}.")


def weights_digest(weights: Mapping[str, Tensor], kind: str = "") -> str:
    """SHA-256 of a network's weights and of its `kind`, independent of the precision they are stored in.

    The weights are hashed in half precision, so that the same network has the same digest in fp32 and fp16 bundles.
    """
    digest = hashlib.sha256(kind.encode())
    for name in sorted(weights):
        if weights[name].is_floating_point():  # counters of training steps are not weights
            half = weights[name].detach().to("cpu", torch.float16).contiguous()
            digest.update(f"\0{name}\0{tuple(half.shape)}\0".encode())
            digest.update(memoryview(half.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
