"""Checkpoints as PyTorch-Lightning writes them, of the tiny model."""

from __future__ import annotations

from collections import OrderedDict

import torch
from bundles import tiny_config

from dva_core.model.convert import (
    PARTS,
)

CONFIG = tiny_config(attributes=[], detector=None, landmarks=None)


def published_name(name: str) -> str:
    """A name in a bundle -> its name in the published checkpoint."""
    for theirs, ours in PARTS.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name.removeprefix("noise_predictor.")


def lightning(tensors: dict, **extra) -> dict:
    """A checkpoint as PyTorch-Lightning writes it: live weights, moving average, training state."""
    published = {published_name(name): tensor for name, tensor in tensors.items()}
    trunk = {"encoder.lndnet.backbone.pretrain_net.0.weight": torch.ones(3)}
    state = {f"model.{name}": tensor + 1 for name, tensor in (published | trunk).items()}
    state |= {f"ema_model.{name}": tensor for name, tensor in (published | trunk).items()}
    optimizer = {"state": {0: {"step": 7, "exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]}
    return {"state_dict": OrderedDict(state), "epoch": 3, "global_step": 1_000_000, "optimizer_states": [optimizer], **extra}
