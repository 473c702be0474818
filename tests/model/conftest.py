"""Fixtures of model files: the tiny model's tensors and its published checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundles import tiny_tensors

from .checkpoints import CONFIG, lightning


@pytest.fixture
def tensors():
    return tiny_tensors(CONFIG)


@pytest.fixture
def checkpoint(tmp_path, tensors) -> Path:
    path = tmp_path / "diffusion.ckpt"
    torch.save(lightning(tensors), path)
    return path
