"""Run by ComfyUI's own interpreter, in its folder: its memory management on a card that is not there. Prints nothing when all holds.

With every way to manage memory that the host has, weights and what they are applied to have to be on one device, and what comes out is
what plain layers give.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable
from functools import cache
from unittest.mock import patch

from memory_ways import (  # first: it puts the card in
    DYNAMIC,
    EDIT,
    FOLDER,
    PRETENDED,
    STEPS,
    WAYS,
    check_near,
    everything_fits,
    expected,
    half_of_it_fits,
    hosted,
    model_file,
    nothing_stays,
    plain,
    video_file,
    weights_come_as_they_are_used,
    whole,
)

# isort: split
import comfy.model_management as management
import comfy.model_patcher
import numpy as np
import torch
from brightness import OnAnyDevice
from bundles import network_inputs
from card_tensors import CARD, OnCard

from dva_core.edit import apply_attributes
from dva_core.edit.text import text_search
from dva_core.hosts import comfy as bridge
from dva_core.hosts.devices import AUTO
from dva_core.model.evaluation import CompiledEvaluation
from dva_core.model.loader import load_model
from dva_core.pipeline import decode_crops, encode

# -- what has to hold with each ------------------------------------------------------------------------------------------


def the_way_is_what_it_says(way: Callable) -> None:
    model = hosted()
    model.predict_noise(*network_inputs(model))
    patcher, weights = model.host._patchers["noise_predictor"], list(model.noise_predictor.parameters())
    there = sum(isinstance(weight, OnCard) for weight in weights)
    assert bridge.is_dynamic(patcher) == (way in DYNAMIC)
    size, loaded = management.module_size(model.noise_predictor), patcher.loaded_size()
    if way is everything_fits:
        assert there == len(weights) and loaded == size
    elif way is half_of_it_fits:
        assert 0 < there < len(weights) and 0.2 * size < loaded < 0.8 * size, (there, loaded, size)
    elif way is nothing_stays:
        assert there == 0
    else:
        slots = [layer for layer in model.noise_predictor.modules() if hasattr(layer, "_v")]
        assert len(slots) > 20 and not any(isinstance(layer.weight, OnCard) for layer in slots)
        assert loaded > 0.9 * size if way is weights_come_as_they_are_used else loaded < 0.4 * size


def a_video_comes_out_as_without_a_host(way: Callable) -> None:
    check_near(whole(hosted()))


def half_precision_is_near(way: Callable) -> None:
    model = hosted(AUTO)
    assert model.host.dtype == torch.float16
    check_near(whole(model), tolerance=0.1)


def what_overflows_is_computed_in_float32(way: Callable) -> None:
    """By itself where values are not finite, and nothing of it stays."""
    model = hosted("bf16")
    rough = model.predict_noise(*network_inputs(model)).cpu()
    with patch.object(model, "evaluate", Overflow(model.evaluate)):
        check_near(whole(model), rounded(torch.bfloat16))
    assert model.host.dtype == torch.bfloat16
    assert torch.equal(model.predict_noise(*network_inputs(model)).cpu(), rough)


class Overflow:
    """Half precision never suffices."""

    def __init__(self, evaluate: Callable) -> None:
        self.evaluate = evaluate

    def __call__(self, network, x_t, t, z_face):
        result = self.evaluate(network, x_t, t, z_face)
        return result if x_t.dtype == torch.float32 else torch.full_like(result, float("nan"))


@cache
def rounded(dtype: torch.dtype) -> list[np.ndarray]:
    """What plain float32 layers give with weights that were rounded."""
    model = load_model(model_file("model"), device="cpu")
    model.noise_predictor.to(dtype).to(torch.float32)
    return whole(model)


def memory_that_runs_out_halves_the_batch(way: Callable) -> None:
    model, sizes = hosted(), []
    decomposition = apply_attributes(encode(video_file(), model, steps=STEPS), model, EDIT)
    evaluate = model.evaluate

    def counted(network, x_t, *others):
        sizes.append(len(x_t))
        if len(x_t) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return evaluate(network, x_t, *others)

    with patch.object(model, "evaluate", counted):
        crops = np.stack(list(decode_crops(decomposition, model, batch_size=4)))
    assert sizes[0] == 4 and set(sizes[1:]) == {2}
    check_near([crops], expected()[-1:])


def networks_may_be_unloaded_at_any_step(way: Callable) -> None:
    model, steps = hosted(), []

    def progress(*_):
        steps.append(True)
        if len(steps) % 2 == 0:
            management.unload_all_models()

    check_near(whole(model, progress=progress))
    assert len(steps) > 5, len(steps)


def two_models_take_turns(way: Callable) -> None:
    pairs = (hosted(), plain()), (hosted(name="other one"), plain("other one"))
    for _ in range(2):
        for model, reference in pairs:
            torch.testing.assert_close(
                model.predict_noise(*network_inputs(model)).cpu(), reference.predict_noise(*network_inputs(reference))
            )
            images = torch.zeros(1, 3, model.crop_size, model.crop_size)
            torch.testing.assert_close(model.encode_identity(images).cpu(), reference.encode_identity(images))


def a_dead_entry_in_comfyuis_list_is_passed_over(way: Callable) -> None:
    """As a pack leaves one behind whose model outlives its patcher."""
    model, leaked = hosted(), torch.nn.Linear(4, 4)
    model.predict_noise(*network_inputs(model))
    before = model.host.free_bytes()
    patcher = comfy.model_patcher.ModelPatcher(leaked, load_device=CARD, offload_device=torch.device("cpu"))
    management.load_models_gpu([patcher])
    del patcher
    gc.collect()
    assert any(entry.model is None for entry in management.current_loaded_models)
    assert before > 0 and abs(before - model.host.free_bytes()) < 1000


def networks_are_asked_for_once(way: Callable) -> None:
    """Small ones stay where they are while only ours are used, and the room for a batch is there before its first evaluation."""
    model, calls = hosted(), []
    load = management.load_models_gpu

    def note(patchers, memory_required=0, **settings):
        calls.append((type(patchers[0].model).__name__, memory_required))
        return load(patchers, memory_required=memory_required, **settings)

    images = torch.zeros(1, 3, model.crop_size, model.crop_size)
    with patch.object(management, "load_models_gpu", note):
        for _ in range(3):
            model.encode_identity(images)
            model.encode_motion(images)
            model.track_landmarks(images)
        assert len({name for name, _ in calls}) == len(calls) <= 3, calls
        calls.clear()
        x, t, z = network_inputs(model)
        conditions = model.face_conditions(z)
        for _ in range(3):
            model.predict_noise(x, t, conditions)
        assert len(calls) == 1 and calls[0][1] > 0, calls


def gradients_go_through(way: Callable) -> None:
    """A text search, as nodes run it: under inference mode."""
    decomposition, histories = encode(video_file(), plain(), steps=STEPS), []
    for model in (plain(), hosted()):
        search = text_search(decomposition, model, "left", "right", clip_model=OnAnyDevice(), iterations=2, settle=False, images=2)
        search.run()
        histories.append(search.history)
    np.testing.assert_allclose(*histories, rtol=1e-3)


def a_compiled_network_keeps_its_weights(way: Callable) -> None:
    model = hosted(compile=True)
    assert isinstance(model.evaluate, CompiledEvaluation)
    model.evaluate._compiler = lambda network: network  # the compiler itself knows no such card
    torch.testing.assert_close(model.predict_noise(*network_inputs(model)).cpu(), plain().predict_noise(*network_inputs(model)))
    assert not bridge.is_dynamic(model.host._patchers["noise_predictor"])
    assert all(isinstance(weight, OnCard) for weight in model.noise_predictor.parameters())
    assert not any(getattr(layer, "comfy_cast_weights", False) for layer in model.noise_predictor.modules())


def graphs_keep_the_weights_and_go_with_them(way: Callable) -> None:
    model = hosted(cuda_graphs=True)
    for _ in range(2):
        torch.testing.assert_close(
            model.predict_noise(*network_inputs(model)).cpu(), plain().predict_noise(*network_inputs(model)), atol=1e-4, rtol=1e-3
        )
    assert model.evaluate._graphs and not bridge.is_dynamic(model.host._patchers["noise_predictor"])
    management.unload_all_models()
    assert not model.evaluate._graphs  # nor their memory


CHECKS = [
    the_way_is_what_it_says,
    a_video_comes_out_as_without_a_host,
    half_precision_is_near,
    what_overflows_is_computed_in_float32,
    memory_that_runs_out_halves_the_batch,
    networks_may_be_unloaded_at_any_step,
    two_models_take_turns,
    a_dead_entry_in_comfyuis_list_is_passed_over,
    networks_are_asked_for_once,
    gradients_go_through,
    a_compiled_network_keeps_its_weights,
    graphs_keep_the_weights_and_go_with_them,
]


# the same however little fits
ONCE = {half_precision_is_near, gradients_go_through, a_compiled_network_keeps_its_weights, graphs_keep_the_weights_and_go_with_them}


if __name__ == "__main__":
    named, wrong = sys.argv[1:], []
    try:
        for way in WAYS:
            with way():
                for check in CHECKS:
                    worth = check not in ONCE or way in (everything_fits, weights_come_as_they_are_used)
                    if worth and (not named or {way.__name__, check.__name__} & set(named)):
                        try:
                            with torch.inference_mode():
                                check(way)
                        except Exception:  # noqa: BLE001 (told at the end, with the others)
                            traceback.print_exc()
                            wrong.append(f"{check.__name__}, {way.__name__}")
                        management.unload_all_models()
                        gc.collect()
                hosted.cache_clear()
        assert not wrong, "; ".join(wrong)
    finally:
        PRETENDED.__exit__(None, None, None)
        FOLDER.cleanup()
