"""Run by ComfyUI's own interpreter, in its folder: its memory management on a card that is not there. Prints nothing when all holds.

Every kind of memory management the host has: all of a network on the card, as much as fits, none of it, and dynamic VRAM. Weights
and what they are applied to have to be on one device, and what comes out is what plain layers give.
"""
# ruff: noqa: E402 (the card is put in before anything asks for it)

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

HERE = Path(__file__).resolve()
sys.path[:0] = [str(Path.cwd()), str(HERE.parents[2]), str(HERE.parents[1]), str(HERE.parent)]

from card import CARD, OnCard, card

PLUGGED = card()
HERE_NOW = PLUGGED.__enter__()

import comfy.model_management as management
import comfy.model_patcher
import numpy as np
import torch
from allocator import Slots, dynamic_vram
from brightness import Brightness
from bundles import tiny_config, write_tiny
from load_pack import load_pack
from standin import BrightDetector, draw, landmarks_of, write_clip

from dva_core.edit import apply_attributes
from dva_core.edit.text import text_search
from dva_core.faces.finder import FaceFinder
from dva_core.hosts import comfy as bridge
from dva_core.hosts.devices import AUTO
from dva_core.model.evaluation import CompiledEvaluation
from dva_core.model.loader import load_model
from dva_core.pipeline import decode_crops, encode

models = load_pack("nodes.models")
FOLDER = tempfile.TemporaryDirectory()
STEPS, EDIT = 2, {"Young": -0.8, "Smiling": 0.4}
NEAR = 2e-4  # on average: noise maps are kept in half precision, and a network of random weights may make much of its last bit
HAS_DYNAMIC = hasattr(comfy.model_patcher, "ModelPatcherDynamic")


@cache
def clip_file() -> Path:
    return write_clip(Path(FOLDER.name) / "clip.mkv", 4)


def finder(model, *_) -> FaceFinder:
    """The networks run; where the face is, the drawing says."""
    real = FOUND(FaceFinder, model)
    real.detector.threshold = 2.0
    assert real.detector.detect(draw(0)) == []
    return FaceFinder(BrightDetector(), landmarks_of, real.embed)


FOUND = FaceFinder.of.__func__
FaceFinder.of = staticmethod(finder)


def whole(model, **settings) -> list[np.ndarray]:
    """Encode, edit, decode: what was stored, and the edited crops."""
    clip = encode(clip_file(), model, steps=STEPS, **settings)
    edited = apply_attributes(clip, model, EDIT)
    return [clip.z_id, clip.z_motion[:], np.float32(clip.masks[:]), clip.rebuilt[:], np.stack(list(decode_crops(edited, model)))]


@cache
def model_file(name: str) -> Path:
    """A model whose noise predictor is small but for its layers, which are large enough that ComfyUI lets them come and go."""
    predictor = {**tiny_config()["noise_predictor"], "base_channels": 64, "embedding_channels": 64}
    return write_tiny(Path(FOLDER.name) / f"{name}.safetensors", config=tiny_config(noise_predictor=predictor), seed=len(name))


def hosted(precision: str = "fp32", name: str = "model", **settings):
    """A model as the node Load DVA Model gives it out."""
    return models.load(model_file(name).name, precision, **settings)


models.model_path = lambda name: Path(FOLDER.name) / name


@cache
def plain():
    return load_model(model_file("model"), device="cpu")


@cache
def wanted() -> list[np.ndarray]:
    return whole(plain())


def near(found: list[np.ndarray], want: list[np.ndarray] | None = None, tolerance: float = NEAR) -> None:
    for one, other in zip(found, want or wanted(), strict=True):
        assert np.abs(np.float32(one) - np.float32(other)).mean() < tolerance


def arguments(model, frames: int = 3) -> tuple:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(frames, 3, model.image_size, model.image_size, generator=generator)
    return x, torch.full((1,), 500).expand(frames), torch.randn(frames, model.face_dim, generator=generator)


# -- how ComfyUI manages memory ------------------------------------------------------------------------------------------


@contextmanager
def everything_fits() -> Iterator[None]:
    yield


@contextmanager
def half_of_it_fits() -> Iterator[None]:
    half, load = management.module_size(plain().noise_predictor) / 2, management.LoadedModel.model_load

    def partly(self, lowvram_model_memory=0, *others, **settings):  # 0 asks for everything
        return load(self, min(lowvram_model_memory, half), *others, **settings)

    with patch.object(management.LoadedModel, "model_load", partly):
        yield


@contextmanager
def nothing_stays() -> Iterator[None]:
    with patch.object(management, "vram_state", management.VRAMState.NO_VRAM):
        yield


@contextmanager
def weights_come_as_they_are_used() -> Iterator[None]:
    with dynamic_vram():
        yield


@contextmanager
def a_third_of_them_can_stay() -> Iterator[None]:
    with dynamic_vram(), patch.object(Slots, "room", management.module_size(plain().noise_predictor) // 3):
        yield


DYNAMIC = [weights_come_as_they_are_used, a_third_of_them_can_stay]
WAYS = [everything_fits, half_of_it_fits, nothing_stays, *(DYNAMIC if HAS_DYNAMIC else [])]


def the_way_is_what_it_says(way: Callable) -> None:
    model = hosted()
    model.predict_noise(*arguments(model))
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


# -- what has to hold with each ------------------------------------------------------------------------------------------


def a_clip_comes_out_as_without_a_host(way: Callable) -> None:
    near(whole(hosted()))


def half_precision_is_near(way: Callable) -> None:
    model = hosted(AUTO)
    assert model.host.dtype == torch.float16
    near(whole(model), tolerance=0.1)


def what_overflows_is_computed_in_float32(way: Callable) -> None:
    """By itself where values are not finite, and nothing of it stays."""
    model = hosted("bf16")
    rough = model.predict_noise(*arguments(model)).cpu()
    with patch.object(model, "evaluate", Overflow(model.evaluate)):
        near(whole(model), rounded(torch.bfloat16))
    assert model.host.dtype == torch.bfloat16
    assert torch.equal(model.predict_noise(*arguments(model)).cpu(), rough)


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
    clip = apply_attributes(encode(clip_file(), model, steps=STEPS), model, EDIT)
    evaluate = model.evaluate

    def counted(network, x_t, *others):
        sizes.append(len(x_t))
        if len(x_t) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return evaluate(network, x_t, *others)

    with patch.object(model, "evaluate", counted):
        made = np.stack(list(decode_crops(clip, model, batch_size=4)))
    assert sizes[0] == 4 and set(sizes[1:]) == {2}
    near([made], wanted()[-1:])


def networks_may_be_unloaded_at_any_step(way: Callable) -> None:
    model, steps = hosted(), []

    def progress(*_):
        steps.append(True)
        if len(steps) % 2 == 0:
            management.unload_all_models()

    near(whole(model, progress=progress))
    assert len(steps) > 5, len(steps)


def two_models_take_turns(way: Callable) -> None:
    theirs = load_model(model_file("other one"), device="cpu")
    pairs = (hosted(), plain()), (hosted(name="other one"), theirs)
    for _ in range(2):
        for model, reference in pairs:
            torch.testing.assert_close(model.predict_noise(*arguments(model)).cpu(), reference.predict_noise(*arguments(reference)))
            images = torch.zeros(1, 3, model.crop_size, model.crop_size)
            torch.testing.assert_close(model.encode_identity(images).cpu(), reference.encode_identity(images))


def a_dead_entry_in_comfyuis_list_is_passed_over(way: Callable) -> None:
    """As a pack leaves one behind whose model outlives its patcher."""
    model, leaked = hosted(), torch.nn.Linear(4, 4)
    model.predict_noise(*arguments(model))
    before = model.host.free_bytes()
    patcher = comfy.model_patcher.ModelPatcher(leaked, load_device=CARD, offload_device=torch.device("cpu"))
    management.load_models_gpu([patcher])
    del patcher
    gc.collect()
    assert any(entry.model is None for entry in management.current_loaded_models)
    assert before > 0 and abs(before - model.host.free_bytes()) < 1000


def networks_are_asked_for_once(way: Callable) -> None:
    """Small ones stay where they are while only ours are used, and the room for a batch is there before its first evaluation."""
    model, asked = hosted(), []
    load = management.load_models_gpu

    def note(patchers, memory_required=0, **settings):
        asked.append((type(patchers[0].model).__name__, memory_required))
        return load(patchers, memory_required=memory_required, **settings)

    images = torch.zeros(1, 3, model.crop_size, model.crop_size)
    with patch.object(management, "load_models_gpu", note):
        for _ in range(3):
            model.encode_identity(images)
            model.encode_motion(images)
            model.track_landmarks(images)
        assert len({name for name, _ in asked}) == len(asked) <= 3, asked
        asked.clear()
        x, t, z = arguments(model)
        conditions = model.face_conditions(z)
        for _ in range(3):
            model.predict_noise(x, t, conditions)
        assert len(asked) == 1 and asked[0][1] > 0, asked


def gradients_go_through(way: Callable) -> None:
    """A text search, as nodes run it: under inference mode."""
    clip, histories = encode(clip_file(), plain(), steps=STEPS), []
    for model in (plain(), hosted()):
        search = text_search(clip, model, "left", "right", clip_model=OnAnyDevice(), iterations=2, settle=False, images=2)
        search.run()
        histories.append(search.history)
    np.testing.assert_allclose(*histories, rtol=1e-3)


class OnAnyDevice(Brightness):
    def encode_images(self, images):
        self.weight = self.weight.to(images.device)
        return super().encode_images(images)


def a_compiled_network_keeps_its_weights(way: Callable) -> None:
    model = hosted(compile=True)
    assert isinstance(model.evaluate, CompiledEvaluation)
    model.evaluate._compiler = lambda network: network  # the compiler itself knows no such card
    torch.testing.assert_close(model.predict_noise(*arguments(model)).cpu(), plain().predict_noise(*arguments(model)))
    assert not bridge.is_dynamic(model.host._patchers["noise_predictor"])
    assert all(isinstance(weight, OnCard) for weight in model.noise_predictor.parameters())
    assert not any(getattr(layer, "comfy_cast_weights", False) for layer in model.noise_predictor.modules())


CHECKS = [
    the_way_is_what_it_says,
    a_clip_comes_out_as_without_a_host,
    half_precision_is_near,
    what_overflows_is_computed_in_float32,
    memory_that_runs_out_halves_the_batch,
    networks_may_be_unloaded_at_any_step,
    two_models_take_turns,
    a_dead_entry_in_comfyuis_list_is_passed_over,
    networks_are_asked_for_once,
    gradients_go_through,
    a_compiled_network_keeps_its_weights,
]


ONCE = {half_precision_is_near, gradients_go_through, a_compiled_network_keeps_its_weights}  # the same however little fits


if __name__ == "__main__":
    named = sys.argv[1:]
    try:
        for way in WAYS:
            for check in CHECKS:
                worth = check not in ONCE or way in (everything_fits, weights_come_as_they_are_used)
                if worth and (not named or {way.__name__, check.__name__} & set(named)):
                    with way(), torch.inference_mode():
                        try:
                            check(way)
                        except Exception as error:
                            raise AssertionError(f"{check.__name__}, {way.__name__}") from error
                        management.unload_all_models()
                        gc.collect()
    finally:
        PLUGGED.__exit__(None, None, None)
        FOLDER.cleanup()
