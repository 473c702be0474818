"""Networks as the reference numbers were made with: seeded weights, the tiny UNet."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch

from dva_core.networks import build_network
from dva_core.networks.unet import UNet

TINY = {
    "image_size": 32,
    "base_channels": 32,
    "channel_multipliers": [1, 2, 2],
    "attention_resolutions": [16],
    "embedding_channels": 64,
    "condition_channels": 64,
}


def seeded_weights(shared):
    """The module that fills a network from its keys."""
    spec = importlib.util.spec_from_file_location("seeded_weights", shared("reference/seeded_weights.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny_unet(shared) -> UNet:
    """The small noise predictor that the reference numbers were made with."""
    network = build_network({"type": "unet", **TINY}).eval()
    weights = seeded_weights(shared).seeded_state_dict(network.state_dict())
    for key in ("out.2.weight", "out.2.bias"):
        weights[key] = weights[key] * 0.5
    network.load_state_dict(weights)
    return network


def shapes(module: torch.nn.Module) -> dict[str, list[int]]:
    return {key: list(tensor.shape) for key, tensor in module.state_dict().items()}


def tiny_unet_numbers(shared) -> dict[str, torch.Tensor]:
    """Inputs and results of the tiny UNet by name."""
    return {key: torch.from_numpy(value) for key, value in np.load(shared("reference/unet_tiny.npz")).items()}
