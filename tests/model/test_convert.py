"""Conversion of the published checkpoints."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from dva_core.errors import DVAError
from dva_core.model.build import build_empty
from dva_core.model.bundle import check_bundle, read_bundle
from dva_core.model.convert import (
    CELEBA_ATTRIBUTES,
    UNUSED,
    convert,
    drop_unused,
    model_tensors,
    published_config,
)

from .checkpoints import CONFIG, lightning

DIM = CONFIG["identity_dim"]


def classifier_tensors(seed: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = {"classifier.weight": (40, DIM), "classifier.bias": (40,)}
    tensors = {copy + name: torch.randn(shape, generator=g) for copy in ("", "ema_") for name, shape in shapes.items()}
    return tensors | {"conds_mean": torch.randn(1, DIM, generator=g), "conds_std": torch.rand(1, DIM, generator=g) + 0.1}


@pytest.fixture
def classifier(tmp_path) -> Path:
    path = tmp_path / "cls.ckpt"
    torch.save({"state_dict": classifier_tensors()}, path)
    return path


def test_every_published_tensor_has_its_place(shared):
    """Names and shapes of all six files against the full-size model: nothing missing, nothing left over but the known unused."""
    files = json.loads(shared("reference/official_checkpoints.json").read_text())
    shapes = files["diffusion_video_autoencoder.ckpt"]["tensors_per_prefix"]
    meta = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    tensors = model_tensors({f"{prefix}.{name}": tensor for prefix in ("model", "ema_model") for name, tensor in meta.items()})
    assert len(tensors) == len(meta)
    expected = build_empty(published_config()).state_dict()
    kept = drop_unused(tensors, expected)
    assert {name: tuple(tensor.shape) for name, tensor in kept.items()} == {name: tuple(t.shape) for name, t in expected.items()}
    assert all(name.startswith(UNUSED) for name in tensors.keys() - kept.keys())
    landmarks = files["mobilenet_224_model_best_gdconv_external.pth.tar"]["state_dict"]
    single = {
        "identity_encoder.": files["model_ir_se50.pth"],
        "motion_encoder.": {name.removeprefix("module."): shape for name, shape in landmarks.items()},
        "face_parser.": files["79999_iter.pth"],
    }
    for prefix, shapes in single.items():
        assert {prefix + name: tuple(shape) for name, shape in shapes.items()} == {
            name: tuple(tensor.shape) for name, tensor in tensors.items() if name.startswith(prefix)
        }


def test_celeba_names():
    assert len(CELEBA_ATTRIBUTES) == len(set(CELEBA_ATTRIBUTES)) == 40
    assert list(CELEBA_ATTRIBUTES) == sorted(CELEBA_ATTRIBUTES)
    assert [CELEBA_ATTRIBUTES[i] for i in (0, 15, 20, 22, 24, 31, 39)] == [
        "5_o_Clock_Shadow", "Eyeglasses", "Male", "Mustache", "No_Beard", "Smiling", "Young",
    ]  # fmt: skip


def test_the_moving_average_is_taken(tmp_path, tensors, checkpoint):
    info = convert(checkpoint, tmp_path / "out.safetensors", precision="fp32", config=CONFIG)
    loaded = read_bundle(tmp_path / "out.safetensors")
    assert loaded.tensors.keys() == tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in tensors.items())
    assert (info.name, loaded.config["name"], info.precision, info.attributes) == ("out", "out", "fp32", ())
    assert "diffusion.ckpt" in info.source and "authors" in info.licence
    assert check_bundle(tmp_path / "out.safetensors") == info


def test_files_of_old_torch_are_read_too(tmp_path, tensors):
    torch.save(lightning(tensors), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    convert(tmp_path / "old.ckpt", tmp_path / "out.safetensors", precision="fp32", config=CONFIG)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in read_bundle(tmp_path / "out.safetensors").tensors.items())


def test_half_precision_is_the_default(tmp_path, tensors, checkpoint):
    convert(checkpoint, tmp_path / "out.safetensors", config=CONFIG)
    loaded = read_bundle(tmp_path / "out.safetensors").tensors
    assert torch.equal(loaded["fusion.weight"], tensors["fusion.weight"].half())
    assert torch.equal(loaded["fusion.bias"], tensors["fusion.bias"])


@pytest.mark.parametrize("ema", [False, True])
def test_classifier(tmp_path, checkpoint, classifier, ema):
    info = convert(checkpoint, tmp_path / "out.safetensors", classifier, config=CONFIG, classifier_ema=ema)
    loaded, tensors = read_bundle(tmp_path / "out.safetensors"), classifier_tensors()
    prefix = "ema_classifier." if ema else "classifier."
    for ours, theirs in {"weight": prefix + "weight", "bias": prefix + "bias", "mean": "conds_mean", "std": "conds_std"}.items():
        want = tensors[theirs] if ours == "weight" else tensors[theirs].flatten()
        assert torch.equal(loaded.tensors[f"attributes.identity.{ours}"], want), ours
    assert info.attributes == CELEBA_ATTRIBUTES
    assert loaded.config["attributes"][39] == {"name": "Young", "space": "identity", "index": 39, "auc": None, "range": [-1, 1]}


def dump_numpy(values: dict, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in values.items()}, protocol=protocol))


def dump_tensors(values: dict, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(values, protocol=protocol))


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("write", [dump_numpy, dump_tensors])
def test_statistics_in_a_bare_pickle(tmp_path, checkpoint, write, protocol):
    tensors = classifier_tensors()
    statistics = {"conds": torch.randn(5, DIM), "conds_mean": tensors.pop("conds_mean")[0], "conds_std": tensors.pop("conds_std")[0]}
    classifier, latent, out = tmp_path / "cls.ckpt", tmp_path / "latent.pkl", tmp_path / "out.safetensors"
    torch.save({"state_dict": tensors}, classifier)
    write(statistics, latent, protocol)
    with pytest.raises(DVAError, match=r"no identity statistics of its own; give .* --statistics"):
        convert(checkpoint, out, classifier, config=CONFIG)
    with pytest.raises(DVAError, match=r"latent\.pkl holds a bare pickle.*--trust-pickle"):
        convert(checkpoint, out, classifier, latent, config=CONFIG)
    convert(checkpoint, out, classifier, latent, config=CONFIG, trust_pickle=True)
    loaded = read_bundle(out).tensors
    assert torch.equal(loaded["attributes.identity.mean"], statistics["conds_mean"])
    assert torch.equal(loaded["attributes.identity.std"], statistics["conds_std"])


def test_statistics_as_torch_saves_them(tmp_path, checkpoint, classifier):
    tensors, out = classifier_tensors(), tmp_path / "out.safetensors"
    values = {"conds_mean": tensors["conds_mean"][0], "conds_std": tensors["conds_std"][0]}
    torch.save(values, tmp_path / "latent.pkl")
    convert(checkpoint, out, classifier, tmp_path / "latent.pkl", config=CONFIG)
    assert torch.equal(read_bundle(out).tensors["attributes.identity.std"], values["conds_std"])
    torch.save({**values, "conds_mean": values["conds_mean"] + 1}, tmp_path / "other.pkl")
    with pytest.raises(DVAError, match="leave --statistics out"):
        convert(checkpoint, out, classifier, tmp_path / "other.pkl", config=CONFIG)
    with pytest.raises(DVAError, match="give --classifier too"):
        convert(checkpoint, out, statistics=tmp_path / "latent.pkl", config=CONFIG)
    torch.save({"conds_mean": values["conds_mean"]}, tmp_path / "half.pkl")
    with pytest.raises(DVAError, match="lacks conds_mean or conds_std"):
        convert(checkpoint, out, classifier, tmp_path / "half.pkl", config=CONFIG)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"classifier.weight": torch.zeros(40, DIM + 1)}, r"shape \[40, 17\] for classifier\.weight where shape \[40, 16\]"),
        ({"classifier.bias": None}, r"nothing for classifier\.bias"),
        ({"conds_std": torch.zeros(1, DIM)}, "positive deviations"),
        ({"conds_mean": torch.zeros(1, 3)}, "16 means"),
    ],
)
def test_classifiers_that_do_not_fit(tmp_path, checkpoint, change, words):
    values = {name: tensor for name, tensor in (classifier_tensors() | change).items() if tensor is not None}
    torch.save({"state_dict": values}, tmp_path / "cls.ckpt")
    with pytest.raises(DVAError, match=words):
        convert(checkpoint, tmp_path / "out.safetensors", tmp_path / "cls.ckpt", config=CONFIG)


def test_encoder_files_take_the_place_of_the_checkpoints(tmp_path, tensors, checkpoint):
    """Identity plain, landmarks as data-parallel training saved them; either also where the checkpoint has none."""

    def own(prefix):
        return {name.removeprefix(prefix): t + 1 if t.is_floating_point() else t for name, t in tensors.items() if name.startswith(prefix)}

    torch.save(own("identity_encoder."), tmp_path / "id.pth")
    torch.save({"state_dict": {f"module.{name}": t for name, t in own("motion_encoder.").items()}}, tmp_path / "lnd.pth.tar")
    bare = {name: tensor for name, tensor in tensors.items() if not name.startswith(("identity_encoder.", "motion_encoder."))}
    torch.save(lightning(bare), tmp_path / "bare.ckpt")
    for path in (checkpoint, tmp_path / "bare.ckpt"):
        out = tmp_path / "out.safetensors"
        convert(path, out, identity=tmp_path / "id.pth", landmarks=tmp_path / "lnd.pth.tar", precision="fp32", config=CONFIG)
        loaded = read_bundle(out).tensors
        for name, tensor in tensors.items():
            moved = name.startswith(("identity_encoder.", "motion_encoder.")) and tensor.is_floating_point()
            assert torch.equal(loaded[name], tensor + 1 if moved else tensor), name
    with pytest.raises(DVAError, match=r"bare\.ckpt lacks the tensor (identity|motion)_encoder\..*choose the published files"):
        convert(tmp_path / "bare.ckpt", tmp_path / "no.safetensors", config=CONFIG)
    with pytest.raises(DVAError, match=r"face_parser\.weight that its configuration does not know"):
        torch.save({"weight": torch.ones(1)}, tmp_path / "parser.pth")
        convert(checkpoint, tmp_path / "no.safetensors", parser=tmp_path / "parser.pth", config=CONFIG)
    assert not (tmp_path / "no.safetensors").exists()


def test_values_that_are_not_finite_or_too_big_for_half(tmp_path, tensors):
    tensors["fusion.weight"][0, 0] = 7e4
    torch.save(lightning(tensors), tmp_path / "big.ckpt")
    convert(tmp_path / "big.ckpt", tmp_path / "big.safetensors", config=CONFIG)
    assert torch.equal(read_bundle(tmp_path / "big.safetensors").tensors["fusion.weight"], tensors["fusion.weight"])
    tensors["fusion.weight"][0, 0] = float("nan")
    torch.save(lightning(tensors), tmp_path / "nan.ckpt")
    with pytest.raises(DVAError, match=r"nan\.ckpt has values in fusion\.weight that are not finite"):
        convert(tmp_path / "nan.ckpt", tmp_path / "nan.safetensors", config=CONFIG)
