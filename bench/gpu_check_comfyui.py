"""Run by ComfyUI's interpreter in its folder, for bench/gpu_check.py: python gpu_check_comfyui.py VIDEO OUT.json [ComfyUI's flags].

What its memory management makes of the networks on the device it chose: the numbers of a video, of weights that come and go, of a model
that is unloaded between two evaluations. "FAILED ..." where they differ from plain torch on the CPU.
"""
# ruff: noqa: E402 (ComfyUI reads its flags before anything else)

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

VIDEO, OUT, FLAGS = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path.cwd()), str(ROOT)]
sys.argv = ["main.py", *FLAGS]

import comfy.options

comfy.options.enable_args_parsing()
import comfy.model_management as management
import numpy as np
import torch

import dva_core
from dva_core.hosts.comfy import ComfyHost, choose_precision
from dva_core.model.loader import load_model

FRAMES, STEPS, NEAR = 2, 3, 5e-3  # mean difference of crops in [-1, 1]
plain = load_model("starter", device="cpu")
expected = dva_core.encode(VIDEO, plain, max_frames=FRAMES, steps=STEPS)
results: dict[str, str] = {"device": str(management.get_torch_device()), "precision": str(choose_precision())}


def hosted():
    return load_model("starter", host=ComfyHost(torch.float32))


def difference(decomposition) -> float:
    return float(np.abs(np.float32(decomposition.rebuilt[:]) - np.float32(expected.rebuilt[:])).mean())


def whole_video() -> float:
    return difference(dva_core.encode(VIDEO, hosted(), max_frames=FRAMES, steps=STEPS))


def unloaded_between_evaluations() -> float:
    count = 0

    def unload(*_) -> None:
        nonlocal count
        count += 1
        if count % 3 == 0:
            management.unload_all_models()

    return difference(dva_core.encode(VIDEO, hosted(), max_frames=FRAMES, steps=STEPS, progress=unload))


def widened_and_back() -> float:
    """What a half-precision model computes before and after it was float32 for a while: the same, to the bit."""
    model = load_model("starter", host=ComfyHost(torch.bfloat16))
    x, t, z = torch.zeros(2, 3, model.image_size, model.image_size), torch.full((2,), 500), torch.ones(2, model.face_dim)
    before = model.predict_noise(x, t, z).cpu()
    with model.host.in_float32("noise_predictor", model.noise_predictor):
        model.predict_noise(x, t, z)
    return float((model.predict_noise(x, t, z).cpu() - before).abs().max())


def check(work: Callable[[], float], bound: float) -> None:
    management.unload_all_models()
    with torch.inference_mode():  # as ComfyUI runs nodes
        error = work()
    results[work.__name__.replace("_", " ")] = f"{'' if error <= bound else 'FAILED '}difference {error:.2g}"
    OUT.write_text(json.dumps(results), encoding="utf-8")


check(whole_video, NEAR)
check(unloaded_between_evaluations, NEAR)
check(widened_and_back, 0.0)
