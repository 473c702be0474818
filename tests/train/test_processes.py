"""Several processes train as one: their mean gradient is that of one process with all pictures; odd environments are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from card import card
from card_tensors import CARD
from safetensors import safe_open
from safetensors.torch import load_file
from two_processes import backward_of

from dva_core.errors import DVAError
from dva_core.train import processes

from .runs import CONFIG, training, write_start

HERE = Path(__file__).resolve().parents[1]
WHOLE = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def test_one_process_alone_is_no_group():
    assert not processes.check_environment({})
    assert processes.check_environment(WHOLE)
    with processes.process_group(torch.device("cpu")):
        assert processes.rank_and_world() == (0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MASTER_ADDR": ""}, "no MASTER_ADDR"),
        ({"RANK": "first"}, "'first' as RANK"),
        ({"RANK": "2"}, "RANK 2 of WORLD_SIZE 2"),
        ({"MASTER_PORT": ""}, "no MASTER_PORT"),
    ],
)
def test_an_odd_environment_is_told(change, message):
    with pytest.raises(DVAError, match=message):
        processes.check_environment(WHOLE | change)


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(DVAError, match="Device cuda:77 is not there"):
        processes.process_device("cuda:77")
    assert processes.process_device("cpu").type == "cpu"


def test_two_processes_with_half_the_pictures_equal_one(encoders, tmp_path):
    """Gradients within 1e-5, the same weights in both after a step; and the command runs as torchrun starts it."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    write_start(tmp_path, CONFIG)
    rng = np.random.default_rng(0)
    for person in "abc":
        (tmp_path / "frames" / person).mkdir(parents=True)
        for frame in range(3):
            cv2.imwrite(str(tmp_path / "frames" / person / f"{frame}.png"), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    command = ["diffusion", "--data", tmp_path / "frames", "--encoders", encoders, "--config", tmp_path / "config.json"]
    command += ["--run", tmp_path / "run", "--steps", 2, "--people", 1, "--frames", 2, "--device", "cpu"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    script = [HERE / "two_processes.py", "--", tmp_path, *command]
    done = subprocess.run([*map(str, torchrun + script)], env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    one = training(encoders, tmp_path / "one", 10)
    gradients = backward_of(one, slice(None))
    one.update()
    first, second = (load_file(str(tmp_path / f"gradient{rank}.safetensors")) for rank in (0, 1))
    assert max(g.abs().max() for g in gradients.values()) > 1e-3
    for key, gradient in gradients.items():
        assert (gradient - first[f"gradient.{key}"]).abs().max() < 1e-5, key
        learnt = gradient.abs() > 1e-6  # below, Adam makes a step of what is left over from rounding
        assert (one.parameters[key] - first[key])[learnt].abs().max() < 2e-5 if learnt.any() else True, key
    assert all(torch.equal(first[key], second[key]) for key in first)

    fitted = [load_file(str(tmp_path / f"fitted{rank}.safetensors")) for rank in (0, 1)]
    assert fitted[0]["unet.detail.proj_out.weight"].any()
    assert all(torch.equal(fitted[0][key], fitted[1][key]) for key in fitted[0])

    figures = json.loads((tmp_path / "run" / "diffusion.json").read_text())
    assert figures["step"] == 2 and figures["pictures"] == 2 * 2 * 2
    with safe_open(str(tmp_path / "run" / "diffusion" / "state.safetensors"), "pt") as file:
        assert {"generator", "generator.1", "torch_rng.1"} <= set(file.keys())


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
