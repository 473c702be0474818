"""Run by ComfyUI's own interpreter, in its folder: the bridge to its memory management, without a server. Prints nothing when all holds."""
# ruff: noqa: E402 (the device is chosen before anything asks for it)

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(Path.cwd()), str(HERE.parents[2]), str(HERE.parents[1])]

from comfy.cli_args import args

args.cpu = True

import comfy.model_management as management
import numpy as np
import torch
from bundles import tiny_config, write_tiny

from dva_core.errors import DVAError
from dva_core.finder import FaceFinder
from dva_core.hosts import comfy as bridge
from dva_core.hosts.plain import PlainHost
from dva_core.loader import load_model


def arguments(model, frames: int = 3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(frames, 3, model.image_size, model.image_size, generator=generator)
    return x, torch.full((frames,), 500), torch.randn(frames, model.face_dim, generator=generator)


@torch.inference_mode()
def same_numbers_as_without_a_host() -> None:
    plain, hosted = load_model("starter", device="cpu"), bridge.load("starter")
    assert hosted.host.dtype == torch.float32 and hosted.fingerprint == plain.fingerprint
    torch.testing.assert_close(hosted.predict_noise(*arguments(plain)), plain.predict_noise(*arguments(plain)))
    images = torch.rand(2, 3, 128, 128) * 2 - 1
    torch.testing.assert_close(hosted.encode_identity(images), plain.encode_identity(images))
    assert len(management.loaded_models()) == 2


@torch.inference_mode()
def half_of_the_weights_left_behind() -> None:
    """What a card with too little memory does: some layers are brought along only when they are used."""
    plain, hosted = load_model("starter", device="cpu"), bridge.load("starter")
    expected = plain.predict_noise(*arguments(plain))
    hosted.predict_noise(*arguments(plain))
    patcher = hosted.host._patchers["noise_predictor"]
    patcher.detach()
    patcher.load(torch.device("cpu"), lowvram_model_memory=patcher.model_size() // 2)
    streamed = [m for m in hosted.noise_predictor.modules() if getattr(m, "comfy_cast_weights", False)]
    assert len(streamed) > 10
    stranded = [m for m in hosted.noise_predictor.modules() if list(m.parameters(recurse=False)) and not hasattr(m, "comfy_cast_weights")]
    assert not stranded, stranded
    torch.testing.assert_close(hosted.noise_predictor(*arguments(plain)), expected)


@torch.inference_mode()
def other_models_may_take_the_room() -> None:
    hosted = bridge.load("starter")
    expected = hosted.predict_noise(*arguments(hosted))
    management.unload_all_models()
    torch.testing.assert_close(hosted.predict_noise(*arguments(hosted)), expected)


@torch.inference_mode()
def half_precision_that_overflows_is_widened() -> None:
    hosted = bridge.load("starter", "bf16")
    assert hosted.host.dtype == torch.bfloat16 and next(hosted.noise_predictor.parameters()).dtype == torch.bfloat16
    rough = hosted.predict_noise(*arguments(hosted))
    size = hosted.host._patchers["noise_predictor"].model_size()
    hosted.host.widen("noise_predictor", hosted.noise_predictor)
    exact = hosted.predict_noise(*arguments(hosted))
    assert hosted.host.dtype == torch.float32 and next(hosted.noise_predictor.parameters()).dtype == torch.float32
    assert hosted.host._patchers["noise_predictor"].model_size() > 1.9 * size
    assert 0 < (rough - exact).abs().mean() < 0.1
    names = [type(patcher.model).__name__ for patcher in management.loaded_models()]
    assert names.count("UNet") == 1, names


def a_batch_that_does_not_fit_is_halved() -> None:
    host, sizes, freed = bridge.ComfyHost(torch.float32), [], []
    host.free_memory = lambda: freed.append(True)

    def evaluate(items: list[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 2:
            raise management.OOM_EXCEPTION("CUDA out of memory")
        return items

    assert [i for part in host.run_batched(evaluate, list(range(10)), 8) for i in part] == list(range(10))
    assert sizes[:3] == [8, 4, 2] and max(sizes[3:]) == 2 and len(freed) == 2
    assert not host.is_out_of_memory(ValueError("no")) and host.is_out_of_memory(torch.OutOfMemoryError("CUDA"))
    PlainHost.free_memory(host)


def cancelling_stops_at_the_next_evaluation() -> None:
    hosted, seen = bridge.load("starter"), []
    management.interrupt_current_processing()
    for act in (lambda: hosted.predict_noise(*arguments(hosted)), lambda: bridge.NodeProgress(3)("decode", 1, 2)):
        management.interrupt_current_processing()
        try:
            act()
        except management.InterruptProcessingException:
            seen.append(True)
    assert len(seen) == 2


def nothing_is_kept_when_the_model_is_let_go() -> None:
    import gc
    import weakref

    management.unload_all_models()
    hosted = bridge.load("starter")
    hosted.predict_noise(*arguments(hosted))
    network, count = weakref.ref(hosted.noise_predictor), len(management.loaded_models())
    del hosted
    gc.collect()
    management.cleanup_models()
    assert network() is None and len(management.loaded_models()) < count


def a_model_without_a_detector_borrows_the_starters() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny(Path(folder) / "bare.safetensors", config=tiny_config(detector=None, landmarks=None))
        hosted = load_model(path, host=bridge.ComfyHost(torch.float32))
    finder = FaceFinder.of(hosted)
    assert finder.detector.network is hosted.host.load_model("starter").detector  # the same one every time
    assert isinstance(hosted.host.load_model("starter").host, bridge.ComfyHost)
    assert finder.detector.detect(np.zeros((64, 64, 3), np.uint8)) == []


def unknown_precisions_are_refused() -> None:
    try:
        bridge.choose_precision("fp8")
    except DVAError as error:
        assert "fp8" in str(error)
    else:
        raise AssertionError


CHECKS = [
    same_numbers_as_without_a_host,
    half_of_the_weights_left_behind,
    other_models_may_take_the_room,
    half_precision_that_overflows_is_widened,
    a_batch_that_does_not_fit_is_halved,
    cancelling_stops_at_the_next_evaluation,
    nothing_is_kept_when_the_model_is_let_go,
    a_model_without_a_detector_borrows_the_starters,
    unknown_precisions_are_refused,
]

if __name__ == "__main__":
    for check in CHECKS:
        if len(sys.argv) < 2 or check.__name__ in sys.argv[1:]:
            check()
