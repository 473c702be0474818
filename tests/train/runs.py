"""Training runs of a tiny model on drawn noise: quick enough for a test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bundles import tiny_tensors
from safetensors.torch import save_file

from dva_core.model.bundle import write_bundle
from dva_core.networks import build_network
from dva_core.train.diffusion import DiffusionSettings, DiffusionTraining
from dva_core.train.settings import read_json
from dva_core.train.synthesis import Variants

CONFIG = read_json("starter")
CONFIG |= {
    "image_size": 16,
    "face_dim": 16,
    "diffusion": {**CONFIG["diffusion"], "prediction": "epsilon"},  # in noise there is no velocity to learn
    "noise_predictor": {
        "type": "unet", "image_size": 16, "patch_size": 2, "base_channels": 8, "channel_multipliers": [1, 2], "num_res_blocks": 1,
        "attention_resolutions": [4], "embedding_channels": 16, "condition_channels": 16, "dropout": 0.0,
    },
}  # fmt: skip


@pytest.fixture
def encoders(tmp_path):
    torch.manual_seed(0)
    for name, part in (("identity", "identity_encoder"), ("landmarks", "motion_encoder")):
        state = build_network(CONFIG[part]).state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, str(tmp_path / f"{name}.safetensors"))
    return tmp_path


def drawn_people(people: int = 12, frames: int = 2) -> tuple[Variants, np.ndarray]:
    """Frames of noise, and which are held out."""
    rng = np.random.default_rng(0)
    variants = Variants(
        pictures=rng.integers(0, 256, (people * frames, 32, 32, 3), dtype=np.uint8),
        landmarks=rng.uniform(8, 24, (people * frames, 68, 2)).astype(np.float32),
        embedding=np.zeros((people * frames, 128), np.float32),
        group=np.repeat(np.arange(people), frames),
        original=np.repeat(np.arange(people), frames),
    )
    return variants, variants.group < 2


def training(encoders, out, steps, config=None, **changes):
    variants, held_out = drawn_people()
    return DiffusionTraining(
        config or CONFIG, encoders, variants, held_out, out, DiffusionSettings(**{"steps": steps, "people": 3, "warm_up": 1} | changes)
    )


def write_start(folder, config):
    tensors = tiny_tensors(config | {"attributes": []})
    return write_bundle(folder / "start.safetensors", tensors, config, licence="MIT", source="a test", model_card="").path
