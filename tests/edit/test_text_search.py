"""The search, on a tiny model and an image-text model of one linear layer whose text directions are known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brightness import SIZE, Brightness
from bundles import IDENTITY

from dva_core.diffusion import ddim
from dva_core.edit import apply_switch
from dva_core.edit.text import text_search
from dva_core.edit.text_network import TextNetworks
from dva_core.edit.text_search import TextSearch, has_settled, intermediate_images, rows_of_frames
from dva_core.edit.text_settings import TextSettings
from dva_core.errors import DVAError
from dva_core.model.loader import load_model

from .text_runs import FRAMES, MOTION, QUICK, decomposition, make_decomposition, model, new_search, path

__all__ = ["decomposition", "model", "path"]


def score(images: np.ndarray) -> float:
    """What the text asks for, of the S images."""
    return float(Brightness().encode_images(torch.from_numpy(images))[:, 0].mean())


def images_with(model, decomposition, z_id, images=3):
    """The S images of frame 0 by the solver itself, with the identity z_id."""
    x_0 = torch.from_numpy(decomposition.crops[[0]]).movedim(-1, 1).float() / 127.5 - 1
    x_0 = F.interpolate(x_0, (SIZE, SIZE), mode="area")
    motion = torch.from_numpy(decomposition.z_motion[[0]])
    kept = [x_0]
    ddim.invert(
        model, x_0, model.fuse(torch.from_numpy(decomposition.z_id_frames[0]), motion), images, callback=lambda i, n, x: kept.append(x)
    )
    z_face = model.fuse(torch.from_numpy(z_id), motion)
    path = model.schedule.downwards(images)[::-1]
    return torch.cat([ddim.step(*ddim.estimate(model, x, t, now, z_face), then) for x, (t, now, then) in zip(kept, path)])


@pytest.mark.parametrize(("target", "sign"), [("left bright face", 1), ("right bright face", -1)])
def test_the_images_move_as_the_text_says(model, decomposition, target, sign):
    search = new_search(decomposition, model, target, iterations=40, identity_weight=0.5, l1_weight=0.5)
    best = search.run()
    z_0 = decomposition.z_id_frames[0]
    before, after = (score(images_with(model, decomposition, z).numpy()) for z in (z_0, z_0 + best.step))
    assert sign * (after - before) > 1e-3
    assert search.history[-1] < 0.8 * search.history[0] and best.loss == min(search.history)
    assert np.linalg.norm(z_0 + best.step) == pytest.approx(1, abs=1e-5)


def test_a_step_is_the_solvers_own(model, decomposition):
    search = new_search(decomposition, model)
    with TextNetworks(model, search.text_model) as networks:
        frames = search._prepare(networks)
        kept = intermediate_images(
            networks, frames.noisy[:1], networks.fuse(torch.from_numpy(decomposition.z_id_frames[[0]]), frames.motion), 3
        )
    torch.testing.assert_close(kept, frames.noisy)
    torch.testing.assert_close(frames.source, images_with(model, decomposition, decomposition.z_id_frames[0]), atol=1e-4, rtol=1e-3)
    assert frames.masks.shape == (3, 1, SIZE, SIZE) and frames.masks.mean() == pytest.approx(0.25)


@pytest.mark.parametrize(("dtype", "inference"), [("fp32", False), ("fp32", True), ("bf16", False), ("fp16", True)])
def test_the_differentiable_copy_tells_the_same_noise(path, dtype, inference):
    with torch.inference_mode(inference):
        loaded = load_model(path, device="cpu", dtype=dtype)
    x_t, t, z_face = torch.randn(3, 3, SIZE, SIZE), torch.tensor([10, 400, 900]), torch.randn(3, loaded.face_dim, requires_grad=True)
    with TextNetworks(loaded, Brightness()) as networks:
        noise = networks.predict_noise(x_t, t, z_face)
        torch.testing.assert_close(noise, load_model(path, device="cpu").predict_noise(x_t, t, z_face), atol=0.02, rtol=0.02)
        assert torch.autograd.grad(noise.sum(), z_face)[0].abs().max() > 0


def test_the_loss_is_the_three_terms_by_their_weights(model, decomposition):
    search = new_search(decomposition, model, clip_weight=2.0, identity_weight=3.0, l1_weight=7.0)
    best = search.run()
    parts = best.parts
    assert best.loss == pytest.approx(2 * parts["clip"] + 3 * parts["identity"] + 7 * parts["l1"], rel=1e-5)
    z_0 = decomposition.z_id_frames[0]
    after, before = (images_with(model, decomposition, z) for z in (z_0 + best.step, z_0))
    assert parts["l1"] == pytest.approx(float((after - before).abs()[:, :, 4:12, 4:12].sum() / after.numel()), rel=1e-3)
    assert parts["identity"] == pytest.approx(1 - z_0 @ (z_0 + best.step), abs=1e-5)


def test_heavier_weights_hold_back(model, decomposition):
    free = new_search(decomposition, model, iterations=15, identity_weight=0, l1_weight=0).run()
    near = new_search(decomposition, model, iterations=15, identity_weight=500, l1_weight=0).run()
    alike = new_search(decomposition, model, iterations=15, identity_weight=0, l1_weight=2000).run()
    assert np.linalg.norm(near.step) < 0.7 * np.linalg.norm(free.step)
    assert alike.parts["l1"] < 0.7 * free.parts["l1"] and free.parts["clip"] < near.parts["clip"]


def test_the_same_seed_gives_the_same_step_bit_for_bit(model, decomposition):
    first, again, other = (new_search(decomposition, model, seed=seed).run().step for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    state = torch.random.get_rng_state()
    new_search(decomposition, model).run()
    assert torch.equal(state, torch.random.get_rng_state())


def test_fewer_images_at_a_time_change_nothing(model, decomposition):
    whole, saved = new_search(decomposition, model, frames=[0, 5]), new_search(decomposition, model, frames=[0, 5], save_memory=True)
    np.testing.assert_allclose(whole.run().step, saved.run().step, atol=2e-5)
    assert max(saved.text_model.batches[4:]) == 1 and max(whole.text_model.batches) == 6


def test_where_memory_runs_out_it_goes_on_with_fewer(model, decomposition):
    class Small(Brightness):
        def encode_images(self, images):
            if len(images) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().encode_images(images)

    search = text_search(decomposition, model, "face", "left", clip_model=Small(), frames=[0, 5], **QUICK)
    np.testing.assert_allclose(search.run().step, new_search(decomposition, model, "left", frames=[0, 5]).run().step, atol=2e-5)

    class None_(Brightness):
        def encode_images(self, images):
            if images.requires_grad:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().encode_images(images)

    with pytest.raises(DVAError, match="does not hold one image's gradient"):
        text_search(decomposition, model, "face", "left", clip_model=None_(), **QUICK).run()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_runs_in_inference_mode_and_leaves_the_model_alone(path, model, decomposition, precision):
    with torch.inference_mode():
        shared = load_model(path, device="cpu", dtype=precision)
        before = {name: value.clone() for name, value in shared.state_dict().items()}
        assert next(shared.noise_predictor.parameters()).is_inference()
        step = new_search(make_decomposition(shared), shared).run().step
    for name, value in shared.state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == before[name].dtype
    assert not shared.training and all(weight.grad is None for weight in shared.parameters())
    assert shared.host._on_device.keys() <= {"noise_predictor", "fusion"}  # the copy is gone
    np.testing.assert_allclose(step, new_search(decomposition, model).run().step, atol=3e-5 if precision == "fp32" else 0.05)


def test_gradients_go_to_the_step_alone(model, decomposition):
    new_search(decomposition, model).run()
    assert all(weight.grad is None and not weight.requires_grad for weight in model.parameters())


def test_cancelling_keeps_the_best_so_far(model, decomposition):
    class Cancelled(Exception):
        pass

    def cancel(phase, done, total, preview=None):
        assert phase == "text" and total == 8
        if done == 5:
            raise Cancelled

    search = new_search(decomposition, model)
    with pytest.raises(DVAError, match="before its first step"):
        search.direction()
    with pytest.raises(Cancelled):
        search.run(cancel)
    assert len(search.history) == 5 and search.best.loss == min(search.history)
    direction = search.direction()
    assert direction.made["iterations"] == 5 and direction.name == "left bright face"


def test_progress_shows_the_images(model, decomposition):
    calls = []
    new_search(decomposition, model).run(
        lambda phase, done, total, preview=None: calls.append((done, None if preview is None else preview.shape))
    )
    assert [done for done, _ in calls] == list(range(1, 9))
    assert [shape for _, shape in calls if shape] == [(SIZE, 3 * SIZE, 3)] * 3 and calls[0][1]


def test_it_ends_when_the_loss_has_settled(model, decomposition):
    fast = {"iterations": 150, "learning_rate": 0.02, "images": 1}
    fixed, free = new_search(decomposition, model, **fast), new_search(decomposition, model, **fast, settle=True)
    assert fixed.run().loss <= free.run().loss < 1.02 * fixed.best.loss
    assert free.iterations < 120 and fixed.iterations == 150
    np.testing.assert_array_equal(free.history, fixed.history[: free.iterations])


def test_settled():
    assert not has_settled([1.0] * 59) and has_settled([1.0] * 60)
    assert not has_settled(list(np.linspace(2, 1, 60))) and has_settled([*np.linspace(9, 1, 50), *[1.0] * 80])


def test_several_frames_share_one_step(model, decomposition):
    search = new_search(decomposition, model, frames=[6, 0, 3, 0])
    assert search.rows == [0, 1, 3] and search.frames == [0, 1, 6]
    assert search.run().step.shape == (IDENTITY,)
    assert rows_of_frames(decomposition, 4) == [2]
    for frames, message in (([8], "frames 0 to 7"), ([-1], "no frame -1"), ([], "No frame was chosen")):
        with pytest.raises(DVAError, match=message):
            new_search(decomposition, model, frames=frames)


def test_it_starts_from_the_identity_as_it_was_edited(model, decomposition):
    edited = decomposition.with_edit({"name": "attributes", "scales": {}}, z_id=decomposition.z_id[::-1].copy())
    search = new_search(edited, model)
    with TextNetworks(model, search.text_model) as networks:
        frames = search._prepare(networks)
    moved = decomposition.z_id_frames[0] + decomposition.z_id[::-1] - decomposition.z_id
    np.testing.assert_allclose(frames.z_0[0], moved / np.linalg.norm(moved), atol=1e-6)
    torch.testing.assert_close(frames.noisy, search_kept(decomposition, model))


def search_kept(decomposition, model):
    """What the frame itself is inverted to has nothing to do with edits."""
    search = new_search(decomposition, model)
    with TextNetworks(model, search.text_model) as networks:
        return search._prepare(networks).noisy


def test_another_models_decomposition_is_refused_before_anything_is_loaded(path, model, decomposition):
    other = load_model(path, device="cpu")
    other.fingerprint = "beef"
    with pytest.raises(DVAError, match="encoded with the model"):
        TextSearch(decomposition, other, Brightness(), TextSettings(target="left"))


def test_the_crops_are_inverted_with_their_own_motion_whatever_was_switched(decomposition, model):
    kept = []
    for motion in (0.2, 0.8):
        other = make_decomposition(model)
        other.store.write("z_motion", 0, np.full((FRAMES, MOTION), motion))
        switched = apply_switch(decomposition, model, other, motion=True)
        search = new_search(switched, model)
        with TextNetworks(model, Brightness()) as networks:
            frames = search._prepare(networks)
        kept.append(frames.noisy)
        np.testing.assert_allclose(
            frames.motion.cpu(), motion, rtol=1e-6
        )  # the step is sought for the motion with which the video is decoded
    assert torch.equal(*kept)
