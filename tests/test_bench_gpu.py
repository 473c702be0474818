"""The tables that bench/speed.py adds on a card, on one that is not there."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
from bundles import write_tiny
from card import card
from conftest import ROOT

from dva_core.model.loader import load_model


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    module = importlib.import_module("gpu")
    monkeypatch.setattr(module, "LARGE", {"cuda": 64})
    monkeypatch.setattr(module, "usual_batch", lambda model: 8)
    return module


def test_the_table_by_precision(gpu, tmp_path, caplog):
    bundle = write_tiny(tmp_path / "tiny.safetensors")
    with card():
        model = load_model(bundle, dtype="fp16")
        network = model.noise_predictor
        title, text, table = gpu.by_precision(model, 10**6, SimpleNamespace(compile=False, repeats=1))
        assert model.noise_predictor is network and str(model.host.dtype) == "torch.float16"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows[1:]] == [f"{name}{how}" for name in ("fp32", "fp16", "bf16") for how in ("", ", CUDA graph")]
    assert all(float(row[2]) > 0 and float(row[6]) > 0 for row in rows)
    taken = {row[0]: float(row[6]) for row in rows}
    foreseen = float(text.split("foreseen in half precision are ")[1].split()[0])
    assert taken["fp16"] < taken["fp32"] and 0.5 * foreseen < taken["fp16"] <= foreseen  # without conditions, which are ready
    assert title == "## By precision, at 16 pixels" and "does not apply" not in caplog.text
