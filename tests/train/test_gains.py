"""How strong an attribute is at scale 1."""

from __future__ import annotations

import pytest
import torch
from bundles import write_tiny
from hypothesis import given
from hypothesis import strategies as st

from dva_core.model.loader import load_model
from dva_core.train.gains import SCALES, decoded_shares, gains
from dva_core.train.pairs import ATTRIBUTE, KINDS

from .test_paired import stripes

SHARES = st.lists(st.floats(-1, 3), min_size=len(SCALES), max_size=len(SCALES))


@given(st.fixed_dictionaries({kind: SHARES for kind in KINDS}), st.floats(0.1, 1))
def test_a_gain_is_within_the_step_and_no_more_than_it_may(shares, most):
    gain_of = gains(shares, {"Young": (0.0, most), "Beard": (0.92, 1.0)})
    assert set(gain_of) == {name for name, _ in ATTRIBUTE.values()}
    assert all(0 < gain <= 1 for gain in gain_of.values()) and gain_of["Young"] <= most + 0.005 and gain_of["Beard"] >= 0.92


def test_a_gain_is_where_the_share_reaches_one():
    shares = {
        "Beard": [0.5, 1.0, 1.5, 1.7],
        "Smiling": [0.1, 0.2, 0.3, 0.4],
        "Older": [0.2, 0.4, 0.6, 0.8],
        "Younger": [0.7, 1.3, 1.5, 1.6],
    }
    assert gains(shares, {}) == {"Beard": 0.6, "Smiling": 1.0, "Young": pytest.approx(0.5)}  # the stronger of two kinds decides
    assert gains({"Mustache": [0.2, 0.4, 0.8, 1.2]}, {}) == {"Mustache": pytest.approx(0.9)}


def test_shares_are_of_the_decoded_change(tmp_path, monkeypatch):
    monkeypatch.setattr("dva_core.train.gains.SCALES", (1.0,))
    model = load_model(write_tiny(tmp_path / "tiny.safetensors"), device="cpu")
    pairs, still = stripes(), (torch.zeros(len(KINDS), model.identity_dim), torch.zeros(len(KINDS), model.motion_dim))
    assert decoded_shares(model, pairs, still, most=1) == {kind: [0.0] for kind in KINDS}
    moved = torch.nn.functional.normalize(torch.randn(len(KINDS), model.identity_dim), dim=1), still[1]
    shares = decoded_shares(model, pairs, moved, most=1)
    assert all(any(values) for values in shares.values())
