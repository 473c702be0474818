"""The diffusion training: it learns, it can be stopped and taken up again, its fusion layer folds into the plain one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dva_core.errors import DVAError, MissingDependencyError
from dva_core.networks import build_network
from dva_core.train.conditioner import fold_scaling
from dva_core.train.diffusion import Draw, export

from .runs import CONFIG, training


def test_only_training_runs_compiled(encoders, tmp_path, monkeypatch):
    calls = []

    class Compiled:
        def __call__(self, network, *inputs):
            calls.append(network.training)
            return network(*inputs)

    monkeypatch.setattr("dva_core.train.objective.CompiledEvaluation", Compiled)
    plain, compiled = (training(encoders, tmp_path / name, 2, compile=name == "compiled") for name in ("plain", "compiled"))
    assert plain.run() == compiled.run() | {"minutes": plain.validate()["minutes"]}
    assert calls == [True, True]
    assert all(torch.equal(value, compiled.parameters[key]) for key, value in plain.parameters.items())


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "precision": "bf16", "validate_every": 2}])
def test_a_resumed_run_equals_one_never_stopped(encoders, tmp_path, changes):
    whole = training(encoders, tmp_path / "whole", 6, **changes)
    whole.run()

    stopped = training(encoders, tmp_path / "stopped", 6, **changes)
    stopped.progress = lambda: 1.0 if stopped.step >= 3 else stopped.step / 6
    stopped.run()
    resumed = training(encoders, tmp_path / "stopped", 6, **changes)
    resumed.resume()
    assert resumed.step == 3
    resumed.run()

    for key, value in whole.parameters.items():
        assert torch.equal(value, resumed.parameters[key]), key
    for key, value in whole.ema.values.items():
        assert torch.equal(value, resumed.ema.values[key]), key


def test_half_moments_make_a_smaller_state_from_which_a_run_goes_on_as_the_one_that_kept_it(encoders, tmp_path):
    sizes = {}
    for half in (False, True):
        run = training(encoders, tmp_path / str(half), 2, half_moments=half)
        run.run()
        sizes[half] = (tmp_path / str(half) / "state.safetensors").stat().st_size
    assert 0.7 < sizes[True] / sizes[False] < 0.8
    resumed = training(encoders, tmp_path / "True", 4, half_moments=True)
    resumed.resume()
    for one in (run, resumed):
        one.gradient()
        one.update()
    for key, value in run.parameters.items():
        assert torch.equal(value, resumed.parameters[key]), key


def test_accumulated_batches_are_one_large_batch(encoders, tmp_path):
    run = training(encoders, tmp_path / "run", 4, accumulate=2)
    images = torch.rand((4, 2, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = run.draw(torch.zeros(8, 3, 16, 16), run.generator)
    batches, draws = iter([images[:2], images[2:]]), iter([slice(0, 4), slice(4, 8)])
    run.batch, run.draw = lambda: run.condition(next(batches)), lambda *_: Draw(*(part[rows] for rows in [next(draws)] for part in drawn))
    run.gradient()
    accumulated = {k: v.grad.clone() for k, v in run.parameters.items()}
    run.optimiser.zero_grad()
    run.losses(*run.condition(images), drawn)[0].backward()
    assert max(v.grad.abs().max() for v in run.parameters.values()) > 1e-3
    for key, value in run.parameters.items():
        assert torch.allclose(accumulated[key], value.grad, atol=1e-5), key


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_the_noise_predictors_alone_and_still_near(encoders, tmp_path, precision):
    run, plain = training(encoders, tmp_path / "run", 1, precision=precision), training(encoders, tmp_path / "run", 1)
    x_t, t, z_face = torch.randn(4, 3, 16, 16), torch.tensor([5, 300, 600, 990]), torch.randn(4, 16)
    with torch.no_grad():
        for parameter in [*run.unet.out[-1].parameters(), *plain.unet.out[-1].parameters()]:
            parameter.fill_(0.1)
        half, whole = run.predict_noise(x_t, t, z_face), plain.predict_noise(x_t, t, z_face)
    assert half.dtype == torch.float32 and not torch.equal(half, whole)
    assert (half - whole).abs().max() < 0.05 * whole.abs().max()
    run.run()
    assert all(v.dtype == torch.float32 and torch.isfinite(v).all() for v in run.parameters.values())


def test_the_learning_rate_rises_stays_and_falls(encoders, tmp_path):
    run = training(encoders, tmp_path / "run", 1, learning_rate=1.0, warm_up=4)
    assert run.learning_rate(0.0) == 0.25
    run.step = 100
    assert run.learning_rate(0.5) == 1.0 and run.learning_rate(0.875) == 0.5
    assert training(encoders, tmp_path / "run", 1, cool_down=0.0, warm_up=0).learning_rate(0.99) == 8e-4


def test_tensorboard_has_curves_and_the_three_grids(encoders, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = training(encoders, tmp_path / "run", 4, validate_every=2, grid_steps=2)
    run.run(tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    tags = events.Tags()
    assert set(tags["images"]) == {"samples/reconstruction", "samples/random_noise", "samples/switched_identity"}
    assert [event.step for event in events.Scalars("train/simple")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("validation/reg")] == [2, 4]
    assert {"train/learning_rate", "train/reg", "train/gradient_norm", "validation/simple"} <= set(tags["scalars"])


def test_the_loss_falls(encoders, tmp_path):
    run = training(encoders, tmp_path / "run", 40)
    before = run.validate()["simple"]
    after = run.run()["simple"]
    assert after < 0.97 * before


def test_one_identity_for_all_frames_and_each_its_own_motion(encoders, tmp_path):
    run = training(encoders, tmp_path / "run", 1)
    images = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    z_id, points = run.conditioner.encode(images)
    each = run.conditioner.identity(images.flatten(0, 1)).unflatten(0, (2, 3))
    assert torch.allclose(z_id, each.mean(1), atol=1e-6)
    assert points.shape == (2, 3, 68, 2)


def test_the_folded_fusion_layer_is_the_trained_one(encoders, tmp_path):
    conditioner = training(encoders, tmp_path / "run", 1).conditioner.double()  # untrained encoders hardly vary: the gains are large
    z_id, motion = torch.randn(5, 128).double(), torch.rand(5, 102).double()
    weight, bias = fold_scaling(conditioner.fusion.weight, conditioner.fusion.bias, conditioner.centre, conditioner.gain)
    assert torch.allclose(torch.cat([z_id, motion], 1) @ weight.T + bias, conditioner.fuse(z_id, motion), rtol=1e-9, atol=1e-6)


def test_export_holds_the_averaged_weights(encoders, tmp_path):
    run = training(encoders, tmp_path / "run", 2)
    run.run()
    config, tensors = export(tmp_path / "run" / "state.safetensors")
    assert config == CONFIG
    assert all(torch.equal(tensors[key], value) for key, value in run.ema.values.items())


def test_resuming_nothing_says_so(encoders, tmp_path):
    with pytest.raises(DVAError, match="is not there: check --run"):
        training(encoders, tmp_path / "none", 1).resume()


def test_logs_without_tensorboard_are_refused_in_a_sentence(encoders, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        training(encoders, tmp_path / "run", 1).run(tensorboard=True)


def test_a_resumed_run_keeps_its_scaling_and_its_figures_though_the_pictures_change(encoders, tmp_path):
    whole = training(encoders, tmp_path / "run", 2)
    figures = whole.run()
    again = training(encoders, tmp_path / "run", 2)
    again.conditioner.centre += 1
    again.resume()
    assert torch.equal(again.conditioner.centre, whole.conditioner.centre) and torch.equal(again.conditioner.gain, whole.conditioner.gain)
    assert again.run() == figures and figures["step"] == 2


def test_a_run_of_other_encoders_is_not_resumed(encoders, tmp_path):
    training(encoders, tmp_path / "run", 1).run()
    torch.manual_seed(1)
    save_file(build_network(CONFIG["identity_encoder"]).state_dict(), str(encoders / "identity.safetensors"))
    with pytest.raises(DVAError, match="other encoders"):
        training(encoders, tmp_path / "run", 1).resume()


def test_a_saved_state_can_be_replaced_while_a_run_resumed_from_it_goes_on(encoders, tmp_path):
    training(encoders, tmp_path / "run", 1).run()
    resumed = training(encoders, tmp_path / "run", 2)
    resumed.resume()
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("what a process has mapped is told on Linux only")
    assert str(tmp_path / "run" / "state.safetensors") not in maps.read_text()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gradient_that_is_not_finite_changes_nothing(encoders, tmp_path, precision):
    run = training(encoders, tmp_path / "run", 3, precision=precision)
    losses, broken = run.losses, [1]

    def sometimes(*inputs):
        loss, simple, reg = losses(*inputs)
        return (loss * float("nan") if run.step in broken else loss), simple, reg

    run.losses = sometimes
    kept = {}
    update = run.update

    def watched():
        before = {k: v.detach().clone() for k, v in run.parameters.items()}
        update()
        if run.step - 1 in broken:
            kept.update(before)
            assert all(torch.equal(v, before[k]) for k, v in run.parameters.items())
        return 0.0

    run.update = watched
    run.run()
    assert kept and all(torch.isfinite(v).all() for v in [*run.parameters.values(), *run.ema.values.values()])


def test_a_run_without_finite_gradients_ends_and_leaves_what_was_saved(encoders, tmp_path):
    training(encoders, tmp_path / "run", 1).run()
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    run = training(encoders, tmp_path / "run", 100)
    run.resume()
    losses = run.losses
    run.losses = lambda *inputs: tuple(part * float("nan") for part in losses(*inputs))
    with pytest.raises(DVAError, match="not finite in 20 steps in a row"):
        run.run()
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before
