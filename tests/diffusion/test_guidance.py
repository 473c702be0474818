"""Guidance of edits: the equation, where it acts, what it costs, and that without it nothing is another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bundles import tiny_config, write_tiny
from hypothesis import given
from hypothesis import strategies as st
from standin import use_stand_in, write_video

from dva_core.commands import main as cli
from dva_core.diffusion import solvers
from dva_core.diffusion.guidance import Guidance, GuidedModel
from dva_core.diffusion.schedule import Schedule
from dva_core.edit import apply_attributes, apply_switch
from dva_core.errors import DVAError
from dva_core.model.bundle import read_bundle
from dva_core.model.evaluation import usual_batch
from dva_core.model.loader import load_model
from dva_core.pipeline import decode, decode_crops, encode
from dva_core.pipeline.preview import attribute_stills, stills
from dva_core.pipeline.solving import own_face

STEPS = 6


class Affine:
    """A noise predictor that is affine in z_face, so that guidance is a longer step of the vector."""

    schedule = Schedule()

    def __init__(self):
        self.rows = []

    def predict_noise(self, x_t, t, z_face):
        self.rows.append((int(t[0]), len(x_t)))
        (z,) = z_face if isinstance(z_face, tuple) else (z_face,)
        return 0.3 * x_t + z[:, :, None, None] * torch.cos(x_t.new_tensor(float(t[0])))


@given(st.floats(1, 10), st.sampled_from(solvers.VIDEO_SOLVERS), st.booleans(), st.booleans())
def test_guidance_of_an_affine_model_is_a_longer_step(weight, solver, clamp, conditions):
    x_T, edited, before = torch.randn(2, 3, 4, 4), torch.randn(2, 3), torch.randn(2, 3)
    both = torch.cat([edited, before])
    crops_of_solver = solvers.sample(
        GuidedModel(Affine(), Guidance(weight)), x_T, (both,) if conditions else both, STEPS, solver, clamp, dtype=torch.float64
    )
    expected = solvers.sample(Affine(), x_T, before + weight * (edited - before), STEPS, solver, clamp, dtype=torch.float64)
    torch.testing.assert_close(crops_of_solver, expected, atol=1e-4, rtol=1e-4)


@given(st.integers(0, 999), st.integers(0, 999), st.integers(1, 30))
def test_both_are_evaluated_in_the_interval_only(a, b, steps):
    model, guidance = Affine(), Guidance(2.0, min(a, b), max(a, b))
    solvers.sample(GuidedModel(model, guidance), torch.zeros(2, 3, 4, 4), torch.zeros(4, 3), steps, "order2")
    path = model.schedule.downwards(steps)
    assert model.rows == [(step.t, 4 if guidance.low <= step.t <= guidance.high else 2) for step in path]
    assert guidance.evaluations(path) == sum(rows for _, rows in model.rows) / 2
    assert Guidance(1.0).evaluations(path) == steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guided")


@pytest.fixture(scope="module")
def models(folder):
    """Two of the same weights; the second's configuration names a guidance."""
    config = tiny_config(guidance={"weight": 3.0, "interval": [100, 900]})
    paths = write_tiny(folder / "plain.safetensors"), write_tiny(folder / "guided.safetensors", config=config)
    return [load_model(path, device="cpu") for path in paths]


@pytest.fixture(scope="module")
def decomposition(folder, models):
    with pytest.MonkeyPatch.context() as patch:
        use_stand_in(patch, models[0])
        return encode(write_video(folder / "a.mkv", 5), models[0], steps=STEPS)


@pytest.fixture
def evaluations(models, monkeypatch):
    """How many frames went into each evaluation of the noise predictor."""
    calls, run = [], models[0].predict_noise
    monkeypatch.setattr(models[0], "predict_noise", lambda x, *rest: calls.append(len(x)) or run(x, *rest))
    return calls


def crops(decomposition, model, **settings):
    return np.stack(list(decode_crops(decomposition, model, **settings)))


def test_a_bundle_that_says_nothing_decodes_as_the_paper_does(decomposition, models, evaluations):
    edited = apply_attributes(decomposition, models[0], {"Young": 1.0, "Smiling": 1.0})
    plain = crops(edited, models[0])
    assert evaluations == [5] * STEPS
    assert np.array_equal(crops(edited, models[0], guidance=1.0), plain)
    further = crops(edited, models[0], guidance=3.0)
    assert evaluations[STEPS:] == [5] * STEPS + [10] * STEPS
    before = decomposition.rebuilt[:].astype(np.float32)
    assert np.abs(further - before).mean() > 1.5 * np.abs(plain - before).mean()


def test_what_was_not_edited_costs_and_is_what_it_was(folder, decomposition, models, evaluations):
    assert np.array_equal(crops(decomposition, models[0], guidance=3.0), decomposition.rebuilt[:]) and not evaluations
    pictures = []
    decode(
        decomposition,
        models[0],
        folder / "same.mkv",
        codec="ffv1",
        guidance=3.0,
        watch=lambda i, row, a, b, crop: pictures.append((a.rgb, b.rgb)),
    )
    assert len(pictures) == 5 and all(np.array_equal(*pair) for pair in pictures) and not evaluations


def test_a_bundle_has_its_own_weight_and_interval(decomposition, models):
    config = models[1].config
    assert Guidance.from_config(config) == Guidance(3.0, 100, 900) and Guidance.from_config(config, 1.5) == Guidance(1.5, 100, 900)
    assert Guidance.from_config(models[0].config) == Guidance() and not Guidance().is_on
    assert usual_batch(models[1], guidance=True) == usual_batch(models[1]) // 2
    models[0].config["guidance"] = config["guidance"]
    try:
        edited = apply_attributes(decomposition, models[0], {"Young": 1.0})
        own = crops(edited, models[0])
        assert np.array_equal(own, crops(edited, models[0], guidance=3.0)) and not np.array_equal(own, crops(edited, models[0], guidance=1))
    finally:
        del models[0].config["guidance"]


def test_batches_and_pictures_of_one_frame_are_guided_alike(decomposition, models, evaluations):
    edited = apply_attributes(decomposition, models[0], {"Young": 2.0})
    whole = crops(edited, models[0], guidance=2.0)
    np.testing.assert_allclose(crops(edited, models[0], guidance=2.0, batch_size=2), whole, atol=5e-3)
    guided, plain = (stills([edited], models[0], 2, guidance=weight) for weight in (2.0, 1.0))
    assert not np.array_equal(guided.edited[0], plain.edited[0])
    evaluations.clear()
    sheet = attribute_stills(decomposition, models[0], ["Young"], [0.0, 2.0], 2, guidance=2.0)
    assert np.array_equal(sheet["Young"][1], guided.edited[0]) and evaluations == [2] * STEPS
    stills([edited], models[0], 2, steps=2, guidance=2.0)
    assert evaluations[STEPS:] == [1, 4, 4]  # anew where it pays: once up, down the frame and its edit, each twice


def test_a_switch_is_guided_from_the_videos_own_face(folder, decomposition, models):
    other = apply_attributes(decomposition, models[0], {"Male": 3.0, "Smiling": 3.0})
    switched = apply_switch(decomposition, models[0], other, identity=True, motion=True)
    own = own_face(decomposition, models[0], range(5))
    torch.testing.assert_close(own_face(switched, models[0], range(5)), own, atol=1e-5, rtol=1e-5)
    switched.save(folder / "switched.safetensors")
    loaded = type(decomposition).load(folder / "switched.safetensors")
    torch.testing.assert_close(own_face(loaded, models[0], range(5)), own, atol=1e-5, rtol=1e-5)
    assert not np.array_equal(crops(switched, models[0], guidance=2.0), crops(switched, models[0]))


@pytest.mark.parametrize("weight", [0.0, -2.0, 11.0, float("nan"), float("inf")])
def test_a_weight_that_makes_no_sense_is_refused(folder, decomposition, models, weight):
    with pytest.raises(DVAError, match="guidance"):
        decode(decomposition, models[0], folder / "none.mkv", guidance=weight)
    assert not (folder / "none.mkv").exists()


@pytest.mark.parametrize(
    "record", [3.0, {"weight": "much"}, {"weight": 20}, {"weight": 2, "interval": [5]}, {"weight": 2, "interval": [9, 1]}]
)
def test_a_bundle_whose_guidance_makes_no_sense_is_refused(folder, record):
    with pytest.raises(DVAError, match=r"guidance .* makes no sense"):
        read_bundle(write_tiny(folder / "bad.safetensors", config=tiny_config(guidance=record)))


def test_on_the_command_line(folder, decomposition, models, capsys):
    apply_attributes(decomposition, models[0], {"Young": 2.0}).save(folder / "edited.safetensors")
    weights = []
    for weight in ("1", "3"):
        picture = folder / f"{weight}.png"
        call = ["preview", str(folder / "edited.safetensors"), "-o", str(picture), "--model", str(folder / "plain.safetensors")]
        assert cli.main([*call, "--guidance", weight, "--device", "cpu"]) == 0
        weights.append(picture.read_bytes())
    assert weights[0] != weights[1]
    assert cli.main([*call, "--guidance", "40"]) == 2
    assert "choose 1 (none) to 10" in capsys.readouterr().err
