"""Nodes run as ComfyUI runs them, with a tiny model; for the scripts that run in ComfyUI's own interpreter."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from bare import BASE, status
from bundles import write_tiny
from standin import stand_in
from video_helpers import pictures

from dva_core.faces.finder import FaceFinder
from dva_core.model.loader import load_model

STEPS = 2
IMAGES = torch.rand(5, 50, 61, 3, generator=torch.Generator().manual_seed(0))
SOUND = {"waveform": torch.rand(1, 2, 9000, generator=torch.Generator().manual_seed(0)) - 0.5, "sample_rate": 44100}


def executed(node, *arguments, **settings):
    """What a node gives when ComfyUI runs it, and what it says."""
    messages = []
    with patch.object(status, "tell", lambda node_id, text, level=logging.INFO: messages.append((text, level))):
        return type(node.__name__, (node,), {"hidden": SimpleNamespace(unique_id=None)}).execute(*arguments, **settings), messages


@contextmanager
def tiny():
    """A tiny model that finds the face of `standin.write_video`."""
    model = load_model(write_tiny(Path(BASE.name) / "tiny.safetensors"), device="cpu")
    finder = stand_in(model)
    with patch.object(FaceFinder, "of", classmethod(lambda cls, *_, **__: finder)):
        yield model


def frames_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(pictures(path)).float() / 255
