"""Loading: the right numbers in the right precision, once, frozen; and the host that moves them."""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from bundles import tiny_config, tiny_tensors, write_tiny
from conftest import torch_threads
from torch import nn

from dva_core import load_model
from dva_core.errors import DVAError
from dva_core.hosts.devices import choose_dtype
from dva_core.hosts.plain import PlainHost
from dva_core.model import bundle as bundle_module
from dva_core.model.autoencoder import DiffusionVideoAutoencoder
from dva_core.model.bundle import read_bundle
from dva_core.model.evaluation import CompiledEvaluation, ThreadedEvaluation, usual_batch
from dva_core.model.loader import face_tools


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_tiny(folder / "starter.safetensors")
    write_tiny(folder / "half.safetensors", "fp16")
    config = tiny_config(detector=None, landmarks=None, name="published")
    write_tiny(folder / "published.safetensors", config=config)
    return folder


@pytest.fixture(autouse=True)
def only_these_models(folder, monkeypatch):
    monkeypatch.setattr(bundle_module, "model_folders", lambda: [folder])


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def answers(model) -> list[torch.Tensor]:
    """What a model says to fixed inputs, from pixels to noise."""
    z_id, z_motion = model.encode_identity(images()), model.encode_motion(images())
    noise = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return [z_id, z_motion, model.predict_noise(noise, torch.tensor([10, 900]), model.fuse(z_id, z_motion))]


def test_a_loaded_model_computes_what_the_written_one_did():
    written = DiffusionVideoAutoencoder(tiny_config()).eval()
    written.load_state_dict(tiny_tensors())
    written.to(memory_format=torch.channels_last)  # the order of the sums, and with it the last bit
    with torch.no_grad():
        for ours, theirs in zip(answers(load_model(device="cpu")), answers(written)):
            assert torch.equal(ours, theirs)


def test_loaded_models_are_frozen_and_know_who_they_are(folder):
    model = load_model("starter")
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert model.fingerprint == read_bundle(folder / "starter.safetensors").fingerprint and len(model.fingerprint) == 64
    assert model.config == tiny_config()
    assert model.fingerprint != load_model("half").fingerprint


@pytest.mark.parametrize("name", ["starter", "half"])
@pytest.mark.parametrize("dtype, torch_dtype", [(None, torch.float32), ("bf16", torch.bfloat16), (torch.float16, torch.float16)])
def test_only_the_noise_predictor_takes_the_precision(name, dtype, torch_dtype):
    model = load_model(name, device="cpu", dtype=dtype)
    assert model.host.dtype == torch_dtype
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch_dtype if key.startswith("noise_predictor.") else torch.float32), key


@pytest.mark.parametrize("dtype, tolerance", [("fp16", 5e-3), ("bf16", 5e-2)])
def test_half_precision_computes_about_the_same(dtype, tolerance):
    full, half = (answers(load_model("starter", dtype=kind))[2] for kind in (None, dtype))
    assert half.dtype == full.dtype == torch.float32
    assert 0 < (half - full).abs().max() < tolerance * full.abs().max()


def test_wrong_files_name_themselves(folder, tmp_path):
    bad = tmp_path / "bad.safetensors"
    content = bytearray((folder / "starter.safetensors").read_bytes())
    content[-5] ^= 1
    bad.write_bytes(bytes(content))
    with pytest.raises(DVAError, match=r"bad\.safetensors is damaged"):
        load_model(bad)
    with pytest.raises(DVAError, match="did you mean starter"):
        load_model("startr")


def test_wrong_devices_and_precisions():
    for device in ("gpu", "cuda:99", 3.5):
        with pytest.raises(DVAError, match="choose"):
            load_model("starter", device=device)
    for dtype in ("fp8", torch.int64, 16):
        with pytest.raises(DVAError, match="choose one of fp32, fp16, bf16"):
            load_model("starter", dtype=dtype)
    assert choose_dtype("fp16") is choose_dtype(torch.float16) is torch.float16


def test_device_and_precision_are_said_once(caplog):
    with caplog.at_level(logging.INFO, "dva_core"):
        load_model("starter", device="cpu", dtype="bf16")
    messages = [record.getMessage() for record in caplog.records if "on cpu" in record.getMessage()]
    assert len(messages) == 1 and "bfloat16" in messages[0]


class Operations(nn.Module):
    """Layers of a host, told from torch's by their type."""

    class Conv2d(nn.Conv2d):
        pass

    Conv1d, Linear, GroupNorm = nn.Conv1d, nn.Linear, nn.GroupNorm


def test_a_host_supplies_layers_and_memory():
    class Host(PlainHost):
        used: list = []  # noqa: RUF012

        def use(self, name, module, activation_bytes=0):
            self.used.append((name, activation_bytes > 0))
            return super().use(name, module, activation_bytes)

    host = Host("cpu", torch.bfloat16)
    model = load_model("starter", operations=Operations, host=host)
    assert model.host is host
    assert all(type(layer) is Operations.Conv2d for layer in model.noise_predictor.modules() if isinstance(layer, nn.Conv2d))
    assert type(model.identity_encoder.trunk[0][0]) is nn.Conv2d
    assert all(torch.isfinite(answer).all() for answer in answers(model))
    assert dict(host.used).keys() >= {"identity_encoder", "motion_encoder", "fusion", "noise_predictor"}
    assert dict(host.used)["noise_predictor"]


class Empty(nn.Module):
    """A layer as ComfyUI makes it under dynamic VRAM: without weights, until a file is assigned to it."""

    def __init__(self, *args, **settings):
        nn.Module.__init__(self)
        self.weight = self.bias = None

    def _load_from_state_dict(self, state_dict, prefix, *_):
        for name in ("weight", "bias"):
            if prefix + name in state_dict:
                setattr(self, name, nn.Parameter(state_dict[prefix + name], requires_grad=False))


EMPTY = type("Operations", (), {kind: type(kind, (Empty,), {}) for kind in ("Conv2d", "Conv1d", "Linear", "GroupNorm")})


def test_layers_of_a_host_may_be_empty_until_they_are_given_the_file(folder, monkeypatch):
    loaded, plain = load_model("starter", operations=EMPTY, device="cpu"), load_model("starter", device="cpu")
    assert sum(isinstance(layer, Empty) for layer in loaded.noise_predictor.modules()) > 20
    tensors = loaded.state_dict()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in plain.state_dict().items())
    other = read_bundle(folder / "starter.safetensors")
    other.config["noise_predictor"]["embedding_channels"] = 8
    monkeypatch.setattr("dva_core.model.loader.read_bundle", lambda path: other)
    with pytest.raises(DVAError, match=r"has noise_predictor\.\S+ in shape"):
        load_model("starter", operations=EMPTY, device="cpu")


def test_face_tools():
    starter, published = load_model("starter"), load_model("published")
    assert face_tools(starter) is starter
    borrowed = face_tools(published)
    assert borrowed.config["name"] == "tiny" and borrowed.detector is not None
    assert borrowed.host.device == published.host.device
    assert published.detector is None and published.state_dict().keys() == load_model("published").state_dict().keys()


def test_face_tools_without_a_starter(monkeypatch, tmp_path):
    published = load_model("published")
    monkeypatch.setattr(bundle_module, "model_folders", lambda: [tmp_path])
    with pytest.raises(DVAError, match="The model published has no face detector of its own") as error:
        face_tools(published)
    assert str(tmp_path) in str(error.value) and str(error.value).endswith(".")


def test_the_batch_is_what_memory_and_cores_allow():
    model = load_model("starter", device="cpu")
    room = [0, *(model.noise_predictor.peak_bytes(frames, torch.float32, "cuda") * 4 // 3 + 4 for frames in (10, 64))]
    for image_size, patch_size, a_core in ((128, 4, 16), (64, 2, 16), (64, 1, 16), (128, 1, 4), (256, 1, 1)):
        model.image_size, model.noise_predictor.patch_size = image_size, patch_size
        for cores in (1, 2, 8):
            with torch_threads(cores):
                assert usual_batch(model) == min(64, a_core * cores)
    model.image_size = 64
    for free, frames in ((None, 64), *zip(room, (1, 10, 64)), (10**15, 64)):
        model.host = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32, free_bytes=lambda free=free: free)
        assert usual_batch(model) == frames


def test_compiling_is_asked_for():
    assert isinstance(load_model("starter", device="cpu").evaluate, ThreadedEvaluation)
    assert isinstance(load_model("starter", device="cpu", compile=True).evaluate, CompiledEvaluation)


# as any module


def test_another_device_and_precision_go_through_the_host():
    model, plain = load_model("starter", device="cpu"), answers(load_model("starter", device="cpu"))
    assert model.to("cpu") is model.cpu() is model.float() is model
    assert all(torch.equal(a, b) for a, b in zip(answers(model), plain))
    assert model.bfloat16().host.dtype == torch.bfloat16 and next(model.noise_predictor.parameters()).dtype == torch.bfloat16
    rough = answers(model)
    assert torch.equal(rough[0], plain[0]) and 0 < (rough[2] - plain[2]).abs().mean() < 5e-2
    with pytest.raises(DVAError, match=r"no precision torch\.float64"):
        model.double()
    if not torch.cuda.is_available():
        with pytest.raises(DVAError, match="cuda is not there"):
            model.cuda()
    model.half()
    assert {p.dtype for p in model.identity_encoder.parameters()} == {torch.float32} == {model.fusion.weight.dtype}


def test_a_copy_is_a_model_of_its_own():
    model = load_model("starter", device="cpu", dtype="bf16")
    before = answers(model)
    copied = copy.deepcopy(model)
    assert copied.host is not model.host and copied.host.dtype == torch.bfloat16 and copied.evaluate is not model.evaluate
    assert all(torch.equal(a, b) for a, b in zip(answers(copied), before))
    copied.float()
    assert model.host.dtype == torch.bfloat16 and all(torch.equal(a, b) for a, b in zip(answers(model), before))


def test_a_host_with_another_device_or_precision_is_a_contradiction():
    host = PlainHost("cpu", torch.bfloat16)
    assert load_model("starter", "cpu", "bf16", host=host).host is host
    with pytest.raises(DVAError, match=r"The host computes in torch\.bfloat16 and the precision asked for is fp32"):
        load_model("starter", dtype="fp32", host=host)
    with pytest.raises(DVAError, match="The host runs on cpu and the device asked for is meta"):
        load_model("starter", device="meta", host=host)
