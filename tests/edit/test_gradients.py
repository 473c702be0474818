"""Directions as the model shows them: without the face's colour, with what the picture is told by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bundles import IDENTITY, tiny_config, write_tiny

from dva_core.edit import gradients as gradients_module
from dva_core.edit.gradients import (
    classifier_outputs,
    mean_colour,
    mean_gradients,
    mix_direction,
    remove_components,
    spread,
    visible_direction,
)
from dva_core.model.loader import load_model

from .painter import PICTURES, Painter


def test_what_is_left_no_gradient_sees():
    rng = np.random.default_rng(0)
    steps, gradients = rng.standard_normal((5, 12)), rng.standard_normal((3, 12))
    freed = remove_components(steps, gradients)
    np.testing.assert_allclose(freed @ gradients.T, 0, atol=1e-9)
    np.testing.assert_allclose(remove_components(freed, gradients), freed, atol=1e-12)  # nothing but that is taken away
    assert np.linalg.matrix_rank(steps - freed) == 3


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_mixture_is_between_both_and_sees_no_colour(share):
    weight, earned, *colours = np.random.default_rng(1).standard_normal((5, 12))
    mixed = mix_direction(weight, earned, np.stack(colours), share)
    np.testing.assert_allclose(mixed @ np.stack(colours).T, 0, atol=1e-9)
    own, slope = remove_components(np.stack([weight, earned]), np.stack(colours))
    np.testing.assert_allclose(mixed, (1 - share) * own / np.linalg.norm(own) + share * slope / np.linalg.norm(slope), atol=1e-9)
    np.testing.assert_allclose(
        mix_direction(weight, 0 * earned, 0 * np.stack(colours), 0.2), 0.8 * weight / np.linalg.norm(weight), atol=1e-9
    )


def test_the_gradient_is_that_of_the_faces_mean_colour():
    np.testing.assert_allclose(mean_gradients(Painter(), PICTURES, mean_colour), np.eye(3, 5), atol=1e-4)


def test_the_verdict_is_that_of_the_pasted_face():
    """z_id's first number is red: a step of 1 makes the face that much redder, and the picture by the face's share of it."""
    weights = np.array([[1.0, 0, 0, 0, 0], [0, 3.0, 0, 0, 0], [0, 0, 0, 1.0, 0]])
    gradients = mean_gradients(Painter(), PICTURES, classifier_outputs(Painter(), weights))
    share = gradients[0, 0] / 2
    assert 0.05 < share < 0.95
    np.testing.assert_allclose(gradients, share * np.array([[2.0, 0, 0, 0, 0], [0, 3, 0, 0, 0], [0, 0, 0, 0, 0]]), atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_every_noise_of_every_picture_counts_alike_however_many_at_a_time(monkeypatch, batch):
    monkeypatch.setattr(gradients_module, "usual_batch", lambda model: batch * gradients_module.GRADIENT_MEMORY)
    sizes, calls, weights = [], [], iter(torch.arange(1.0, 1000))

    def sees(seen):
        sizes.append(len(seen.x_0))
        return seen.z_id[:, :1] * torch.stack([next(weights) for _ in seen.z_id])[:, None]

    gradients = mean_gradients(Painter(), PICTURES, sees, lambda phase, done, total, preview=None: calls.append((phase, done, total)))
    total = len(PICTURES) * len(gradients_module.SEEDS) * len(gradients_module.TIMESTEPS)
    assert sum(sizes) == total and max(sizes) == batch and calls[-1] == ("shown", total, total)
    np.testing.assert_allclose(gradients, [[(total + 1) / 2, 0, 0, 0, 0]], atol=1e-6)


def test_where_memory_runs_out_it_goes_on_with_fewer_at_a_time(monkeypatch):
    monkeypatch.setattr(gradients_module, "usual_batch", lambda model: 5 * gradients_module.GRADIENT_MEMORY)

    def sees(seen):
        if len(seen.x_0) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return mean_colour(seen)

    np.testing.assert_allclose(mean_gradients(Painter(), PICTURES, sees), np.eye(3, 5), atol=1e-4)


def test_pictures_are_chosen_evenly():
    assert spread(np.arange(100), 4).tolist() == [0, 33, 66, 99] and spread(np.arange(3), 4).tolist() == [0, 1, 2]


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_model_loaded_for_inference_alone_gives_the_same_direction(tmp_path, prediction):
    config = tiny_config()
    config["diffusion"]["prediction"] = prediction
    path = write_tiny(tmp_path / "tiny.safetensors", config=config)
    rng = np.random.default_rng(2)
    pictures, weight, std = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8), rng.standard_normal(IDENTITY), rng.uniform(1, 2, IDENTITY)
    expected = visible_direction(load_model(path, device="cpu"), weight, std, pictures)
    assert np.isfinite(expected).all() and not np.allclose(expected / np.linalg.norm(expected), weight / np.linalg.norm(weight), atol=1e-2)
    with torch.inference_mode():
        model = load_model(path, device="cpu")
        before = {name: value.clone() for name, value in model.state_dict().items()}
        np.testing.assert_allclose(visible_direction(model, weight, std, pictures), expected, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    half = visible_direction(load_model(path, device="cpu", dtype="bf16"), weight, std, pictures)
    assert half @ expected > 0.99 * np.linalg.norm(half) * np.linalg.norm(expected)


def test_it_may_be_cancelled(tmp_path):
    def progress(phase, done, total, preview=None):
        raise KeyboardInterrupt

    model = load_model(write_tiny(tmp_path / "tiny.safetensors"), device="cpu")
    with pytest.raises(KeyboardInterrupt):
        visible_direction(model, np.ones(IDENTITY), np.ones(1), np.zeros((2, 32, 32, 3), np.uint8), progress)
