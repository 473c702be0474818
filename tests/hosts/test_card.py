"""Everything that runs on a card, on pretended ones: no mixed devices, no type the card lacks, the CPU's numbers, and no wait but the
ones listed here."""

from __future__ import annotations

import sys
import weakref
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brightness import Brightness
from bundles import tiny_config, write_tiny
from card import AMD, APPLE, CARD, NVIDIA, OLD_APPLE, Card, card
from standin import BrightDetector, draw, landmarks_of, write_clip
from train.test_diffusion import encoders, training

from dva_core.edit import apply_attributes
from dva_core.edit.gradients import visible_direction
from dva_core.edit.own import own_attribute
from dva_core.edit.switch import apply_switch
from dva_core.edit.text import text_search
from dva_core.errors import DVAError
from dva_core.evaluate.reconstruction import compare
from dva_core.faces.detector import decode as read_maps
from dva_core.faces.finder import FaceFinder
from dva_core.hosts.devices import PRECISIONS, choose_dtype
from dva_core.hosts.plain import PlainHost
from dva_core.model.loader import load_model
from dva_core.networks import normalisation
from dva_core.networks.resample import triangle_matrix
from dva_core.pipeline import decode, decode_crops, encode
from dva_core.pipeline.preview import attribute_stills, stills
from dva_core.progress import picture_for, silent
from dva_core.train import processes
from dva_core.train.diffusion import DiffusionTraining, export
from dva_core.video import open_video

__all__ = ["encoders"]
STEPS, FRAMES = 3, 4
KINDS = {"nvidia": NVIDIA, "amd": AMD, "apple": APPLE, "old apple": OLD_APPLE}
MEANT = {  # where the program waits for the card, and why
    "hosts/plain.py use": "weights are brought when they are first used",
    "hosts/devices.py to_device": "Apple's GPUs share the memory of the processor; NVIDIA's are not waited for here",
    "diffusion/schedule.py _table": "alpha_bar is brought once",
    "networks/resample.py to_size": "Apple's, as above",
    "model/checks.py weights_digest": "what a direction belongs to, once",
    "faces/detector.py fetch_maps": "where a face is decides where the next frame is looked at; once a look",
    "faces/finder.py points": "the same of its landmarks",
    "faces/finder.py of": "the same of its landmarks",
    "faces/finder.py embed": "who it is, a few times a video",
    "networks/hull.py hull_mask": "hulls are drawn by the processor",
    "model/autoencoder.py encode_crops": "the same, once a batch",
    "pipeline/encoding.py encode_crops": "what is stored, once a batch",
    "pipeline/encoding.py invert_crops": "the same",
    "pipeline/solving.py solve": "whether all is finite: once a batch of steps",
    "pipeline/solving.py own_face": "a switched video's own motion, once a batch",
    "pipeline/decoding.py _crops": "the pictures, once a batch",
    "pipeline/decoding.py edit_sizes": "how far each frame is moved, once a video's 64 frames",
    "pipeline/preview.py stills": "the pictures, once a batch",
    "edit/text_search.py _prepare": "before a search",
    "edit/text_search.py _search": "before a search",
    "edit/text_search.py intermediate_images": "before a search",
    "edit/text_network.py texts": "before a search",
    "edit/text_network.py images": "the image-text model of these tests brings its weights",
    "edit/text_losses.py text_direction": "before a search: whether the texts differ",
    "edit/text_search.py _backward": "an iteration's loss and step, in one",
    "edit/text_search.py pictures": "the pictures, when they are shown",
    "edit/differentiable.py __enter__": "the fusion layer's weights, once",
    "edit/differentiable.py fuse": "vectors of the frames, once",
    "edit/differentiable.py encode_identity": "pictures, once",
    "edit/gradients.py mean_gradients": "a batch of noises there, its gradients back",
    "edit/gradients.py classifier_outputs": "the classifiers' weights, once",
    "edit/own.py encode_crops": "vectors of all pictures, once",
    "evaluate/reconstruction.py compare": "figures",
    "evaluate/reconstruction.py pairs": "pictures",
}
IN_STEPS = {"diffusion/schedule.py _table", "hosts/plain.py use", "hosts/devices.py to_device"}  # of those above, once and no more
TRAINING = {
    "train/objective.py __init__": "networks are brought",
    "model/checks.py weights_digest": "what the run belongs to, once",
    "train/diffusion.py skip_step": "a step without a gradient",
    "train/diffusion.py save": "what is saved",
    "train/diffusion.py resume": "what was saved",
    "train/diffusion.py take_scaling": "what was saved",
    "train/diffusion.py _load_parameters": "what was saved",
    "train/objective.py scaling": "before the first step",
    "train/encoders.py encode_faces": "before the first step",
    "train/diffusion.py gradient": "a step's figures, in one",
    "train/diffusion.py update": "the gradient's norm, which decides whether the step counts; of fp16 the scale too",
    "train/diffusion.py validate": "figures, every few minutes",
    "train/board.py sample_grids": "pictures, every few minutes",
    "train/state.py write_tensors": "what is saved",
    "train/state.py write_state": "what is saved",
    "networks/hull.py hull_mask": "hulls are drawn by the processor, once a batch",
    "diffusion/schedule.py _table": "alpha_bar is brought once",
    "hosts/devices.py to_device": "see above",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A model that predicts v, as the starter does."""
    diffusion = {**tiny_config()["diffusion"], "prediction": "v"}
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors", config=tiny_config(diffusion=diffusion))


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("video") / "clip.mkv", FRAMES)


@pytest.fixture(scope="module")
def on_cpu(path):
    return load_model(path, device="cpu")


@pytest.fixture(scope="module")
def clip(on_cpu, video):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FaceFinder, "of", classmethod(partial(finder_of, FaceFinder.of.__func__)))
        return encode(video, on_cpu, steps=STEPS)


@pytest.fixture(autouse=True)
def finder(monkeypatch):
    monkeypatch.setattr(FaceFinder, "of", classmethod(partial(finder_of, FaceFinder.of.__func__)))
    monkeypatch.setattr("dva_core.edit.gradients.TIMESTEPS", (300, 900))
    monkeypatch.setattr("dva_core.edit.gradients.SEEDS", (0,))


def finder_of(real_of, cls, model, *_):
    """The networks run; where the face is, the drawing says."""
    real = real_of(cls, model)
    real.detector.threshold = 2.0

    def landmarks(rgb, face):
        real.landmarker(rgb, face)
        return landmarks_of(rgb, face)

    class Detector:
        def detect(self, rgb):
            assert real.detector.detect(rgb) == []
            return BrightDetector().detect(rgb)

    return FaceFinder(Detector(), landmarks, real.embed)


class OnAnyDevice(Brightness):
    def encode_images(self, images):
        self.weight = self.weight.to(images.device)
        return super().encode_images(images)


# -- what is done, with the result to compare ----------------------------------------------------------------------------


def encodes(model, clip, video, folder):
    made = encode(video, model, steps=STEPS)
    return [made.z_id, made.z_motion[:], made.masks[:], made.rebuilt[:]]


def decodes(model, clip, video, folder):
    edited = apply_attributes(clip, model, {"Young": 1, "Smiling": 0.4})
    out = folder / f"{model.host.device.type}.mkv"
    decode(edited, model, out, codec="ffv1", tone="keep")
    with open_video(out) as frames:
        return [np.stack([frame.rgb for frame in frames]) / 255]


def decodes_guided(model, clip, video, folder):
    return [np.stack(list(decode_crops(apply_attributes(clip, model, {"Young": 1}), model, guidance=2.0)))]


def shows_a_frame(model, clip, video, folder):
    return [np.stack(stills([apply_attributes(clip, model, {"Young": 1})], model, 1, steps=2).edited) / 255]


def lays_out_a_sheet(model, clip, video, folder):
    return [np.stack(some) / 255 for some in attribute_stills(clip, model, ["Young", "Smiling"], [-1, 1], 1, steps=2).values()]


def searches_by_text(model, clip, video, folder):
    search = text_search(clip, model, "left", "right", clip_model=OnAnyDevice(), iterations=3, settle=False, images=2)
    search.run()
    return [np.array(search.history)]


def makes_an_own_attribute(model, clip, video, folder):
    pictures = [draw(i) for i in range(10)]
    return [own_attribute(model, pictures[:5], [picture // 2 + 100 for picture in pictures[5:]], "Mine", shown=False).direction.vector]


def asks_what_is_shown(model, clip, video, folder):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    return [visible_direction(model, rng.standard_normal(16), np.ones(16), pictures)]


def switches(model, clip, video, folder):
    return [np.stack(list(decode_crops(apply_switch(clip, model, clip, motion=True), model, guidance=1.5)))]


def evaluates(model, clip, video, folder):
    return [np.array(compare(clip, model))]


WORKS = (encodes, decodes, decodes_guided, shows_a_frame, lays_out_a_sheet, searches_by_text, makes_an_own_attribute, asks_what_is_shown,
         switches, evaluates)  # fmt: skip
ON_APPLE = (encodes, decodes, searches_by_text, asks_what_is_shown)
CASES = [("nvidia", work) for work in WORKS] + [("apple", work) for work in ON_APPLE] + [("old apple", encodes), ("amd", decodes_guided)]


@pytest.fixture(scope="module")
def loaded(path):
    """A model on each kind of card, brought there once."""
    return cache(lambda kind: load_model(path, dtype="fp32"))


@pytest.fixture(scope="module")
def wanted(on_cpu, clip, video, tmp_path_factory):
    """What the processor makes of it."""
    return cache(lambda work: work(on_cpu, clip, video, tmp_path_factory.mktemp("cpu")))


@pytest.mark.parametrize(("kind", "work"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_card_does_as_the_processor(kind, work, loaded, wanted, clip, video, tmp_path):
    with card(kind=KINDS[kind]) as here, torch.inference_mode():  # as ComfyUI runs nodes
        model = loaded(kind)
        assert model.host.device.type == KINDS[kind].type
        found = work(model, clip, video, tmp_path)
    for one, other in zip(found, wanted(work), strict=True):
        np.testing.assert_allclose(np.float32(one), np.float32(other), atol=5e-3, rtol=1e-3)
    check_waits(here, MEANT)


def check_waits(here: Card, meant: dict[str, str]) -> None:
    """Fails with the lines that wait and are not meant to."""
    if sys.version_info < (3, 11):
        return  # which function a line is in is known from then on
    odd = [wait for wait in here.waits if wait.place not in meant or (wait.in_steps and wait.place not in IN_STEPS)]
    assert not odd, "\n".join(f"{here.lines[wait]} waits for the card ({wait.what}) {here.waits[wait]} times" for wait in odd)
    assert sum(count for wait, count in here.waits.items() if wait.place == "diffusion/schedule.py _table") <= 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(precision, path, clip, video, wanted, tmp_path):
    with card():
        model = load_model(path, dtype=precision)
        (found,) = decodes_guided(model, clip, video, tmp_path)
    assert np.abs(np.float32(found) - np.float32(wanted(decodes_guided)[0])).mean() < (0.05 if precision == "bf16" else 0.01)


@pytest.mark.parametrize(("kind", "precision"), [("nvidia", "bf16"), ("nvidia", "fp16"), ("apple", "fp32")])
def test_training_takes_a_step_saves_and_goes_on(encoders, tmp_path, monkeypatch, kind, precision):
    on_cpu = training(encoders, tmp_path / "cpu", 1)
    want, init, device = on_cpu.gradient(), DiffusionTraining.__init__, KINDS[kind].device
    monkeypatch.setattr(DiffusionTraining, "__init__", lambda self, *given: init(self, *given[:6], device))
    with card(kind=KINDS[kind]) as here:
        run = training(encoders, tmp_path / "card", 2, precision=precision)
        here.waits.clear()
        np.testing.assert_allclose(run.gradient(), want, rtol=0.02)
        assert np.isfinite(run.update())
        waits = here.waits.total()
        assert run.run()["step"] == 2
        training(encoders, tmp_path / "card", 2, precision=precision).resume()
    config, tensors = export(tmp_path / "card" / "state.safetensors")
    assert config["image_size"] == 16 and all(torch.isfinite(tensor).all() for tensor in tensors.values())
    check_waits(here, TRAINING)
    if kind == "nvidia":
        assert waits <= 6, here.waits  # landmarks, hulls, figures, the norm, and of fp16 the scale; alpha_bar once


# -- memory --------------------------------------------------------------------------------------------------------------


def test_memory_that_runs_out_halves_the_batch(path, clip, on_cpu, caplog):
    caplog.set_level("INFO", "dva_core")
    needed = on_cpu.noise_predictor.peak_values() * 4  # for a frame
    with card() as here:
        model = load_model(path, dtype="fp32")
        edited = apply_attributes(clip, model, {"Young": 1})
        want = np.stack(list(decode_crops(edited, model, batch_size=4)))
        here.limit = here.used + 2 * needed
        np.testing.assert_allclose(np.stack(list(decode_crops(edited, model, batch_size=4))), want, atol=2e-3)
    assert "Out of memory on cuda: going on with batches of 2." in caplog.text


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("size", ["tiny", "starter"])
def test_the_peak_is_foreseen(path, size, precision):
    frames, name = (6, path) if size == "tiny" else (2, "starter")
    foreseen = frames * load_model(name, device="cpu").noise_predictor.peak_values() * PRECISIONS[precision].itemsize
    with card() as here, torch.no_grad():
        model = load_model(name, dtype=precision)
        model.noise_predictor.peak_values = lambda: 1  # counting would itself be counted
        x, z = torch.zeros(frames, 3, model.image_size, model.image_size).cuda(), torch.zeros(frames, model.face_dim).cuda()
        t = torch.full((1,), 500).cuda().expand(frames)
        model.host.use("noise_predictor", model.noise_predictor)
        here.peak = before = here.used
        conditions = model.face_conditions(z)
        model.evaluate(model.noise_predictor, x.to(model.host.dtype), t, conditions)
    assert abs(foreseen - (here.peak - before)) < 0.2 * (here.peak - before), (foreseen, here.peak - before)


def test_a_gradient_that_does_not_fit_leaves_nothing_behind(on_cpu, clip):
    search = text_search(clip, on_cpu, "left", "right", clip_model=Brightness(), iterations=1, settle=False, images=2)
    compute, graphs = search._loss, []

    def loss(*given):
        assert not any(graph() is not None for graph in graphs), "the failed try's graph is still there"
        value, parts = compute(*given)
        if not graphs:
            value.register_hook(full)
        graphs.append(weakref.ref(value))
        return value, parts

    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    search._loss = loss
    search.run()
    assert len(graphs) == 2 and len(search.history) == 1


# -- one by one ----------------------------------------------------------------------------------------------------------


def test_what_a_detector_says_is_read_at_once():
    maps = [(torch.full((1, n, n), -9.0), torch.zeros(1, n, n, 14)) for n in (4, 2, 1)]
    maps[0][0][0, 1, 2] = maps[0][0][0, 3, 2] = 3
    want = read_maps(maps, 0.5)
    with card() as here:
        found = read_maps([(score.to("cuda"), geometry.to("cuda")) for score, geometry in maps], 0.5)
    assert [(one.box, one.score, one.points5.tolist()) for one in found] == [(one.box, one.score, one.points5.tolist()) for one in want]
    assert [wait.what for wait in here.waits.elements() if wait.place.startswith("faces/")] == ["to the host"]


def test_no_inference_mode_of_our_own(on_cpu, video, monkeypatch):
    """DirectML knows none; ComfyUI's own is another matter."""
    seen = []
    for part in (on_cpu.detector, on_cpu.identity_encoder, on_cpu.motion_encoder, on_cpu.noise_predictor):
        monkeypatch.setattr(part, "forward", lambda *given, run=part.forward: seen.append(torch.is_inference_mode_enabled()) or run(*given))
    encode(video, on_cpu, steps=1, max_frames=1)
    assert len(seen) >= 4 and not any(seen)


def test_attention_is_given_what_fused_kernels_take(loaded, monkeypatch):
    run, strides = F.scaled_dot_product_attention, []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkv: strides.extend(x.stride(-1) for x in qkv) or run(*qkv))
    with card(), torch.no_grad():
        model = loaded("nvidia")
        model.predict_noise(torch.zeros(1, 3, 16, 16), torch.full((1,), 5), torch.zeros(1, model.face_dim))
    assert strides and set(strides) == {1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("conditioned", [False, True])
def test_a_norm_that_keeps_its_layout(dtype, conditioned):
    norm = torch.nn.GroupNorm(4, 16).requires_grad_(False)
    norm.weight.normal_(), norm.bias.normal_()
    x = (3 * torch.randn(2, 16, 6, 6) + 5).to(dtype).contiguous(memory_format=torch.channels_last)
    condition = torch.randn(2, 32).to(dtype) if conditioned else None
    want = F.group_norm(x.double(), 4, norm.weight.double(), norm.bias.double(), norm.eps)
    if conditioned:
        want = want * (1 + condition[:, :16, None, None].double()) + condition[:, 16:, None, None].double()
    with torch.no_grad():
        found = normalisation.normalise_in_place(norm, x, condition)
    assert found.dtype == dtype and found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), want, rtol=4 * torch.finfo(dtype).eps, atol=1e-4 if dtype == torch.float32 else 0.05)


def test_which_norms_keep_their_layout(monkeypatch):
    monkeypatch.setattr(normalisation, "LARGE_BATCH", 100)
    with card(), torch.no_grad():
        norm, x = torch.nn.GroupNorm(4, 16).cuda(), torch.zeros(2, 16, 6, 6).cuda()
        assert not normalisation.stays_in_place(norm, x)
        x = x.contiguous(memory_format=torch.channels_last)
        assert normalisation.stays_in_place(norm, x) and not normalisation.stays_in_place(norm, x[:1, :, :2, :1])
        assert not normalisation.stays_in_place(norm, x.half())
        norm.comfy_cast_weights = True  # then they come as they are used
        assert not normalisation.stays_in_place(norm, x)
        with torch.enable_grad():
            assert not normalisation.stays_in_place(torch.nn.GroupNorm(4, 16).cuda(), x)
    assert not normalisation.stays_in_place(
        torch.nn.GroupNorm(4, 16), torch.zeros(2, 16, 6, 6).contiguous(memory_format=torch.channels_last)
    )


@pytest.mark.parametrize(("kind", "lies_so"), [("nvidia", True), ("amd", False), ("apple", False)])
def test_channels_lie_together_where_that_is_quick(kind, lies_so, path):
    with card(kind=KINDS[kind]):
        weights = load_model(path).noise_predictor.input_blocks[1][0].in_layers[2].weight
        assert weights.is_contiguous(memory_format=torch.channels_last) == lies_so
        host = PlainHost()
        host.operations = torch.nn
        streamed = load_model(path, host=host).noise_predictor.input_blocks[1][0].in_layers[2].weight
    assert streamed.is_contiguous()  # as ComfyUI pins them


def test_float32_is_not_tf32(loaded, monkeypatch):
    seen, before = [], torch.backends.cudnn.allow_tf32
    with card(), torch.no_grad():
        model = loaded("nvidia")
        monkeypatch.setattr(model, "evaluate", lambda network, x, *_: seen.append(torch.backends.cudnn.allow_tf32) or x)
        model.predict_noise(torch.zeros(1, 3, 16, 16), torch.full((1,), 5), torch.zeros(1, model.face_dim))
    assert seen == [False] and torch.backends.cudnn.allow_tf32 == before


def test_half_precision_is_float16_on_cards():
    with card():
        assert choose_dtype("auto", CARD) is torch.float16


def test_pictures_are_fetched_when_somebody_looks():
    class Looking:
        def __init__(self, looks):
            self.looks = lambda: looks

    made = np.zeros(3)
    assert picture_for(silent, lambda: pytest.fail("nobody looks")) is None
    assert picture_for(Looking(False), lambda: pytest.fail("nobody looks now")) is None
    assert picture_for(Looking(True), lambda: made) is made and picture_for(lambda *_: None, lambda: made) is made


def test_every_process_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with card():
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert processes.process_device("cuda") == torch.device("cuda", 1)
        assert processes.process_device("cuda:0") == CARD
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        assert processes.process_device("cuda") == torch.device("cuda", 1)
        with pytest.raises(DVAError, match="say --device cuda"):
            processes.process_device("cuda:0")


def test_triangles_are_what_interpolation_is():
    images = torch.rand(2, 3, 40, 40)
    matrix = triangle_matrix(40, 16)
    want = F.interpolate(images, (16, 16), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(matrix @ images @ matrix.T, want, atol=1e-5, rtol=1e-5)
