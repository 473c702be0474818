"""The tables that bench/speed.py adds on a card, on one that is not there."""

from __future__ import annotations

import importlib
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from bundles import write_tiny
from card import card
from conftest import ROOT
from standin import BrightDetector, landmarks_of, write_video

from dva_core.faces.finder import FaceFinder
from dva_core.model.loader import load_model
from dva_core.pipeline import encode


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


@pytest.fixture
def speed(gpu, monkeypatch):
    """bench/speed.py with two steps, one precision, small matrices and a face that can be found."""
    module, real = importlib.import_module("speed"), FaceFinder.of
    for one in (module, gpu):
        monkeypatch.setattr(one, "encode", partial(encode, steps=2))
        monkeypatch.setattr(one, "matrix_rate", lambda *_: 1e9)
        monkeypatch.setattr(one, "usual_batch", lambda model: 4)
    monkeypatch.setattr(gpu, "PRECISIONS", {"fp16": torch.float16})
    monkeypatch.setattr(gpu, "SIZES", {"360p": 48})
    finder = classmethod(lambda _, model, *__: FaceFinder(BrightDetector(), landmarks_of, real(model).embed))
    monkeypatch.setattr(FaceFinder, "of", finder)
    monkeypatch.setattr(gpu.end_to_end, "__defaults__", (("360p",),))
    return module


def test_the_whole_page_is_written_on_a_card(speed, tmp_path, capsys):
    page, video = tmp_path / "page.md", write_video(tmp_path / "video.mkv", 2)
    options = ["--frames", "2", "--steps", "2", "--plain-steps", "2", "--repeats", "1", "--split-frames", "2", "--lengths"]
    with card():
        bundle = write_tiny(tmp_path / "tiny.safetensors")
        assert speed.main([str(video), "-o", str(page), "--model", str(bundle), "--device", "cuda", *options]) == 0
    titles = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
    assert titles == ["## Against the plain method", "## Each optimisation", "## Against the matrix rate", "## By precision, at 16 pixels",
                      "## From file to file", "## Where an edit's time goes"]  # fmt: skip
    assert "pretended" in page.read_text(encoding="utf-8") and "maps channel after channel" in capsys.readouterr().out


def test_a_table_that_fails_leaves_the_others(speed, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(speed, "one_by_one", lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA out of memory")))
    page = tmp_path / "page.md"
    options = ["--frames", "2", "--steps", "2", "--plain-steps", "2", "--repeats", "1"]
    bundle = write_tiny(tmp_path / "tiny.safetensors")
    assert speed.main(["-o", str(page), "--model", str(bundle), "--device", "cpu", *options]) == 1
    text = page.read_text(encoding="utf-8")
    assert "## Against the plain method" in text and "A table is missing: RuntimeError: CUDA out of memory" in text
