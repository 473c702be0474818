"""Which device is chosen, and in which precision it computes."""

from __future__ import annotations

import pytest
import torch

from dva_core.errors import DVAError
from dva_core.hosts.devices import choose_device, choose_dtype, same_device


def test_the_best_device_is_chosen(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == choose_device("auto") == torch.device("cpu")
    for device in ("cuda", "mps"):
        with pytest.raises(DVAError, match="not there"):
            choose_device(device)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == choose_device("mps") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device() == torch.device("cuda") and choose_device("cuda:0").index == 0
    with pytest.raises(DVAError, match="CUDA devices found: 1"):
        choose_device("cuda:1")


def test_the_fastest_type_is_what_the_device_multiplies(monkeypatch):
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for has in (False, True):
        for name in names:
            monkeypatch.setattr(torch.cpu, name, lambda has=has: has, raising=False)
        assert choose_dtype("auto", torch.device("cpu")) is (torch.bfloat16 if has else torch.float32)
    assert choose_dtype(None, torch.device("cpu")) is torch.float32  # left out: what the reference numbers were computed in


def test_a_device_without_a_number_is_the_first_of_its_kind():
    mps, cuda = torch.device("mps"), torch.device("cuda")
    assert same_device(mps, torch.device("mps", 0)) and same_device(torch.device("cuda", 0), cuda)
    assert not same_device(cuda, torch.device("cuda", 1)) and not same_device(cuda, mps)
