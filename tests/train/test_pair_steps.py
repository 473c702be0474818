"""Pairs of pictures: the steps they give, the encoder that learns to see them, the noise predictor that learns to answer them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from waiting import ticking

from dva_core.errors import DVAError
from dva_core.train.attributes import MIRROR51
from dva_core.train.pair_identity import targets_of, train_pair_identity
from dva_core.train.pair_steps import LEGIBLE, LENGTH, SPACES, PairedSteps, least_direction, load_steps, orthonormal
from dva_core.train.pairs import ATTRIBUTE, KINDS, LOOKS, load_pairs
from dva_core.train.synthesis import Variants

from .pair_runs import Points, Rows, paired, stripes
from .runs import CONFIG


def test_every_kind_has_a_look_and_both_signs_share_a_step():
    assert set(KINDS) <= set(LOOKS)
    steps = PairedSteps.fit(Rows(), Points(), stripes())
    identity, motion = steps.of_kinds()
    older, younger = KINDS.index("Older"), KINDS.index("Younger")
    assert torch.equal(identity[older], -identity[younger])
    smile = KINDS.index("Smiling")
    assert not identity[smile].any() and motion[smile].any()
    assert not motion[[k for k in range(len(KINDS)) if k != smile]].any()


def test_steps_say_nothing_of_each_other():
    steps = PairedSteps.fit(Rows(), Points(), stripes())
    gram = steps.identity @ steps.identity.T
    assert np.allclose(gram, LENGTH**2 * np.eye(len(gram)), atol=1e-5)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_the_nearest_orthonormal_rows(count, seed):
    rows = np.random.default_rng(seed).normal(size=(count, 12))
    made = orthonormal(rows)
    assert np.allclose(made @ made.T, np.eye(count), atol=1e-8)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    other = np.linalg.qr(rows.T)[0].T * np.sign(np.diag(np.linalg.qr(rows.T)[1]))[:, None]
    assert np.linalg.norm(made - unit) <= np.linalg.norm(other - unit) + 1e-8  # Löwdin's is the nearest


def test_a_motion_step_is_told_from_faces_by_what_hardly_differs_among_them():
    rng = np.random.default_rng(0)
    motions = 0.5 + 0.02 * rng.normal(size=(2000, 60)) @ rng.normal(size=(60, 102)) / 8 + 0.001 * rng.normal(size=(2000, 102))
    direction = least_direction(motions)
    points = direction.reshape(-1, 2)
    assert np.allclose(points, points[MIRROR51] * (-1, 1), atol=1e-6)
    read = (motions - motions.mean(0)) @ direction / (direction @ direction)
    assert read.std() == pytest.approx(1 / LEGIBLE, rel=0.01)
    assert np.linalg.norm(direction) < 0.02  # of the crop's width
    assert not least_direction(np.zeros((5, 102))).any()


def test_held_out_people_give_no_step():
    pairs = stripes()
    before = PairedSteps.fit(identity := Rows(), Points(), pairs).identity
    pairs.after[pairs.held_out] = 0
    assert np.array_equal(PairedSteps.fit(identity, Points(), pairs).identity, before)


def test_steps_and_pairs_come_back_from_their_files(tmp_path):
    steps = PairedSteps.fit(Rows(), Points(), stripes())
    steps.save(tmp_path / "steps.safetensors")
    back = load_steps(tmp_path)
    assert back.identity_names == tuple(name for name in SPACES if SPACES[name] == "identity")
    assert np.allclose(back.identity, steps.identity, atol=1e-7) and np.allclose(back.motion, steps.motion, atol=1e-7)
    stripes().save(tmp_path / "pairs.npz")
    assert np.array_equal(load_pairs(tmp_path).after, stripes().after)
    whole = (tmp_path / "pairs.npz").read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"PK"):
        (tmp_path / "pairs.npz").write_bytes(damaged)
        with pytest.raises(DVAError, match="pairs"):
            load_pairs(tmp_path)


def test_the_encoder_learns_the_steps_and_keeps_the_people(monkeypatch):
    monkeypatch.setattr("dva_core.train.pair_identity.time", ticking(0.1))
    torch.manual_seed(0)
    pairs, identity = stripes(each=8), Rows(64)
    steps = PairedSteps.fit(identity, Points(), pairs)
    plain = pairs.before.copy()
    variants = Variants(plain, pairs.landmarks, np.zeros((len(plain), 64), np.float32), np.arange(len(plain)), np.arange(len(plain)))
    figures = train_pair_identity(identity, variants, pairs, steps, pairs.held_out, minutes=0.05, batch=32)
    assert figures["samples"] > 0 and set(figures["auc_and_cosine"]) == {kind for kind in KINDS if kind != "Smiling"}
    assert figures["cosine_to_before"] > 0.5 and not identity.training and not identity.linear.weight.requires_grad


def test_a_target_is_the_face_moved_by_the_step():
    vectors, moves = torch.eye(4)[:2], torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, -1.0]])
    made = targets_of(vectors, torch.tensor([0, 1]), moves)
    assert torch.allclose(made, torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, -1]]) / 2**0.5)


def test_a_run_with_pairs_keeps_its_steps_and_says_what_comes_back(encoders, tmp_path):
    run = paired(encoders, tmp_path / "run" / "diffusion")
    figures = run.run()
    assert set(figures["answers"]) == set(KINDS) and run.pictures_per_step == 3 * 2 + 4
    kept = load_steps(tmp_path / "run")
    assert kept.identity.shape == (sum(space == "identity" for space in SPACES.values()), 128)


def test_levels_are_shares(encoders, tmp_path):
    own, target = paired(encoders, tmp_path / "diffusion").pair_objective.levels(4000, np.random.default_rng(0))
    assert own.min() >= 0 and own.max() <= 1 and target.min() >= 0 and target.max() <= 1
    assert 0.4 < ((own == 0) & (target == 1)).float().mean() < 0.6  # most are the edit itself
    assert ((own == 1) & (target == 0)).any()


def test_the_change_asked_for_is_the_pair(encoders, tmp_path):
    objective = paired(encoders, tmp_path / "diffusion").pair_objective
    rows = objective.held_out_rows[KINDS.index("Beard")]
    batch = objective.cross_pairs(rows)
    place = batch.mask.expand_as(batch.change)
    assert batch.change[place == 0].abs().max() < 1e-6 and batch.change[place > 0.4].min() > 0.4
    assert not torch.equal(batch.own[0], batch.moved[0])


def test_a_network_that_answers_has_no_answer_error(encoders, tmp_path):
    run = paired(encoders, tmp_path / "diffusion")
    batch = run.pair_objective.cross_pairs(run.pair_objective.held_out_rows[0])
    t, noise = torch.full((len(batch.x_0),), 300), torch.randn(batch.x_0.shape)

    def knows(x_t, t, z_face):
        a = run.schedule.at(t, x_t)
        changes = torch.cat([torch.zeros_like(batch.change), batch.change])
        return torch.cat([noise, noise]) - changes * (a / (1 - a)).sqrt()

    run.predict_noise = knows
    own, change, _ = run.pair_objective.estimates(batch, t, noise)
    assert torch.allclose(own, noise) and torch.allclose(change, batch.change, atol=1e-5)
    shares = run.pair_objective.answers(timesteps=(300,), most=1)
    assert all(np.isfinite(value) for pair in shares.values() for value in pair)


def test_pairs_lower_the_answer_error(encoders, tmp_path):
    config = CONFIG | {"diffusion": {**CONFIG["diffusion"], "prediction": "v"}}  # as the starter; by epsilon it takes much longer
    run = paired(encoders, tmp_path / "diffusion", config=config, steps=200, learning_rate=3e-3, pairs=16, pair_weight=50.0, people=1)
    run.conditioner.identity, run.conditioner.landmarks = Rows(128), Points()  # quicker than the real ones, and they see the stripes
    run.pair_objective.steps = PairedSteps.fit(run.conditioner.identity, run.conditioner.landmarks, run.pair_objective.pairs).of_kinds()
    rng, generator = (lambda: np.random.default_rng(9)), (lambda: torch.Generator().manual_seed(9))
    with torch.no_grad():
        before = run.pair_objective.loss(64, rng(), generator())[2]
    while run.step < 200:
        run.gradient()
        run.update()
    with torch.no_grad():
        after = run.pair_objective.loss(64, rng(), generator())[2]
    assert after < 0.95 * before


def test_attributes_of_the_kinds():
    assert {name for name, _ in ATTRIBUTE.values()} == set(SPACES) and set(dict(ATTRIBUTE.values()).values()) <= {1, -1}
