"""Pickles that must not run, and files that are no checkpoint."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dva_core
from dva_core.errors import DVAError
from dva_core.model.bundle import read_bundle
from dva_core.model.convert import (
    convert,
    read_pickle,
    read_tensors,
)

from .checkpoints import CONFIG, lightning


class Foreign:
    """A class that a reader of the checkpoint would not have."""

    def __init__(self, value):
        self.value = value


# pickles


@pytest.fixture
def passing_class(monkeypatch):
    """A class of a module that is there when the checkpoint is written and gone when it is read."""
    module = types.ModuleType("their_training_code")
    module.Config = type("Config", (dict,), {"__module__": "their_training_code"})
    monkeypatch.setitem(sys.modules, "their_training_code", module)
    return module.Config


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_objects_are_refused_then_skipped(tmp_path, tensors, checkpoint, passing_class, zipped, monkeypatch):
    extra = {
        "hyper_parameters": argparse.Namespace(lr=1e-4, nested=Foreign([1, 2])),
        "conf": passing_class(a=1),
        "callbacks": {Foreign: {"best": np.float64(0.5)}},
        "dtype": torch.float16,
    }
    path, out = tmp_path / "foreign.ckpt", tmp_path / "out.safetensors"
    torch.save(lightning(tensors, **extra), path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "their_training_code")
    with pytest.raises(DVAError, match="--trust-pickle") as error:
        convert(path, out, config=CONFIG)
    assert str(path) in str(error.value) and (not zipped or "argparse.Namespace" in str(error.value))
    convert(path, out, config=CONFIG, trust_pickle=True)
    convert(checkpoint, tmp_path / "same.safetensors", config=CONFIG)
    ours, same = read_bundle(out).tensors, read_bundle(tmp_path / "same.safetensors").tensors
    assert all(torch.equal(ours[name], tensor) for name, tensor in same.items())


class Run:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(mark: Path) -> list:
    import builtins
    import importlib
    import subprocess

    return [
        Run(os.system, f"touch {mark}"),
        Run(subprocess.Popen, ["touch", str(mark)]),
        Run(builtins.exec, f"open({str(mark)!r}, 'w')"),
        Run(builtins.eval, f"open({str(mark)!r}, 'w')"),
        Run(builtins.open, str(mark), "w"),
        Run(Path.touch, mark),
        Run(getattr, Run(importlib.import_module, "os"), "system"),
        Run(torch.save, 1, str(mark)),
        Run(np.save, str(mark), np.ones(1)),
        Run(torch.load, str(mark)),
        Run(pickle.loads, pickle.dumps(Run(os.system, f"touch {mark}"))),
        Run(torch.storage._load_from_bytes, pickle.dumps(Run(os.system, f"touch {mark}"))),
    ]


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("number", range(12))
def test_malicious_pickles_never_run(tmp_path, tensors, number, kind):
    mark, path = tmp_path / "mark", tmp_path / "evil.ckpt"
    content = lightning({"fusion.bias": tensors["fusion.bias"]}, callbacks=attacks(mark)[number])
    if kind == "bare":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(DVAError, match="--trust-pickle"):
        read_tensors(path, "checkpoint")
    try:
        content = read_tensors(path, "checkpoint", trust_pickle=True)
    except DVAError:
        assert number == 11  # a call that is known, with bytes that are no storage
    else:
        assert torch.equal(content["ema_model.encoder.linear.bias"], tensors["fusion.bias"])
    assert not mark.exists()


def test_the_attacks_would_work_elsewhere(tmp_path):
    """That the test above can fail: an ordinary reader falls for the first of them."""
    pickle.loads(pickle.dumps(attacks(tmp_path / "mark")[4])).close()
    assert (tmp_path / "mark").exists()


def test_only_this_module_reads_pickles():
    package = Path(dva_core.__file__).parent
    users = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if "torch.load(" in path.read_text(encoding="utf-8")}
    assert users == {"model/convert.py"}


def test_numbers_of_any_kind_come_out_of_a_bare_pickle(tmp_path):
    arrays = {
        "double": np.arange(6.0).reshape(2, 3),
        "big endian": np.arange(4, dtype=">f4"),
        "fortran": np.asfortranarray(np.arange(6, dtype="<f4").reshape(2, 3)),
        "strided": np.arange(10, dtype="<i8")[::2],
        "scalar": np.array(3.5, dtype="<f2"),
    }
    for protocol in (2, 3, 4, 5):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, protocol=protocol))
        tensors = read_tensors(tmp_path / "a.pkl", "file", trust_pickle=True)
        for name, array in arrays.items():
            assert torch.equal(tensors[name], torch.from_numpy(np.array(array, array.dtype.newbyteorder("=")))), (name, protocol)
    for bad in (np.array(["text"]), np.array([object()], dtype=object), np.zeros(2, dtype=[("a", "f4")])):
        (tmp_path / "b.pkl").write_bytes(pickle.dumps({"bad": bad}))
        with pytest.raises(DVAError, match="damaged"):
            read_tensors(tmp_path / "b.pkl", "file", trust_pickle=True)


def zip_of(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


@pytest.mark.parametrize("trust", [False, True])
def test_files_that_are_no_checkpoint(tmp_path, trust):
    path = tmp_path / "file.ckpt"
    contents = {
        "empty": b"",
        "text": b"hello world",
        "safetensors": b"\x80\x02" + b"\0" * 6 + b'{"a":1}' + b" " * 633,
        "tar": b"storages".ljust(512, b"\0"),
        "truncated zip": b"PK\x03\x04abcdefgh",
        "tar of any kind": b"x" * 600,
        "protocol": b"\x80",
    }
    for name, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(DVAError) as error:
            read_tensors(path, "checkpoint", trust)
        assert str(path) in str(error.value) and "trust-pickle" not in str(error.value), name
    for names, words in {("a/data.pkl",): "damaged", ("readme.txt",): "neither", ("a/data.pkl", "a/constants.pkl"): "TorchScript"}.items():
        zip_of(path, *names)
        with pytest.raises(DVAError, match=rf"file\.ckpt is .*{words}"):
            read_tensors(path, "checkpoint", trust)
    for value in ([1, 2], {"a": 1}, {"state_dict": {"a": "b"}}):
        torch.save(value, path)
        with pytest.raises(DVAError, match="no tensors by name"):
            read_tensors(path, "checkpoint", trust)
    torch.save({"weight": torch.ones(1)}, path)
    with pytest.raises(DVAError, match="no tensors named ema_model"):
        convert(path, tmp_path / "out.safetensors", config=CONFIG, trust_pickle=trust)
    with pytest.raises(DVAError, match=r"There is no file .*none\.ckpt"):
        read_pickle(tmp_path / "none.ckpt", trust_pickle=trust)
    with pytest.raises(DVAError, match="cannot be read"):
        read_pickle(tmp_path, trust_pickle=trust)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_checkpoints_give_a_sentence(tmp_path, data):
    content = {"state_dict": {"a": torch.arange(8.0)}, "other": [1, "two", (3.0, None)]}
    kind = data.draw(st.sampled_from(["zip", "legacy", "bare"]))
    buffer = io.BytesIO()
    if kind == "bare":
        pickle.dump({"a": np.arange(8.0)}, buffer)
    else:
        torch.save(content, buffer, _use_new_zipfile_serialization=kind == "zip")
    damaged = bytearray(buffer.getvalue())
    place = data.draw(st.integers(0, 2**16)) % len(damaged)  # the length itself differs from run to run: legacy files hold addresses
    if data.draw(st.booleans()):
        damaged = damaged[:place]
    else:
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.ckpt"
    path.write_bytes(bytes(damaged))
    try:
        tensors = read_tensors(path, "checkpoint", trust_pickle=data.draw(st.booleans()))
    except DVAError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
