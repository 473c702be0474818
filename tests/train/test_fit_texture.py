"""Textures fitted to the looks of pairs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dva_core.diffusion.schedule import Schedule
from dva_core.errors import DVAError, MissingFileError
from dva_core.faces.regions import MEAN_FACE
from dva_core.networks.retouch import PARTED, FaceRetouch
from dva_core.networks.texture import BOX, LANDMARKS, FaceRemainder, FaceTexture
from dva_core.networks.unet import UNet
from dva_core.train.fit_texture import (
    FIRST,
    FULL_SIGMA,
    fit_gates,
    fit_retouch,
    patterns_of,
    read_landmarks,
    readers,
    split_face,
    split_mouths,
)
from dva_core.train.looks import SIZE as LOOKS_SIZE
from dva_core.train.looks import Looks
from dva_core.train.moves import MOVES
from dva_core.train.pair_objective import move_identity
from dva_core.train.pairs import ATTRIBUTE, KINDS, MOTION

from .pair_runs import paired
from .runs import CONFIG

SIZES = {"image_size": 16, "patch_size": 2, "base_channels": 64, "channel_multipliers": (1, 2), "num_res_blocks": 1,
         "attention_resolutions": (), "embedding_channels": 256, "condition_channels": 16}  # fmt: skip
TEXTURE = {"spatial_channels": 2, "spatial_size": 4, "texture_rank": 2, "texture_size": 8, "identity_channels": 4}
PEOPLE = 8  # values of an identity


@pytest.fixture
def fusion():
    """A fusion layer, with the centre and gain of its inputs."""
    torch.manual_seed(0)
    centre = torch.cat([torch.randn(PEOPLE) * 0.1, torch.full((2 * LANDMARKS,), 0.5)])
    gain = torch.cat([torch.ones(PEOPLE), torch.full((2 * LANDMARKS,), 40.0)])
    return torch.nn.Linear(len(centre), len(centre) + 20).requires_grad_(False), centre, gain


def fuse(fusion, z_id, motion):
    layer, centre, gain = fusion
    return layer((torch.cat([z_id, motion], 1) - centre) * gain)


def faces(count: int = 20):
    return F.normalize(torch.randn(count, PEOPLE), dim=1), 0.5 + 0.02 * torch.randn(count, 2 * LANDMARKS)


def test_landmarks_are_read_from_the_fused_vector(fusion):
    layer, centre, gain = fusion
    texture, (z_id, motion) = FaceTexture(layer.out_features, 1, 8, 16, 2), faces()
    read_landmarks(texture, *fusion)
    with torch.no_grad():
        read = texture.mean.weight[:, 0] + texture.points(fuse(fusion, z_id, motion))
    torch.testing.assert_close(read, motion, rtol=0, atol=1e-5)
    with pytest.raises(DVAError, match="face_dim must be 110 or more"):
        read_landmarks(texture, torch.nn.Linear(len(centre), 100), centre, gain)


@torch.no_grad()
def test_the_rest_of_a_face_is_the_same_whatever_steps_are_added(fusion):
    layer, *_ = fusion
    rest, (z_id, motion) = FaceRemainder(layer.out_features, PEOPLE), faces()
    z_face = fuse(fusion, z_id, motion)
    torch.testing.assert_close(rest(z_face), z_face)  # before it is fitted
    steps = 0.6 * torch.linalg.qr(torch.randn(PEOPLE, 3))[0].T
    split_face(rest, *fusion, steps)
    expected = rest(z_face)
    moved = fuse(fusion, F.normalize(z_id + steps[0] - 0.5 * steps[2], dim=1), motion)
    torch.testing.assert_close(rest(moved), expected, rtol=0, atol=1e-4)
    other = fuse(fusion, z_id.roll(1, 0), motion)
    assert (rest(other) - expected).abs().mean() > 0.02  # people and landmarks stay
    assert (rest(fuse(fusion, z_id, motion.roll(1, 0))) - expected).abs().mean() > 0.02


def test_readers_tell_steps_apart_and_see_little_of_people():
    torch.manual_seed(0)
    people = torch.randn(500, 12) @ torch.randn(12, 12)
    steps = torch.randn(12, 3)
    rows = readers(steps, people)
    torch.testing.assert_close(rows @ steps, torch.eye(3), rtol=0, atol=1e-3)
    assert (people @ rows.T).std(0).max() < (people @ torch.linalg.pinv(steps).T).std(0).min()


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
def test_gates_blend_into_the_estimate_of_the_image(prediction):
    torch.manual_seed(0)
    network, schedule = UNet(**SIZES, **TEXTURE).eval().requires_grad_(False), Schedule(prediction=prediction)
    fit_gates(network, schedule)
    blend = network.texture_blend
    texture = torch.randn(1, 24, 8, 8) * 0.3
    a, b = (F.pixel_shuffle(part, 2) for part in texture.chunk(2, 1))
    for step in (150, 400, 700):
        t = torch.tensor([step])
        x_t, out = torch.randn(1, 3, 16, 16), torch.randn(1, 3, 16, 16)
        alpha = schedule.at(t, x_t)
        assert (1 - alpha).sqrt() > FULL_SIGMA

        def image(output):
            noise = schedule.as_noise(output, x_t, t)  # noqa: B023 (called in this round only)
            return (x_t - (1 - alpha).sqrt() * noise) / alpha.sqrt()  # noqa: B023

        blended = blend(F.pixel_unshuffle(out, 2), F.pixel_unshuffle(x_t, 2), texture, network.time_embed(t, torch.float32))
        plain = image(out)
        expected = plain + a + b * plain
        error = (image(F.pixel_shuffle(blended, 2)) - expected).abs().mean() / (expected - plain).abs().mean()
        assert error < 0.1, (step, error)
    fit_gates(network, schedule, np.full(schedule.train_steps, 0.6))
    gates = blend.gates(F.silu(network.time_embed(torch.tensor([0, 500]), torch.float32)))
    assert gates[1, 3] == pytest.approx(0.6, abs=0.05)
    sigma = (1 - schedule.alphas_cumprod[0]).sqrt()
    assert sigma * gates[0, :3].abs().max() < 0.1 * gates[1, :3].abs().max()  # a picture without noise shows it already


@torch.no_grad()
def test_patterns_lie_where_the_motion_encoder_sees_the_mean_face():
    torch.manual_seed(0)
    texture = FaceTexture(16, 1, 48, 64, 4)
    landmarks = np.float32(0.3 + 0.4 * np.random.default_rng(0).random((68, 2)))
    left, top, side = BOX
    texture.mean.weight.copy_(torch.from_numpy(landmarks[17:] + (0.05, 0.0)).reshape(-1, 1))  # seen a little to the right
    maps = np.zeros((2, 6, 64, 64), np.float32)
    maps[:, :, 30:34, 30:34] = 1
    step = torch.zeros(2, 2 * LANDMARKS)
    step[1, 1::2] = 0.1  # downwards: what is drawn there belongs to a place that lies higher on the mean face
    spots = patterns_of(Looks(landmarks, maps, np.zeros((2, 3, 64, 64), np.float32)), texture, (torch.zeros(2, 4), step)).T.reshape(
        2, 6, 48, 48
    )
    at = (torch.arange(48) + 0.5) / 48 * side
    for spot, down in zip(spots[:, 0], (0.0, -0.1)):
        centre = [float((spot * places).sum() / spot.sum()) for places in (left + at, (top + at)[:, None])]
        assert centre == pytest.approx([0.55, 0.5 + down], abs=0.01)


@torch.no_grad()
def test_teeth_get_a_pattern_of_their_own():
    rank, motion = len(KINDS) + len(MOTION), KINDS.index("Smiling")
    texture, retouch = FaceTexture(4 + 2 * LANDMARKS, rank, 48, 64, 4), FaceRetouch(rank, 24)
    landmarks = np.float32(MEAN_FACE)
    texture.mean.weight.copy_(torch.from_numpy(landmarks[17:]).reshape(-1, 1))
    looks = Looks(
        landmarks, np.ones((len(KINDS), 6, LOOKS_SIZE, LOOKS_SIZE), np.float32), np.full((len(KINDS), 3, 32, 32), 0.1, np.float32)
    )
    steps = (torch.zeros(len(KINDS), 4), torch.zeros(len(KINDS), 2 * LANDMARKS))
    texture.patterns.weight[:, : len(KINDS)] = patterns_of(looks, texture, steps)
    before = texture.patterns.weight.clone()
    fit_retouch(retouch, texture, looks, steps, torch.zeros(0, 2 * LANDMARKS))
    split_mouths(retouch, texture, looks, steps)
    own, rest = (texture.patterns.weight[:, row].reshape(6, 48, 48) for row in (len(KINDS), motion))
    torch.testing.assert_close((own + rest).flatten(), before[:, motion])  # together they are what was one
    left, top, side = BOX
    (x, y), (cheek_x, cheek_y) = (
        ((points.mean(0) - (left, top)) / side * 48).astype(int) for points in (landmarks[60:68], landmarks[[2, 31]])
    )
    assert own[0, y, x] > 0.95 and rest[0, cheek_y, cheek_x] > 0.95
    for values in (texture.weights.weight, texture.weights.bias):
        assert torch.equal(values[[len(KINDS), rank + len(KINDS)]], values[[motion, rank + motion]])
    assert retouch.closed.weight[:, 0].tolist() == [0.0] * len(KINDS) + [PARTED] * len(MOTION)
    assert retouch.patterns.weight[:, : len(KINDS)].min() > 0.09 and not retouch.patterns.weight[:, len(KINDS) :].any()


def test_a_run_fits_its_texture_first_and_goes_on_where_it_stopped(encoders, tmp_path):
    predictor = CONFIG["noise_predictor"] | {"condition_channels": 240, "spatial_channels": 2, "spatial_size": 4, "texture_rank": 20,
                                             "texture_size": 8, "retouch_size": 8}  # fmt: skip
    config = CONFIG | {"face_dim": 240, "noise_predictor": predictor}
    run = paired(encoders, tmp_path / "diffusion", config=config, steps=2, learning_rate=1e-2)
    landmarks = np.float32(0.3 + 0.4 * np.random.default_rng(0).random((68, 2)))
    with pytest.raises(MissingFileError, match=r"looks\.npz: run `python -m dva_core train pairs` first"):
        run.run()
    maps, retouches = (
        np.full((count, parts, 32, 32), -0.2, np.float32) for count, parts in ((len(KINDS), 6), (len(KINDS) + len(MOVES), 3))
    )
    Looks(landmarks, maps, retouches).save(tmp_path / "looks.npz")
    start = {key: values.clone() for key, values in run.parameters.items()}
    assert not start["unet.texture.patterns.weight"].any()
    run.run()
    assert run.parameters["unet.texture.patterns.weight"].any() and run.ema.values["unet.texture.patterns.weight"].any()
    for key in ("fusion.weight", "unet.texture.points.weight", "unet.texture.mean.weight"):
        assert torch.equal(run.parameters[key], start[key])  # so that landmarks stay where they are in z_face
    assert not torch.equal(run.parameters["unet.out.2.weight"], start["unet.out.2.weight"])
    pairs, drawn = run.pair_objective, run.pair_objective.held_out_rows[0][:1]
    batch = pairs.cross_pairs(drawn)
    own, moved = (run.conditioner.fuse(*vectors) for vectors in (batch.own, batch.moved))
    torch.testing.assert_close(
        batch.change, run.unet.texture_change(batch.x_0, *map(run.unet.texture_of, (own, moved))).clamp(-1 - batch.x_0, 1 - batch.x_0)
    )
    z_id, motion = batch.own

    def read(z_face: torch.Tensor) -> torch.Tensor:
        identity, others = run.unet.texture.weights(z_face).chunk(2, 1)
        return identity / run.unet.texture_rest.length(z_face) + others

    rest, whole = run.unet.texture_rest, run.conditioner.fuse(z_id, motion)
    for name, kind in FIRST.items():  # each step is read by the weights of its own attribute alone
        id_step, motion_step = (step[KINDS.index(kind)] for step in pairs.steps)
        moved = run.conditioner.fuse(move_identity(z_id, id_step), motion + motion_step)
        difference = (read(moved) - read(own))[0]
        assert ATTRIBUTE[KINDS[int(difference.argmax())]][0] == name
        others = [row for row, other in enumerate(KINDS) if ATTRIBUTE[other][0] != name]
        assert difference[others].abs().max() < 0.02  # however the identity's length is restored
        torch.testing.assert_close(rest(moved), rest(whole), rtol=0, atol=0.02)  # that of a motion too
    again = paired(encoders, tmp_path / "diffusion", config=config, steps=3)
    again.resume()
    assert all(torch.equal(values, run.parameters[key]) for key, values in again.parameters.items())
    for row, step in enumerate(pairs.moves, len(KINDS) + len(MOTION)):
        moved = run.conditioner.fuse(z_id, motion + step)
        difference = (read(moved) - read(own))[0]
        assert difference[row] == pytest.approx(1, abs=0.02) and (difference.abs() > 0.02).sum() == 1
        torch.testing.assert_close(rest(moved), rest(whole), rtol=0, atol=0.02)
    assert len(pairs.moves) == len(MOVES) and run.parameters["unet.retouch.patterns.weight"].any()
    with pytest.raises(DVAError, match="texture_rank must be 20 or more"):
        fewer = config | {"noise_predictor": predictor | {"texture_rank": 19}}
        paired(encoders, tmp_path / "diffusion", config=fewer).run()
