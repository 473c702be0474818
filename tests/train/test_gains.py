"""How strong an attribute is at scale 1."""

from __future__ import annotations

import pytest
import torch
from bundles import write_tiny
from hypothesis import given
from hypothesis import strategies as st

from dva_core.model.loader import load_model
from dva_core.train.assemble import scale_steps
from dva_core.train.gains import SCALES, TEXTURE_SHIFT, TEXTURE_STEP, decoded_shares, gains
from dva_core.train.pair_steps import PairedSteps
from dva_core.train.pairs import ATTRIBUTE, KINDS

from .pair_runs import Points, Rows, stripes

SHARES = st.lists(st.floats(-1, 3), min_size=len(SCALES), max_size=len(SCALES))


@given(st.fixed_dictionaries({kind: SHARES for kind in KINDS}), st.floats(0.1, 1))
def test_a_gain_is_within_the_step_and_no_more_than_it_may(shares, most):
    gain_of = gains(shares, {"Young": (0.0, most), "Beard": (0.92, 1.0)})
    assert set(gain_of) == {name for name, _ in ATTRIBUTE.values()}
    assert all(0 < gain <= SCALES[-1] for gain in gain_of.values()) and gain_of["Young"] <= most + 0.005 and gain_of["Beard"] >= 0.92


def test_a_gain_is_where_the_share_reaches_one():
    shares = {
        "Beard": [0.5, 1.0, 1.5, 1.7, 1.8],
        "Smiling": [0.1, 0.2, 0.3, 0.4, 0.5],
        "Older": [0.2, 0.4, 0.6, 0.8, 0.9],
        "Younger": [0.7, 1.3, 1.5, 1.6, 1.6],
    }
    assert gains(shares, {}) == {"Beard": 0.7, "Smiling": 1.6, "Young": pytest.approx(0.55)}  # the stronger of two kinds decides
    assert gains(shares, {"Smiling": (1.0, 1.2)})["Smiling"] == 1.2
    assert gains({"Mustache": [0.2, 0.4, 0.8, 1.2, 1.3]}, {}) == {"Mustache": pytest.approx(1.15)}


def test_shares_are_of_the_decoded_change(tmp_path, monkeypatch):
    monkeypatch.setattr("dva_core.train.gains.SCALES", (1.0,))
    model = load_model(write_tiny(tmp_path / "tiny.safetensors"), device="cpu")
    pairs, still = stripes(), (torch.zeros(len(KINDS), model.identity_dim), torch.zeros(len(KINDS), model.motion_dim))
    assert decoded_shares(model, pairs, still, most=1) == {kind: [0.0] for kind in KINDS}
    moved = torch.nn.functional.normalize(torch.randn(len(KINDS), model.identity_dim), dim=1), still[1]
    shares = decoded_shares(model, pairs, moved, most=1)
    assert all(any(values) for values in shares.values())


def test_steps_of_both_vectors_are_scaled(monkeypatch):
    shares = {kind: [0.5, 2.0, 2.0, 2.0, 2.0] if kind == "Beard" else [0.0] * len(SCALES) for kind in KINDS}
    monkeypatch.setattr("dva_core.train.assemble.frozen_model", lambda *_: None)
    monkeypatch.setattr("dva_core.train.assemble.decoded_shares", lambda *_: shares)
    monkeypatch.setattr("dva_core.train.assemble.LIMITS", {"Smiling": (1.0, 1.2)})
    entries = [("Beard", "identity", 1), ("Young", "identity", 0), ("Smiling", "motion", 1), ("Mouth_Slightly_Open", "motion", 0)]
    config = {"attributes": [{"name": name, "space": space, "index": index} for name, space, index in entries], "noise_predictor": {}}
    before = {"attributes.identity.step": torch.ones(2, 3), "attributes.motion.shift": torch.ones(2, 4)}
    tensors, pairs = dict(before), stripes()
    scale_steps(tensors, config, PairedSteps.fit(Rows(), Points(), pairs), pairs)
    assert tensors["attributes.identity.step"][:, 0].tolist() == pytest.approx([1.6, 0.5])
    assert tensors["attributes.motion.shift"][:, 0].tolist() == pytest.approx([1.0, 1.2])
    assert all(bool((value == 1).all()) for value in before.values())


def test_with_a_texture_a_scale_of_1_is_its_step_whole():
    entries = [("Beard", "identity", 1), ("Young", "identity", 0), ("Smiling", "motion", 0)]
    config = {"attributes": [{"name": name, "space": space, "index": index} for name, space, index in entries]}
    config["noise_predictor"] = {"texture_rank": len(KINDS)}
    tensors, pairs = {"attributes.identity.step": torch.ones(2, 3), "attributes.motion.shift": torch.ones(1, 4)}, stripes()
    scale_steps(tensors, config, PairedSteps.fit(Rows(), Points(), pairs), pairs)
    assert tensors["attributes.identity.step"].flatten().tolist() == pytest.approx([TEXTURE_STEP] * 6)
    assert tensors["attributes.motion.shift"].flatten().tolist() == pytest.approx([TEXTURE_SHIFT] * 4)
    assert {entry["name"]: entry["range"] for entry in config["attributes"]} == {"Beard": [0, 1], "Young": [-1, 1], "Smiling": [0, 1]}
