"""Run by ComfyUI's own interpreter, with a folder as its argument: puts a tiny CLIP with random weights there, as Hugging Face has them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic", "resize_mode": "shortest"},
}

folder = Path(sys.argv[1])
folder.mkdir(parents=True)
(folder / "open_clip_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
torch.manual_seed(0)
network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
save_file({name: value.clone() for name, value in network.state_dict().items()}, folder / "open_clip_model.safetensors")
