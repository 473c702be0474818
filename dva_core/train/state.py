"""The state of a run: averaged weights, and everything needed to resume at the exact step."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dva_core.errors import DVAError, MissingFileError, one_line
from dva_core.files import atomic_write

TRAINED_PARTS = ("image_size", "face_dim", "noise_predictor", "diffusion")  # parts of a configuration that a run determines


class Ema:
    """Exponential moving average of parameters, with a decay that rises to `decay` over the steps."""

    def __init__(self, parameters: dict[str, Tensor], decay: float):
        self.values, self.decay = {k: v.detach().clone() for k, v in parameters.items()}, decay

    @torch.no_grad()
    def update(self, parameters: dict[str, Tensor], step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([self.values[key] for key in parameters], list(parameters.values()), 1 - decay)  # one launch on a GPU


def write_network(path: Path, network: nn.Module) -> None:
    """Write the weights of a network to a safetensors file, atomically."""
    write_tensors(path, network.state_dict())


def read_network(path: Path, network: nn.Module) -> nn.Module:
    """Load weights written by `write_network` into `network`. DVAError if they are missing, damaged or of another network."""
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise DVAError(f"{path} holds another network ({one_line(error)}): run `train {path.stem}` again.") from error
    return network


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors written by a training step. DVAError if they are missing or damaged."""
    if not path.is_file():
        raise MissingFileError(f"{path} is missing: run `train {path.stem}` first.")
    try:
        return load_file(str(path))
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise DVAError(f"{path} is damaged ({one_line(error)}): run `train {path.stem}` again.") from error


def read_about(path: Path) -> dict[str, str]:
    """Read the metadata of a file written by `write_tensors`."""
    with safe_open(str(path), "pt") as file:
        return file.metadata() or {}


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with atomic_write(path) as partial:
        save_file(contiguous, partial, metadata)


def write_state(path: Path, tensors: dict[str, Tensor], state: dict, config: dict) -> None:
    """Write the whole state of a run to one safetensors file, atomically."""
    write_tensors(path, tensors, {"state": json.dumps(state), "config": json.dumps(config)})


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open the state file for reading. DVAError if it is missing or damaged."""
    if not path.is_file():
        raise MissingFileError(f"{path} is not there: check --run, or begin a run there with `train diffusion` (without --resume).")
    try:
        with safe_open(str(path), "pt") as file:
            yield file
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DVAError(f"{path} is damaged or no state of a run ({one_line(error)}): begin the run anew.") from error


def read_facts(path: Path) -> dict:
    """Read step, seconds, settings, figures and the like of a run, without its tensors. DVAError as of `open_tensors`."""
    with open_tensors(path) as file:
        return json.loads(file.metadata()["state"])


def read_config(path: Path) -> dict:
    """Read the configuration of a run's model. DVAError as of `open_tensors`."""
    with open_tensors(path) as file:
        return json.loads(file.metadata()["config"])


def read_state(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """Read state and tensors of a run into memory: Windows cannot replace a mapped file. DVAError as of `open_tensors`."""
    with open_tensors(path) as file:
        return json.loads(file.metadata()["state"]), {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)


def export(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """Read configuration and averaged tensors (unet.*, fusion.*) of a run's state, without its optimiser. DVAError as of `open_tensors`."""
    with open_tensors(path) as file:
        return json.loads(file.metadata()["config"]), {k[4:]: file.get_tensor(k) for k in file.keys() if k.startswith("ema.")}  # noqa: SIM118
