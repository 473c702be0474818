"""The states of decodes of pairs, and the error of the image estimate at them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dva_core.diffusion.schedule import noise_of
from dva_core.diffusion.solvers import SOLVER, STEPS
from dva_core.train.pair_objective import CrossedPairs
from dva_core.train.pair_steps import PairedSteps
from dva_core.train.pairs import KINDS
from dva_core.train.path_objective import POOL

from .pair_runs import Points, Rows, paired
from .runs import CONFIG

RNG, GENERATOR = (lambda: np.random.default_rng(3)), (lambda: torch.Generator().manual_seed(3))


@pytest.fixture
def run(encoders, tmp_path):
    return paired(encoders, tmp_path / "diffusion", paths=4)


@pytest.fixture
def known(run):
    """A run whose network brings `reach` of one pair's change, by the level that its vector names, and its picture."""
    size = run.config["image_size"]
    picture = torch.linspace(-0.5, 0.5, size).expand(1, 3, size, size)
    change = torch.zeros(1, 3, size, size)
    change[..., : size // 2] = 0.3
    run.reach = 1.0

    def cross_pairs(rows, rng=None, generator=None, levels=None):
        count = len(rows)
        wanted = (levels[1] if levels else torch.ones(count))[:, None]
        nothing, mask = torch.zeros(count, 1), (change[:, :1] > 0).float().expand(count, -1, -1, -1)
        asked = wanted[..., None, None] * change
        amount = (change.abs() * run.pair_objective.place(mask)).mean((1, 2, 3)).expand(count)
        return CrossedPairs(picture.expand(count, -1, -1, -1), (nothing, nothing), (wanted, nothing), asked, mask, amount)

    def predict_noise(x_t, t, z_face):
        image = picture + run.reach * z_face[:, :1, None, None] * change
        return noise_of(x_t, image, run.schedule.at(t, x_t))

    run.pair_objective.cross_pairs, run.predict_noise = cross_pairs, predict_noise
    run.conditioner.fuse = lambda z_id, z_motion: torch.cat([z_id, z_motion], 1)
    return run


def test_a_decode_that_brings_the_change_has_no_error(known):
    paths = known.path_objective
    assert paths.loss(8, RNG(), GENERATOR()) < 2e-3  # of states in half precision
    assert set(figures := paths.errors()) == set(KINDS)
    assert all(share == pytest.approx(1, abs=1e-3) and error < 2e-3 for share, error in figures.values())


@pytest.mark.parametrize("reach", (0.0, 0.5, 1.7))
def test_too_little_and_too_much_count_as_error(known, reach):
    known.reach = reach
    assert all(figures == pytest.approx((reach, abs(reach - 1)), abs=2e-3) for figures in known.path_objective.errors().values())
    assert known.path_objective.loss(8, RNG(), GENERATOR()) > 0.1


def test_states_are_those_that_the_edited_decode_passes(known):
    paths = known.path_objective
    batch = known.pair_objective.cross_pairs(np.zeros(2))
    rebuilt, edited, recorder = paths.decode(batch)
    assert torch.allclose(rebuilt, batch.x_0, atol=1e-4) and torch.allclose(edited, batch.x_0 + batch.change, atol=1e-4)
    assert len(recorder.states) == STEPS
    timesteps = [int(t[0]) for _, t, _ in recorder.states]
    assert timesteps == sorted(timesteps, reverse=True) and timesteps[-1] == 0
    assert torch.allclose(recorder.states[-1][0], batch.x_0 + batch.change, atol=0.05)  # almost without noise, it shows the edit
    assert all(torch.allclose(image, batch.x_0, atol=1e-4) for *_, image in recorder.states)


def test_decodes_take_the_timesteps_that_the_configuration_names(known):
    known.config = known.config | {"powers": {SOLVER: 3.0}}
    recorder = known.path_objective.decode(known.pair_objective.cross_pairs(np.zeros(2)))[2]
    assert [int(t[0]) for _, t, _ in recorder.states] == [int(t) for t, *_ in known.schedule.downwards(STEPS, 3.0)]


def test_the_pool_keeps_the_newest_states(known):
    paths, rng, generator = known.path_objective, RNG(), GENERATOR()
    for _ in range(POOL // (8 * 8) + 1):  # a decode has 8 steps at the least
        paths.renew(8, rng, generator)
    before = paths.states.z_id
    paths.renew(8, rng, generator)
    assert len(before) == len(paths.states.t) == POOL
    fresh = next(n for n in range(64, POOL + 1, 8) if torch.equal(paths.states.z_id[:-n], before[n:]))
    assert fresh <= 8 * 24  # 24 steps at the most


def test_pairs_are_decoded_every_so_many_steps(known):
    paths, renewed = known.path_objective, []
    paths.renew = lambda *args, renew=paths.renew: (renewed.append(paths.age), renew(*args))
    rng, generator = RNG(), GENERATOR()
    for _ in range(2 * known.settings.path_every + 1):
        paths.loss(2, rng, generator)
    assert renewed == [0, known.settings.path_every, 2 * known.settings.path_every]


def test_a_run_with_paths_says_what_its_decodes_bring(run):
    figures = run.run()
    assert set(figures["decodes"]) == set(KINDS) and run.pictures_per_step == 3 * 2 + 4 + 4


def test_without_paths_there_is_none(encoders, tmp_path):
    assert paired(encoders, tmp_path / "diffusion").path_objective is None


def test_training_lowers_the_error_at_the_states(encoders, tmp_path):
    config = CONFIG | {"diffusion": {**CONFIG["diffusion"], "prediction": "v"}}
    settings = {"learning_rate": 3e-3, "pairs": 1, "paths": 8, "path_weight": 50.0, "people": 1, "frames": 1, "path_every": 10_000}
    run = paired(encoders, tmp_path / "diffusion", config=config, **settings)
    run.conditioner.identity, run.conditioner.landmarks = Rows(128), Points()  # quicker than the real ones, and they see the stripes
    run.pair_objective.steps = PairedSteps.fit(run.conditioner.identity, run.conditioner.landmarks, run.pair_objective.pairs).of_kinds()

    def error() -> float:
        with torch.no_grad():
            return float(run.path_objective.loss(128, np.random.default_rng(5), GENERATOR()))

    run.path_objective.loss(8, RNG(), GENERATOR())  # fills the pool
    before = error()
    for _ in range(40):
        run.gradient()
        run.update()
    assert error() < 0.8 * before
