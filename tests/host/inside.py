"""Run by ComfyUI's own interpreter, in its folder: the bridge to its memory management, without a server. Prints nothing when all holds."""
# ruff: noqa: E402 (the device is chosen before anything asks for it)

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

HERE = Path(__file__).resolve()
sys.path[:0] = [str(Path.cwd()), str(HERE.parents[2]), str(HERE.parents[1]), str(HERE.parent)]

from comfy.cli_args import args

args.cpu = True

import comfy.model_management as management
import comfy.ops
import numpy as np
import torch
from bundles import network_inputs, tiny_config, write_tiny
from load_pack import load_pack

from dva_core.errors import DVAError
from dva_core.faces.finder import FaceFinder
from dva_core.hosts import comfy as bridge
from dva_core.hosts.plain import PlainHost
from dva_core.model.loader import load_model

models, status = load_pack("nodes.models"), load_pack("nodes.status")


@torch.inference_mode()
def same_numbers_as_without_a_host() -> None:
    plain, hosted = load_model("starter", device="cpu", dtype="auto"), models.load("starter")
    assert hosted.host.dtype == plain.host.dtype and hosted.fingerprint == plain.fingerprint
    torch.testing.assert_close(hosted.predict_noise(*network_inputs(plain)), plain.predict_noise(*network_inputs(plain)))
    images = torch.rand(2, 3, 128, 128) * 2 - 1
    torch.testing.assert_close(hosted.encode_identity(images), plain.encode_identity(images))
    assert len(management.loaded_models()) == 2


LARGE = {"base_channels": 128, "channel_multipliers": [1, 4], "num_res_blocks": 2, "embedding_channels": 128}  # 200 MB in float32


@contextmanager
def a_card_with(free_bytes: int):
    """What ComfyUI does on a graphics card with so much memory free; the arithmetic stays on the CPU."""
    faked = {
        "is_device_cpu": lambda device: False,
        "get_free_memory": lambda device=None, torch_free_too=False: (free_bytes, 0) if torch_free_too else free_bytes,
        "vram_state": management.VRAMState.NORMAL_VRAM,
    }
    with ExitStack() as stack:
        for name, value in faked.items():
            stack.enter_context(patch.object(management, name, value))
        yield


@torch.inference_mode()
def a_card_too_small_for_all_weights() -> None:
    """Layers that find no room are brought along one by one when they are used; the small networks are loaded whole."""
    config = tiny_config(noise_predictor={**tiny_config()["noise_predictor"], **LARGE})
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny(Path(folder) / "large.safetensors", config=config)
        plain = load_model(path, device="cpu")
        hosted = load_model(path, operations=comfy.ops.disable_weight_init, host=bridge.ComfyHost(torch.float32))
    expected = plain.predict_noise(*network_inputs(plain)), plain.encode_identity(torch.zeros(1, 3, 32, 32))
    with a_card_with(free_bytes=0):
        hosted.predict_noise(*network_inputs(plain))
        layers = [m for m in hosted.noise_predictor.modules() if list(m.parameters(recurse=False))]
        left_behind = [m for m in layers if not getattr(m, "comfy_patched_weights", False)]
        loaded = hosted.host._patchers["noise_predictor"].loaded_size()
        assert len(left_behind) > 3 and loaded < 0.8 * weight_bytes(hosted.noise_predictor), (len(left_behind), loaded)
        for layer in left_behind:  # another type is to a plain layer what another device is: it would raise
            layer.double()
        torch.testing.assert_close(hosted.predict_noise(*network_inputs(plain)), expected[0])
        torch.testing.assert_close(hosted.encode_identity(torch.zeros(1, 3, 32, 32)), expected[1])
        assert hosted.host._patchers["identity_encoder"].loaded_size() == weight_bytes(hosted.identity_encoder)


def weight_bytes(module: torch.nn.Module) -> int:
    return management.module_size(module)


@torch.inference_mode()
def every_network_is_loaded_before_it_is_used() -> None:
    """And asked for again only where another one was loaded since, or more room is wanted."""
    hosted, calls = models.load("starter"), []
    load = management.load_models_gpu

    def note(patchers, memory_required=0, **settings):
        calls.append((type(patchers[0].model).__name__, memory_required))
        return load(patchers, memory_required=memory_required, **settings)

    with patch.object(management, "load_models_gpu", note):
        for frames in (2, 2, 1, 3):
            hosted.predict_noise(*network_inputs(hosted, frames))
        hosted.fuse(torch.zeros(1, hosted.identity_dim), torch.zeros(1, hosted.motion_dim))
        hosted.predict_noise(*network_inputs(hosted, 1))
        management.unload_all_models()
        hosted.predict_noise(*network_inputs(hosted, 1))
    assert [name for name, _ in calls] == ["UNet", "UNet", "Linear", "UNet", "UNet"]
    assert all(room > 0 for _, room in calls) and calls[1][1] == 1.5 * calls[0][1] == 3 * calls[3][1]


@torch.inference_mode()
def other_models_may_take_the_room() -> None:
    hosted = models.load("starter")
    expected = hosted.predict_noise(*network_inputs(hosted))
    management.unload_all_models()
    torch.testing.assert_close(hosted.predict_noise(*network_inputs(hosted)), expected)


@torch.inference_mode()
def half_precision_that_overflows_is_widened_for_a_while() -> None:
    hosted = models.load("starter", "bf16")
    rough = hosted.predict_noise(*network_inputs(hosted))
    patcher = hosted.host._patchers["noise_predictor"]
    size = patcher.model_size()
    with hosted.host.in_float32("noise_predictor", hosted.noise_predictor):
        exact = hosted.predict_noise(*network_inputs(hosted))
        assert hosted.host.dtype == torch.float32 and next(hosted.noise_predictor.parameters()).dtype == torch.float32
        assert patcher.model_size() > 1.9 * size
        names = [type(patcher.model).__name__ for patcher in management.loaded_models()]
        assert names.count("UNet") == 1, names
    assert 0 < (rough - exact).abs().mean() < 0.1
    assert hosted.host.dtype == torch.bfloat16 and patcher.model_size() == size
    assert torch.equal(hosted.predict_noise(*network_inputs(hosted)), rough)  # nothing of it stays


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
    hosted, devices = models.load("starter"), []
    management.interrupt_current_processing()
    for act in (lambda: hosted.predict_noise(*network_inputs(hosted)), lambda: status.NodeProgress(3)("decode", 1, 2)):
        management.interrupt_current_processing()
        try:
            act()
        except management.InterruptProcessingException:
            devices.append(True)
    assert len(devices) == 2


def nothing_is_kept_when_the_model_is_let_go() -> None:
    import gc
    import weakref

    management.unload_all_models()
    hosted = models.load("starter")
    hosted.predict_noise(*network_inputs(hosted))
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
    assert finder.detector.network is hosted.host.companion.detector  # the same one every time
    assert isinstance(hosted.host.companion.host, bridge.ComfyHost)
    assert finder.detector.detect(np.zeros((64, 64, 3), np.uint8)) == []


def a_processor_computes_in_its_fastest_type_unless_told_otherwise() -> None:
    with patch("dva_core.hosts.devices.fastest_dtype", lambda device: {"cpu": torch.bfloat16}[device.type]):
        assert bridge.choose_precision() == torch.bfloat16 and bridge.choose_precision("fp32") == torch.float32
        with patch.object(management, "FORCE_FP32", True):
            assert bridge.choose_precision() == torch.float32


def unknown_precisions_are_refused() -> None:
    try:
        bridge.choose_precision("fp8")
    except DVAError as error:
        assert "fp8" in str(error)
    else:
        raise AssertionError


CHECKS = [
    same_numbers_as_without_a_host,
    a_card_too_small_for_all_weights,
    every_network_is_loaded_before_it_is_used,
    other_models_may_take_the_room,
    half_precision_that_overflows_is_widened_for_a_while,
    a_batch_that_does_not_fit_is_halved,
    cancelling_stops_at_the_next_evaluation,
    nothing_is_kept_when_the_model_is_let_go,
    a_model_without_a_detector_borrows_the_starters,
    a_processor_computes_in_its_fastest_type_unless_told_otherwise,
    unknown_precisions_are_refused,
]

if __name__ == "__main__":
    for check in CHECKS:
        if len(sys.argv) < 2 or check.__name__ in sys.argv[1:]:
            check()
