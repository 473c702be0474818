"""The check for a machine with a graphics card: that it runs, tells what it found, and fails where numbers differ."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
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
