"""ComfyUI's ways to manage memory, on a card that is not there, and models that run under them; for on_card.py.

All of a network on the card, as much as fits, none of it, and dynamic VRAM.
"""
# ruff: noqa: E402 (the card is put in before anything asks for it)

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import patch

HERE = Path(__file__).resolve()
sys.path[:0] = [str(Path.cwd()), str(HERE.parents[2]), str(HERE.parents[1]), str(HERE.parent)]

from card import card

PRETENDED = card()
PRETENDED.__enter__()

import comfy.model_management as management
import comfy.model_patcher
import numpy as np
from allocator import Slots, dynamic_vram
from bundles import tiny_config, write_tiny
from load_pack import load_pack
from standin import BrightDetector, draw, landmarks_of, write_video

from dva_core.edit import apply_attributes
from dva_core.faces.finder import FaceFinder
from dva_core.model.loader import load_model
from dva_core.pipeline import decode_crops, encode

models = load_pack("nodes.models")
FOLDER = tempfile.TemporaryDirectory()
STEPS, EDIT = 2, {"Young": -0.8, "Smiling": 0.4}
NEAR = 2e-4  # on average: noise maps are kept in half precision, and a network of random weights may make much of its last bit
HAS_DYNAMIC = hasattr(comfy.model_patcher, "ModelPatcherDynamic")


@cache
def video_file() -> Path:
    return write_video(Path(FOLDER.name) / "video.mkv", 4)


FIND = FaceFinder.of.__func__


def finder(model, *_) -> FaceFinder:
    """The networks run; where the face is, the drawing says."""
    real = FIND(FaceFinder, model)
    real.detector.threshold = 2.0
    assert real.detector.detect(draw(0)) == []
    return FaceFinder(BrightDetector(), landmarks_of, real.embed)


FaceFinder.of = staticmethod(finder)


def whole(model, **settings) -> list[np.ndarray]:
    """Encode, edit, decode: what is stored, and the edited crops."""
    decomposition = encode(video_file(), model, steps=STEPS, **settings)
    arrays = [decomposition.z_id, decomposition.z_motion[:], np.float32(decomposition.masks[:]), decomposition.rebuilt[:]]
    return [*arrays, np.stack(list(decode_crops(apply_attributes(decomposition, model, EDIT), model)))]


@cache
def model_file(name: str) -> Path:
    """A model whose noise predictor is small but for its layers, which are large enough that ComfyUI lets them come and go."""
    predictor = {**tiny_config()["noise_predictor"], "base_channels": 64, "embedding_channels": 64}
    return write_tiny(Path(FOLDER.name) / f"{name}.safetensors", config=tiny_config(noise_predictor=predictor), seed=len(name))


@cache
def hosted(precision: str = "fp32", name: str = "model", **settings):
    """A model as the node Load DVA Model gives it out, the same for all that is checked in one way."""
    return models.load(model_file(name).name, precision, **settings)


models.model_path = lambda name: Path(FOLDER.name) / name


@cache
def plain(name: str = "model"):
    return load_model(model_file(name), device="cpu")


@cache
def expected() -> list[np.ndarray]:
    """What plain layers give."""
    return whole(plain())


def check_near(results: list[np.ndarray], others: list[np.ndarray] | None = None, tolerance: float = NEAR) -> None:
    for one, other in zip(results, others or expected(), strict=True):
        assert np.abs(np.float32(one) - np.float32(other)).mean() < tolerance


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
