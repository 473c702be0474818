"""The check for a machine with a graphics card: that it runs, tells what it found, and fails where numbers differ."""

from __future__ import annotations

import importlib.util
import json

import cv2
import numpy as np
import pytest
import torch
from card import card
from conftest import ROOT

spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "bench" / "gpu_check.py")
gpu_check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gpu_check)

COMMON = ("--device", "cpu", "--tiny")


def test_all_sections_run_without_a_card(tmp_path):
    assert gpu_check.main(["-o", str(tmp_path / "out"), *COMMON]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["one evaluation"]["starter, bf16"].startswith("ok ") and report["one evaluation"]["full size, fp16"].startswith("ok ")
    assert all(value.startswith("ok ") for section in ("video", "text edit") for value in report[section].values())
    assert report["memory"] == {"skipped": "no card"} and report["training"] == {"skipped": "no --faces"}
    assert "frames/s" in report["speed"]["whole edit"]
    assert "## video" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_wrong_numbers_fail(tmp_path, monkeypatch):
    evaluate = gpu_check.ThreadedEvaluation.__call__
    monkeypatch.setattr(gpu_check.ThreadedEvaluation, "__call__", lambda self, network, *inputs: evaluate(self, network, *inputs) * 1.1)
    assert gpu_check.main(["-o", str(tmp_path), *COMMON, "--only", "evaluation"]) == 1
    assert "OUT OF BOUNDS" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_an_error_is_a_failure_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check.Checks, "video", lambda self: torch.zeros(2) @ torch.zeros(3))
    assert gpu_check.main(["-o", str(tmp_path), *COMMON, "--only", "video,machine"]) == 1
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["video"]["failed"].startswith("OUT OF BOUNDS RuntimeError") and report["machine"]["device"] == "cpu"


def test_what_finds_no_time_is_said(tmp_path):
    assert gpu_check.main(["-o", str(tmp_path), *COMMON, "--only", "video", "--seconds", "0"]) == 0
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == {"video": {"skipped": "no time left"}}


@pytest.mark.parametrize("name", gpu_check.SECTIONS)
def test_every_section_is_one(name):
    assert callable(getattr(gpu_check.Checks, name))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Four people, four aligned pictures each, which need not be faces."""
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for number in range(16):
        place = folder / f"person{number // 4}" / f"{number % 4}.png"
        place.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(place), cv2.GaussianBlur(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8), (0, 0), 9))
    return folder


@pytest.mark.parametrize("section", ["machine", "evaluation", "video", "text", "memory", "training"])
def test_sections_run_on_a_card_that_is_not_there(tmp_path, monkeypatch, faces, section):
    """Comparisons of numbers with the CPU's hold there; what is measured is not looked at."""
    with card() as here:
        whole = here.limit
        share = lambda part: setattr(here, "limit", int(part * whole))  # noqa: E731
        monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", share)
        assert gpu_check.main(["-o", str(tmp_path), "--tiny", "--faces", str(faces), "--only", section]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report and not any(value == "skipped" for part in report.values() for value in part)
