"""Building a model without weights from a configuration."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import DVAError, one_line
from .autoencoder import DiffusionVideoAutoencoder
from .checks import CURE, check_config


class SkipInit(TorchFunctionMode):
    """While active, `torch.nn.init` leaves new parameters uninitialised, as they will be replaced."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build_empty(config: dict[str, Any], path: str | Path = "the configuration", operations: ModuleType | type | None = None) -> nn.Module:
    """The DiffusionVideoAutoencoder of `config`, its parameters not yet filled. DVAError, naming `path`, for an invalid configuration."""
    check_config(config, path)
    try:
        with SkipInit():
            return DiffusionVideoAutoencoder(config, operations=operations or nn)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise DVAError(f"{path} describes a model that cannot be built ({one_line(error)}); {CURE}.") from error


def expected_tensors(config: dict[str, Any], path: str | Path = "the configuration") -> dict[str, Tensor]:
    """Names, shapes and types of the tensors of `config`, without values, as of plain torch layers.

    The layers of a host may be empty until their weights are loaded. Raises as `build_empty`.
    """
    with torch.device("meta"):
        return build_empty(config, path).state_dict()
