"""Everything that runs on a card, on pretended ones: no mixed devices, no type the card lacks, the CPU's numbers, and no wait but those
that `waits.py` lists."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brightness import OnAnyDevice
from bundles import drawing_config, drawing_tensors, write_tiny
from card import card
from card_tensors import AMD, APPLE, CARD, NVIDIA, OLD_APPLE
from standin import draw
from train.runs import encoders, training

from dva_core.edit import apply_attributes
from dva_core.edit.gradients import visible_direction
from dva_core.edit.own import own_attribute
from dva_core.edit.switch import apply_switch
from dva_core.edit.text import text_search
from dva_core.evaluate.reconstruction import compare
from dva_core.faces.detector import decode as read_maps
from dva_core.faces.detector import fetch_maps
from dva_core.hosts.devices import choose_dtype
from dva_core.hosts.plain import PlainHost
from dva_core.model.loader import load_model
from dva_core.pipeline import decode, decode_crops, encode
from dva_core.pipeline.preview import attribute_stills, stills
from dva_core.train.diffusion import DiffusionTraining, export
from dva_core.video import open_video

from .conftest import STEPS
from .waits import MEANT, TRAINING, check_waits

__all__ = ["encoders"]

pytestmark = pytest.mark.usefixtures("finder")

KINDS = {"nvidia": NVIDIA, "amd": AMD, "apple": APPLE, "old apple": OLD_APPLE}


# -- what is done, with the result to compare ----------------------------------------------------------------------------


def encodes(model, decomposition, video, folder):
    encoded = encode(video, model, steps=STEPS)
    return [encoded.z_id, encoded.z_motion[:], encoded.masks[:], encoded.rebuilt[:]]


def decodes(model, decomposition, video, folder):
    edited = apply_attributes(decomposition, model, {"Young": 1, "Smiling": 0.4})
    out = folder / f"{model.host.device.type}.mkv"
    decode(edited, model, out, codec="ffv1", tone="keep")
    with open_video(out) as frames:
        return [np.stack([frame.rgb for frame in frames]) / 255]


def decodes_guided(model, decomposition, video, folder):
    return [np.stack(list(decode_crops(apply_attributes(decomposition, model, {"Young": 1}), model, guidance=2.0)))]


def shows_a_frame(model, decomposition, video, folder):
    return [np.stack(stills([apply_attributes(decomposition, model, {"Young": 1})], model, 1, steps=2).edited) / 255]


def lays_out_a_sheet(model, decomposition, video, folder):
    return [np.stack(some) / 255 for some in attribute_stills(decomposition, model, ["Young", "Smiling"], [-1, 1], 1, steps=2).values()]


def searches_by_text(model, decomposition, video, folder):
    search = text_search(decomposition, model, "left", "right", clip_model=OnAnyDevice(), iterations=3, settle=False, images=2)
    search.run()
    return [np.array(search.history)]


def makes_an_own_attribute(model, decomposition, video, folder):
    pictures = [draw(i) for i in range(10)]
    return [own_attribute(model, pictures[:5], [picture // 2 + 100 for picture in pictures[5:]], "Mine", shown=False).direction.vector]


def asks_what_is_shown(model, decomposition, video, folder):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    return [visible_direction(model, rng.standard_normal(16), np.ones(16), pictures)]


def switches(model, decomposition, video, folder):
    return [np.stack(list(decode_crops(apply_switch(decomposition, model, decomposition, motion=True), model, guidance=1.5)))]


def evaluates(model, decomposition, video, folder):
    return [np.array(compare(decomposition, model))]


def draws(model, decomposition, video, folder):
    path = write_tiny(folder / "drawing.safetensors", config=drawing_config(), **drawing_tensors())
    model = load_model(path, device=model.host.device, dtype="fp32")
    drawn = apply_attributes(encode(video, model, steps=STEPS), model, {"Young": 3})
    shown = stills([drawn, apply_attributes(drawn, model, {"Smiling": 0.4})], model, 1, steps=2).edited
    out = folder / f"{model.host.device.type}.mkv"
    decode(drawn, model, out, codec="ffv1")
    with open_video(out) as frames:
        return [np.stack(shown) / 255, np.stack([frame.rgb for frame in frames]) / 255]


WORKS = (encodes, decodes, draws, decodes_guided, shows_a_frame, lays_out_a_sheet, searches_by_text, makes_an_own_attribute,
         asks_what_is_shown, switches, evaluates)  # fmt: skip
ON_APPLE = (encodes, decodes, draws, searches_by_text, asks_what_is_shown)
CASES = [("nvidia", work) for work in WORKS] + [("apple", work) for work in ON_APPLE] + [("old apple", encodes), ("amd", decodes_guided)]


@pytest.fixture(scope="module")
def expected(model, decomposition, video, tmp_path_factory):
    """What the processor makes of it."""
    return cache(lambda work: work(model, decomposition, video, tmp_path_factory.mktemp("cpu")))


@pytest.mark.parametrize(("kind", "work"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_card_does_as_the_processor(kind, work, loaded, expected, decomposition, video, tmp_path):
    with card(kind=KINDS[kind]) as here, torch.inference_mode():  # as ComfyUI runs nodes
        model = loaded(kind)
        assert model.host.device.type == KINDS[kind].type
        results = work(model, decomposition, video, tmp_path)
    for one, other in zip(results, expected(work), strict=True):
        np.testing.assert_allclose(np.float32(one), np.float32(other), atol=5e-3, rtol=1e-3)
    check_waits(here, MEANT)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(precision, bundle, decomposition, video, expected, tmp_path):
    with card():
        model = load_model(bundle, dtype=precision)
        (crops,) = decodes_guided(model, decomposition, video, tmp_path)
    assert np.abs(np.float32(crops) - np.float32(expected(decodes_guided)[0])).mean() < (0.05 if precision == "bf16" else 0.01)


@pytest.mark.parametrize(("kind", "precision"), [("nvidia", "bf16"), ("nvidia", "fp16"), ("apple", "fp32")])
def test_training_takes_a_step_saves_and_goes_on(encoders, tmp_path, monkeypatch, kind, precision):
    plain = training(encoders, tmp_path / "cpu", 1)
    gradient, init, device = plain.gradient(), DiffusionTraining.__init__, KINDS[kind].device
    monkeypatch.setattr(DiffusionTraining, "__init__", lambda self, *arguments: init(self, *arguments[:6], device))
    with card(kind=KINDS[kind]) as here:
        run = training(encoders, tmp_path / "card", 2, precision=precision)
        here.waits.clear()
        np.testing.assert_allclose(run.gradient(), gradient, rtol=0.02)
        assert np.isfinite(run.update())
        waits = here.waits.total()
        assert run.run()["step"] == 2
        training(encoders, tmp_path / "card", 2, precision=precision).resume()
    config, tensors = export(tmp_path / "card" / "state.safetensors")
    assert config["image_size"] == 16 and all(torch.isfinite(tensor).all() for tensor in tensors.values())
    check_waits(here, TRAINING)
    if kind == "nvidia":
        assert waits <= 6, here.waits  # landmarks, hulls, figures, the norm, and of fp16 the scale; alpha_bar once


# -- one by one ----------------------------------------------------------------------------------------------------------


def test_what_a_detector_says_is_read_at_once():
    maps = [(torch.full((1, n, n), -9.0), torch.zeros(1, n, n, 14)) for n in (4, 2, 1)]
    maps[0][0][0, 1, 2] = maps[0][0][0, 3, 2] = 3
    want = read_maps(maps, 0.5)
    with card() as here:
        faces = read_maps(fetch_maps([(score.to("cuda"), geometry.to("cuda")) for score, geometry in maps])(), 0.5)
    assert [(one.box, one.score, one.points5.tolist()) for one in faces] == [(one.box, one.score, one.points5.tolist()) for one in want]
    assert [wait.what for wait in here.waits.elements() if wait.place.startswith("hosts/")] == ["event"]


def test_no_inference_mode_of_our_own(model, video, monkeypatch):
    """DirectML knows none; ComfyUI's own is another matter."""
    modes = []
    for part in (model.detector, model.identity_encoder, model.motion_encoder, model.noise_predictor):
        monkeypatch.setattr(
            part, "forward", lambda *inputs, run=part.forward: modes.append(torch.is_inference_mode_enabled()) or run(*inputs)
        )
    encode(video, model, steps=1, max_frames=1)
    assert len(modes) >= 4 and not any(modes)


def test_attention_is_given_what_fused_kernels_take(loaded, monkeypatch):
    run, strides = F.scaled_dot_product_attention, []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkv: strides.extend(x.stride(-1) for x in qkv) or run(*qkv))
    with card(), torch.no_grad():
        model = loaded("nvidia")
        model.predict_noise(torch.zeros(1, 3, 16, 16), torch.full((1,), 5), torch.zeros(1, model.face_dim))
    assert strides and set(strides) == {1}


@pytest.mark.parametrize(("kind", "lies_so"), [("nvidia", True), ("amd", False), ("apple", False)])
def test_channels_lie_together_where_that_is_quick(kind, lies_so, bundle):
    with card(kind=KINDS[kind]):
        weights = load_model(bundle).noise_predictor.input_blocks[1][0].in_layers[2].weight
        assert weights.is_contiguous(memory_format=torch.channels_last) == lies_so
        host = PlainHost()
        host.operations = torch.nn
        streamed = load_model(bundle, host=host).noise_predictor.input_blocks[1][0].in_layers[2].weight
    assert streamed.is_contiguous()  # as ComfyUI pins them


def test_float32_is_not_tf32(loaded, monkeypatch):
    allowed, before = [], torch.backends.cudnn.allow_tf32
    with card(), torch.no_grad():
        model = loaded("nvidia")
        monkeypatch.setattr(model, "evaluate", lambda network, x, *_: allowed.append(torch.backends.cudnn.allow_tf32) or x)
        model.predict_noise(torch.zeros(1, 3, 16, 16), torch.full((1,), 5), torch.zeros(1, model.face_dim))
    assert allowed == [False] and torch.backends.cudnn.allow_tf32 == before


def test_half_precision_is_float16_on_cards():
    with card():
        assert choose_dtype("auto", CARD) is torch.float16
