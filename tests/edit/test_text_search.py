"""The search, on a tiny model and an image-text model of one linear layer whose text directions are known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from brightness import SIZE, Brightness
from bundles import IDENTITY, tiny_config, write_tiny

from dva_core.decomposition import Decomposition
from dva_core.decomposition.arrays import array_specs
from dva_core.decomposition.info import DecompositionInfo
from dva_core.decomposition.tensorfile import TensorMemory
from dva_core.diffusion import ddim
from dva_core.edit import apply_operations, apply_switch, apply_text
from dva_core.edit.text import find_text_direction, text_search
from dva_core.edit.text_network import TextNetworks
from dva_core.edit.text_search import TextSearch, has_settled, intermediate_images, rows_of_frames
from dva_core.edit.text_settings import TextSettings
from dva_core.errors import DVAError
from dva_core.model.loader import load_model

FRAMES, CROP, MOTION = 4, 32, 102
QUICK = {"iterations": 8, "settle": False, "images": 3}


def score(images: np.ndarray) -> float:
    """What the text asks for, of the S images."""
    return float(Brightness().encode_images(torch.from_numpy(images))[:, 0].mean())


def make_clip(model) -> Decomposition:
    store = TensorMemory(array_specs(FRAMES, SIZE, CROP, IDENTITY, MOTION), {})
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((FRAMES, IDENTITY)) * 0.3 + 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    masks = np.zeros((FRAMES, CROP, CROP))
    masks[:, 8:24, 8:24] = 1
    store.write("z_id_frames", 0, vectors)
    store.write("z_id", 0, vectors.mean(0))
    store.write("z_motion", 0, rng.random((FRAMES, MOTION)))
    store.write("frame_index", 0, [0, 1, 5, 6])  # frames 2 to 4 have no face
    store.write("crops", 0, rng.integers(0, 256, (FRAMES, CROP, CROP, 3)))
    store.write("masks", 0, masks)
    return Decomposition(store, DecompositionInfo("/films/a.mp4", "", 4, 4, 25, 8, model_fingerprint=model.fingerprint, model_name="tiny"))


@pytest.fixture(scope="module", params=["epsilon", "v"])
def path(request, tmp_path_factory):
    config = tiny_config()
    config["diffusion"]["prediction"] = request.param
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors", config=config)


@pytest.fixture(scope="module")
def model(path):
    return load_model(path, device="cpu")


@pytest.fixture(scope="module")
def clip(model):
    return make_clip(model)


def search(clip, model, target="left bright face", source="face", **settings):
    return text_search(clip, model, source, target, clip_model=Brightness(), **{**QUICK, **settings})


def images_with(model, clip, z_id, images=3):
    """The S images of frame 0 by the solver itself, with the identity z_id."""
    x_0 = torch.from_numpy(clip.crops[[0]]).movedim(-1, 1).float() / 127.5 - 1
    x_0 = F.interpolate(x_0, (SIZE, SIZE), mode="area")
    motion = torch.from_numpy(clip.z_motion[[0]])
    kept = [x_0]
    ddim.invert(model, x_0, model.fuse(torch.from_numpy(clip.z_id_frames[0]), motion), images, callback=lambda i, n, x: kept.append(x))
    z_face = model.fuse(torch.from_numpy(z_id), motion)
    path = model.schedule.downwards(images)[::-1]
    return torch.cat([ddim.step(*ddim.estimate(model, x, t, now, z_face), then) for x, (t, now, then) in zip(kept, path)])


@pytest.mark.parametrize(("target", "sign"), [("left bright face", 1), ("right bright face", -1)])
def test_the_images_move_as_the_text_says(model, clip, target, sign):
    found = search(clip, model, target, iterations=40, identity_weight=0.5, l1_weight=0.5)
    best = found.run()
    z_0 = clip.z_id_frames[0]
    before, after = (score(images_with(model, clip, z).numpy()) for z in (z_0, z_0 + best.step))
    assert sign * (after - before) > 1e-3
    assert found.history[-1] < 0.8 * found.history[0] and best.loss == min(found.history)
    assert np.linalg.norm(z_0 + best.step) == pytest.approx(1, abs=1e-5)


def test_a_step_is_the_solvers_own(model, clip):
    found = search(clip, model)
    with TextNetworks(model, found.text_model) as networks:
        frames = found._prepare(networks)
        kept = intermediate_images(networks, frames.noisy[:1], networks.fuse(torch.from_numpy(clip.z_id_frames[[0]]), frames.motion), 3)
    torch.testing.assert_close(kept, frames.noisy)
    torch.testing.assert_close(frames.source, images_with(model, clip, clip.z_id_frames[0]), atol=1e-4, rtol=1e-3)
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


def test_the_loss_is_the_three_terms_by_their_weights(model, clip):
    found = search(clip, model, clip_weight=2.0, identity_weight=3.0, l1_weight=7.0)
    best = found.run()
    parts = best.parts
    assert best.loss == pytest.approx(2 * parts["clip"] + 3 * parts["identity"] + 7 * parts["l1"], rel=1e-5)
    z_0 = clip.z_id_frames[0]
    after, before = (images_with(model, clip, z) for z in (z_0 + best.step, z_0))
    assert parts["l1"] == pytest.approx(float((after - before).abs()[:, :, 4:12, 4:12].sum() / after.numel()), rel=1e-3)
    assert parts["identity"] == pytest.approx(1 - z_0 @ (z_0 + best.step), abs=1e-5)


def test_heavier_weights_hold_back(model, clip):
    free = search(clip, model, iterations=15, identity_weight=0, l1_weight=0).run()
    near = search(clip, model, iterations=15, identity_weight=500, l1_weight=0).run()
    alike = search(clip, model, iterations=15, identity_weight=0, l1_weight=2000).run()
    assert np.linalg.norm(near.step) < 0.7 * np.linalg.norm(free.step)
    assert alike.parts["l1"] < 0.7 * free.parts["l1"] and free.parts["clip"] < near.parts["clip"]


def test_the_same_seed_gives_the_same_step_bit_for_bit(model, clip):
    first, again, other = (search(clip, model, seed=seed).run().step for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    state = torch.random.get_rng_state()
    search(clip, model).run()
    assert torch.equal(state, torch.random.get_rng_state())


def test_fewer_images_at_a_time_change_nothing(model, clip):
    whole, saved = search(clip, model, frames=[0, 5]), search(clip, model, frames=[0, 5], save_memory=True)
    np.testing.assert_allclose(whole.run().step, saved.run().step, atol=2e-5)
    assert max(saved.text_model.seen[4:]) == 1 and max(whole.text_model.seen) == 6


def test_where_memory_runs_out_it_goes_on_with_fewer(model, clip):
    class Small(Brightness):
        def encode_images(self, images):
            if len(images) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().encode_images(images)

    found = text_search(clip, model, "face", "left", clip_model=Small(), frames=[0, 5], **QUICK)
    np.testing.assert_allclose(found.run().step, search(clip, model, "left", frames=[0, 5]).run().step, atol=2e-5)

    class None_(Brightness):
        def encode_images(self, images):
            if images.requires_grad:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().encode_images(images)

    with pytest.raises(DVAError, match="does not hold one image's gradient"):
        text_search(clip, model, "face", "left", clip_model=None_(), **QUICK).run()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_runs_in_inference_mode_and_leaves_the_model_alone(path, model, clip, precision):
    with torch.inference_mode():
        shared = load_model(path, device="cpu", dtype=precision)
        before = {name: value.clone() for name, value in shared.state_dict().items()}
        assert next(shared.noise_predictor.parameters()).is_inference()
        step = search(make_clip(shared), shared).run().step
    for name, value in shared.state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == before[name].dtype
    assert not shared.training and all(weight.grad is None for weight in shared.parameters())
    assert shared.host._on_device.keys() <= {"noise_predictor", "fusion"}  # the copy is gone
    np.testing.assert_allclose(step, search(clip, model).run().step, atol=3e-5 if precision == "fp32" else 0.05)


def test_gradients_go_to_the_step_alone(model, clip):
    search(clip, model).run()
    assert all(weight.grad is None and not weight.requires_grad for weight in model.parameters())


def test_cancelling_keeps_the_best_so_far(model, clip):
    class Cancelled(Exception):
        pass

    def cancel(phase, done, total, preview=None):
        assert phase == "text" and total == 8
        if done == 5:
            raise Cancelled

    found = search(clip, model)
    with pytest.raises(DVAError, match="before its first step"):
        found.direction()
    with pytest.raises(Cancelled):
        found.run(cancel)
    assert len(found.history) == 5 and found.best.loss == min(found.history)
    direction = found.direction()
    assert direction.made["iterations"] == 5 and direction.name == "left bright face"


def test_progress_shows_the_images(model, clip):
    shown = []
    search(clip, model).run(lambda phase, done, total, preview=None: shown.append((done, None if preview is None else preview.shape)))
    assert [done for done, _ in shown] == list(range(1, 9))
    assert [shape for _, shape in shown if shape] == [(SIZE, 3 * SIZE, 3)] * 3 and shown[0][1]


def test_it_ends_when_the_loss_has_settled(model, clip):
    fast = {"iterations": 150, "learning_rate": 0.02, "images": 1}
    fixed, free = search(clip, model, **fast), search(clip, model, **fast, settle=True)
    assert fixed.run().loss <= free.run().loss < 1.02 * fixed.best.loss
    assert free.iterations < 120 and fixed.iterations == 150
    np.testing.assert_array_equal(free.history, fixed.history[: free.iterations])


def test_settled():
    assert not has_settled([1.0] * 59) and has_settled([1.0] * 60)
    assert not has_settled(list(np.linspace(2, 1, 60))) and has_settled([*np.linspace(9, 1, 50), *[1.0] * 80])


def test_several_frames_share_one_step(model, clip):
    found = search(clip, model, frames=[6, 0, 3, 0])
    assert found.rows == [0, 1, 3] and found.frames == [0, 1, 6]
    assert found.run().step.shape == (IDENTITY,)
    assert rows_of_frames(clip, 4) == [2]
    for frames, message in (([8], "frames 0 to 7"), ([-1], "no frame -1"), ([], "No frame was chosen")):
        with pytest.raises(DVAError, match=message):
            search(clip, model, frames=frames)


def test_it_starts_from_the_identity_as_it_was_edited(model, clip):
    edited = clip.with_edit({"name": "attributes", "scales": {}}, z_id=clip.z_id[::-1].copy())
    found = search(edited, model)
    with TextNetworks(model, found.text_model) as networks:
        frames = found._prepare(networks)
    moved = clip.z_id_frames[0] + clip.z_id[::-1] - clip.z_id
    np.testing.assert_allclose(frames.z_0[0], moved / np.linalg.norm(moved), atol=1e-6)
    torch.testing.assert_close(frames.noisy, search_kept(clip, model))


def search_kept(clip, model):
    """What the frame itself is inverted to has nothing to do with edits."""
    found = search(clip, model)
    with TextNetworks(model, found.text_model) as networks:
        return found._prepare(networks).noisy


def test_the_edit_is_recorded_as_a_direction_and_repeated_without_a_search(model, clip, tmp_path):
    edited = apply_text(clip, model, "face", "left", scale=0.5, clip_model=Brightness(), **QUICK)
    direction = find_text_direction(clip, model, "face", "left", clip_model=Brightness(), **QUICK)
    expected = clip.z_id + 0.5 * direction.vector
    np.testing.assert_allclose(edited.current_z_id, expected / np.linalg.norm(expected), atol=1e-6)
    edited.save(tmp_path / "clip.safetensors")
    loaded = Decomposition.load(tmp_path / "clip.safetensors")
    np.testing.assert_array_equal(loaded.current_z_id, edited.current_z_id)
    np.testing.assert_array_equal(apply_operations(clip, model, loaded.operations).current_z_id, edited.current_z_id)
    made = loaded.operations[0]["direction"]["made"]
    assert (made["how"], made["source"], made["target"], made["clip"], made["frames"]) == ("text", "face", "left", "a.mp4", [0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": " "}, "needs a source and a target"),
        ({"images": 0}, "number of images cannot be 0"),
        ({"iterations": 0}, "number of iterations cannot be 0"),
        ({"clip_weight": -1.0}, r"weights \(-1.0"),
        ({"learning_rate": 0.0}, "learning rate 0"),
        ({"target": "face"}, "mean the same"),
        ({"scale": 77}, "The scale 77 of left makes no sense"),
    ],
)
def test_settings_that_make_no_sense_are_refused(model, clip, settings, message):
    with pytest.raises(DVAError, match=message):
        apply_text(clip, model, **{"target": "left", "clip_model": Brightness(), **QUICK, **settings})


def test_another_models_clip_is_refused_before_anything_is_loaded(path, model, clip):
    other = load_model(path, device="cpu")
    other.fingerprint = "beef"
    with pytest.raises(DVAError, match="encoded with the model"):
        TextSearch(clip, other, Brightness(), TextSettings(target="left"))


def test_the_crops_are_inverted_with_their_own_motion_whatever_was_switched(clip, model):
    kept = []
    for motion in (0.2, 0.8):
        other = make_clip(model)
        other.store.write("z_motion", 0, np.full((FRAMES, MOTION), motion))
        switched = apply_switch(clip, model, other, motion=True)
        sought = search(switched, model)
        with TextNetworks(model, Brightness()) as networks:
            frames = sought._prepare(networks)
        kept.append(frames.noisy)
        np.testing.assert_allclose(frames.motion.cpu(), motion, rtol=1e-6)  # the change is sought where the video will be shown
    assert torch.equal(*kept)


def test_settings_are_kept_as_json_keeps_them():
    odd = TextSettings(target="x", images=np.int64(3), iterations=np.int32(7), seed=np.int64(1), learning_rate=np.float32(0.5))
    assert all(type(value) in (int, float, str, bool) for value in vars(odd).values())
    with pytest.raises(DVAError, match="cannot be"):
        TextSettings(target="x", iterations="7")


def test_settings_have_their_older_names_too(clip, model):
    older = text_search(clip, model, "face", "left", clip=Brightness(), steps=8, checkpoint=True)
    newer = text_search(clip, model, "face", "left", clip_model=Brightness(), iterations=8, save_memory=True)
    assert older.settings == newer.settings and isinstance(older.text_model, Brightness)
