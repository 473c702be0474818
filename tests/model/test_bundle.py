"""The model file: round trips, and every way in which a file can be wrong."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
import torch
from bundles import tiny_config, tiny_tensors, write_tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dva_core.errors import DVAError
from dva_core.model import bundle as bundle_module
from dva_core.model.build import build_empty
from dva_core.model.bundle import (
    check_bundle,
    fingerprint,
    read_bundle,
    read_header,
    write_bundle,
)


def rewrite(source: Path, target: Path, tensors=lambda t: t, metadata=lambda m: m, sign: bool = True) -> Path:
    """A copy of a bundle with something changed; `sign` makes its fingerprint right again."""
    content = tensors(load_file(source))
    data = metadata(dict(read_bundle(source).metadata))
    if sign and "config" in data:
        data["fingerprint"] = fingerprint(json.loads(data["config"]), content)
    save_file(content, target, metadata=data)
    return target


def sentence(error: pytest.ExceptionInfo, path: Path) -> str:
    """The message, once it is seen to be one sentence that names the file and a cure."""
    message = str(error.value)
    assert str(path) in message and message.endswith(".") and "\n" not in message and ";" in message
    return message


def test_round_trip_fp32_is_exact(bundle):
    tensors, loaded = tiny_tensors(), read_bundle(bundle)
    assert loaded.config == tiny_config()
    assert loaded.tensors.keys() == tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in tensors.items())
    assert {key: loaded.metadata[key] for key in ("licence", "source", "model_card", "precision")} == {
        "licence": "MIT", "source": "a test", "model_card": "tiny", "precision": "fp32",
    }  # fmt: skip


@pytest.mark.parametrize("precision, dtype", [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_round_trip_in_half_precision(tmp_path, precision, dtype):
    tensors, loaded = tiny_tensors(), read_bundle(write_tiny(tmp_path / "half.safetensors", precision))
    for name, tensor in tensors.items():
        want = dtype if tensor.is_floating_point() and tensor.ndim > 1 and not name.startswith("attributes.") else tensor.dtype
        assert loaded.tensors[name].dtype == want, name
        assert torch.equal(loaded.tensors[name], tensor.to(want)), name
    assert check_bundle(tmp_path / "half.safetensors").precision == precision


def test_a_weight_beyond_fp16_stays_float32(tmp_path):
    big = tiny_tensors()["fusion.weight"]
    big[0, 0] = 1e5
    loaded = read_bundle(write_tiny(tmp_path / "big.safetensors", "fp16", **{"fusion.weight": big}))
    assert loaded.tensors["fusion.weight"].dtype == torch.float32 and loaded.tensors["fusion.weight"][0, 0] == 1e5


def test_header_tells_shapes_without_reading_tensors(bundle, monkeypatch):
    monkeypatch.setattr(bundle_module, "fingerprint", lambda *_: pytest.fail("read the tensors"))
    header = read_header(bundle)
    assert header.shapes["fusion.weight"] == (24, 118)
    assert header.config["name"] == "tiny"


def test_fingerprint_follows_content_not_file_or_licence(tmp_path, bundle):
    one, other = tiny_tensors(), tiny_tensors(seed=1)
    first = read_bundle(bundle).fingerprint
    again = write_bundle(tmp_path / "b.safetensors", dict(reversed(one.items())), tiny_config(), licence="x", source="y", precision="fp32")
    changed = write_bundle(tmp_path / "c.safetensors", other, tiny_config(), licence="MIT", source="a test", precision="fp32")
    renamed = write_bundle(tmp_path / "d.safetensors", one, tiny_config(name="n"), licence="MIT", source="a test", precision="fp32")
    assert again.fingerprint == first
    assert len({first, changed.fingerprint, renamed.fingerprint}) == 3


def test_writing_is_all_or_nothing(tmp_path, bundle, monkeypatch):
    target = tmp_path / "m.safetensors"
    target.write_bytes(bundle.read_bytes())

    def half_written(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(bundle_module, "save_file", half_written)
    with pytest.raises(DVAError, match="No space left") as error:
        write_tiny(target)
    sentence(error, target)
    assert os.listdir(tmp_path) == ["m.safetensors"] and target.read_bytes() == bundle.read_bytes()  # noqa: PTH208


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace open files")
def test_who_has_the_old_file_open_keeps_it(tmp_path, bundle):
    target = tmp_path / "m.safetensors"
    target.write_bytes(bundle.read_bytes())
    with target.open("rb") as old:
        write_tiny(target, "fp16")
        assert old.read() == bundle.read_bytes() != target.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_may_read_the_file_as_any_other(tmp_path, bundle):
    (tmp_path / "usual").touch()
    assert bundle.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_writing_refuses_what_could_not_be_loaded(tmp_path):
    tensors = tiny_tensors()
    del tensors["fusion.bias"]
    with pytest.raises(DVAError, match=r"lacks the tensor fusion\.bias"):
        write_bundle(tmp_path / "m.safetensors", tensors, tiny_config(), licence="", source="", precision="fp32")
    with pytest.raises(DVAError, match="precision 'fp8'"):
        write_tiny(tmp_path / "m.safetensors", "fp8")
    with pytest.raises(DVAError, match=r"m\.safetensors"):
        write_tiny(tmp_path / "m.ckpt")
    assert not list(tmp_path.iterdir())


def drop(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def put(name, change):
    return lambda tensors: {**tensors, name: change(tensors.get(name))}


@pytest.mark.parametrize(
    "change, words",
    [
        (drop("noise_predictor.out.2.weight"), r"lacks the tensor noise_predictor\.out\.2\.weight"),
        (drop("attributes.identity.mean"), r"lacks the tensor attributes\.identity\.mean"),
        (put("fusion.weight", lambda t: t[:, 1:].contiguous()), r"fusion\.weight in shape \[24, 117\] where \[24, 118\]"),
        (put("fusion.bias", lambda t: t.to(torch.int32)), r"fusion\.bias as torch\.int32"),
        (put("fusion.bias", lambda t: t.index_fill(0, torch.tensor([3]), float("nan"))), r"fusion\.bias that are not finite"),
        (put("fusion.bias", lambda t: t.index_fill(0, torch.tensor([3]), float("inf"))), r"fusion\.bias that are not finite"),
        (put("stray.weight", lambda _: torch.zeros(3)), r"tensor stray\.weight that its configuration does not know"),
    ],
)
def test_wrong_tensors_are_named(tmp_path, bundle, change, words):
    path = rewrite(bundle, tmp_path / "bad.safetensors", tensors=change)
    with pytest.raises(DVAError, match=words) as error:
        check_bundle(path)
    sentence(error, path)


def config_of(**changes):
    return lambda metadata: {**metadata, "config": json.dumps(tiny_config(**changes))}


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda m: {}, "not a model file of this project"),
        (lambda m: {**m, "config": "{"}, "unreadable configuration"),
        (lambda m: {**m, "config": "[" * 100_000}, "unreadable configuration"),
        (config_of(format="other"), "not a model file of this project"),
        (config_of(version=2), "bundle version 2"),
        (config_of(image_size="64"), "image_size '64'"),
        (config_of(image_size=True), "image_size True"),
        (config_of(noise_predictor=None), "lacks noise_predictor"),
        (config_of(attributes=[{}]), "list of attributes"),
        (config_of(noise_predictor={"type": "transformer"}), "transformer"),
        (config_of(identity_encoder={"type": "compact_identity", "colour": 3}), "colour"),
        (config_of(motion_encoder={"type": "compact_landmarks", "widths": [4]}), "cannot be built"),
    ],
)
def test_wrong_configurations_are_named(tmp_path, bundle, change, words):
    path = tmp_path / "bad.safetensors"
    data = change(dict(read_bundle(bundle).metadata))
    with contextlib.suppress(KeyError, ValueError, RecursionError):  # where there is a configuration to sign
        data["fingerprint"] = fingerprint(json.loads(data["config"]), load_file(bundle))
    save_file(load_file(bundle), path, metadata=data)
    with pytest.raises(DVAError, match=words) as error:
        check_bundle(path)
    sentence(error, path)


def test_a_changed_file_does_not_match_its_fingerprint(tmp_path, bundle):
    path = rewrite(bundle, tmp_path / "bad.safetensors", tensors=put("fusion.bias", lambda t: t + 1), sign=False)
    with pytest.raises(DVAError, match="does not match its fingerprint") as error:
        check_bundle(path)
    sentence(error, path)
    path = rewrite(bundle, path, metadata=lambda m: {k: v for k, v in m.items() if k != "fingerprint"}, sign=False)
    with pytest.raises(DVAError, match="no fingerprint"):
        check_bundle(path)


@pytest.mark.parametrize("content", [b"", b"abc", b"\0" * 8, b"\xff" * 64, b"hello world, this is text", b"\x08" + b"\0" * 7 + b"{}      "])
def test_foreign_files(tmp_path, content):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    for read in (read_header, read_bundle, check_bundle):
        with pytest.raises(DVAError) as error:
            read(path)
        sentence(error, path)


def test_a_pickle_is_sent_to_convert(tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(DVAError, match="python -m dva_core convert") as error:
        check_bundle(path)
    sentence(error, path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(DVAError) as error:
            check_bundle(path)
        sentence(error, path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_file_gives_a_sentence_or_the_same_model(tmp_path, bundle, data):
    """Cut anywhere or with any bytes changed, in the head or in the numbers: DVAError, or exactly what was written."""
    content = bytearray(bundle.read_bytes())
    head = int.from_bytes(content[:8], "little") + 8
    if data.draw(st.booleans(), label="cut"):
        content = content[: data.draw(st.integers(0, len(content) - 1), label="length")]
    else:
        for _ in range(data.draw(st.integers(1, 3), label="bytes")):
            end = data.draw(st.sampled_from([8, head, len(content)]), label="where")
            content[data.draw(st.integers(0, end - 1), label="offset")] = data.draw(st.integers(0, 255), label="byte")
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(bytes(content))
    try:
        check_bundle(path)
    except DVAError as error:
        assert str(path) in str(error)
        return
    loaded, whole = read_bundle(path), read_bundle(bundle)
    assert loaded.config == whole.config
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in whole.tensors.items())


def test_empty_build_leaves_no_trace_on_torch():
    build_empty(tiny_config())
    assert torch.nn.Linear(64, 64).weight.abs().max() <= 1 / 8


def test_a_file_that_may_not_be_read_is_not_called_missing(bundle, tmp_path, monkeypatch):
    def refused(path, **_):  # chmod does not bind root; this is what the library says then
        raise FileNotFoundError(f"No such file or directory: {path}")

    monkeypatch.setattr(bundle_module, "safe_open", refused)
    with pytest.raises(DVAError, match="may not be read; change its permissions"):
        read_bundle(bundle)
    with pytest.raises(DVAError, match="There is no model file"):
        read_bundle(tmp_path / "none.safetensors")
