"""Textures in the coordinates of the face."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dva_core.faces.regions import MEAN_FACE
from dva_core.networks.texture import (
    ALL,
    BOX,
    CHANNELS,
    DARKEST,
    EAR,
    HINGE,
    LANDMARKS,
    NOTHING,
    USUAL_LENGTH,
    FaceRemainder,
    FaceTexture,
    TextureBlend,
    face_coordinates,
    not_black,
    on_glasses,
    opaque_at_most,
)


def face(seed: int = 0) -> torch.Tensor:
    """Landmarks [1, 51, 2] all over the middle of the crop."""
    return 0.25 + 0.5 * torch.rand(1, LANDMARKS, 2, generator=torch.Generator().manual_seed(seed))


def pixels(size: int) -> torch.Tensor:
    """Places [2, size, size] of pixels, x and y in 0..1."""
    at = (torch.arange(size) + 0.5) / size
    return torch.stack([at.expand(size, size), at[:, None].expand(size, size)])


@given(st.integers(0, 100), st.floats(-0.3, 0.3), st.floats(0.8, 1.25), st.floats(-0.1, 0.1))
def test_a_face_that_turns_grows_and_moves_carries_its_coordinates_along(seed, turn, zoom, shift):
    mean, turn = face(seed), torch.tensor(turn)
    matrix = zoom * torch.stack([torch.stack([turn.cos(), turn.sin()]), torch.stack([-turn.sin(), turn.cos()])])
    points = (mean - 0.5) @ matrix + 0.5 + shift
    moved_back = (pixels(24).movedim(0, -1) - 0.5 - shift) @ torch.linalg.inv(matrix) + 0.5
    torch.testing.assert_close(face_coordinates(points, mean, 24)[0].movedim(0, -1), moved_back, rtol=0, atol=2e-4)


def test_a_mouth_that_opens_moves_what_is_near_it_and_little_else():
    mean = torch.stack([torch.linspace(0.2, 0.8, LANDMARKS), torch.cat([torch.full((25,), 0.4), torch.full((26,), 0.8)])], 1)[None]
    points = mean.clone()
    points[:, 40, 1] += 0.05  # one landmark, downwards
    moved = face_coordinates(points, mean, 64) - pixels(64)
    there = (points[0, 40] * 64).long()
    assert moved[0, 1, there[1], there[0]] == pytest.approx(-0.05, abs=0.015)
    assert moved[0, :, :24].abs().max() < 0.01


def texture(dtype=torch.float32, **options) -> FaceTexture:
    torch.manual_seed(0)
    network = FaceTexture(2 * LANDMARKS, **({"rank": 2, "size": 96, "image_size": 128, "patch_size": 4} | options))
    with torch.no_grad():
        network.points.weight.copy_(torch.eye(2 * LANDMARKS))
        network.points.bias.zero_()
        network.mean.weight.copy_(face().reshape(-1, 1))
    return network.eval().to(dtype)


def run(network: FaceTexture, z_face: torch.Tensor) -> torch.Tensor:
    """The texture for faces whose identity has the length 1."""
    return network(z_face, torch.ones(len(z_face), 1, dtype=z_face.dtype))


def test_a_new_texture_is_zero_and_folded_into_patches():
    assert run(texture(), torch.randn(5, 2 * LANDMARKS)).shape == (5, 16 * CHANNELS, 32, 32)
    assert not run(texture(), torch.randn(2, 2 * LANDMARKS)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_pattern_goes_where_the_landmarks_go(dtype):
    network = texture(dtype)
    left, top, side = BOX
    x, y = 60, 30  # texel
    with torch.no_grad():
        spot = torch.zeros(96, 96)
        spot[y - 1 : y + 2, x - 1 : x + 2] = 1
        network.patterns.bias[: 96**2] = spot.flatten()
        displacement = torch.tensor([[0.0, 0.0], [0.05, -0.03]], dtype=dtype)
        placed = torch.nn.functional.pixel_shuffle(run(network, displacement.repeat(1, LANDMARKS)), 4)[:, 0].float()
    for image, moved in zip(placed, displacement.float()):
        expected = torch.tensor([left + side * (x + 0.5) / 96, top + side * (y + 0.5) / 96]) + moved
        centre = (pixels(128) * image).sum((1, 2)) / image.sum()
        torch.testing.assert_close(centre, expected, rtol=0, atol=0.25 / 128 if dtype == torch.bfloat16 else 1e-4)


def test_many_faces_at_once_are_as_one_by_one_and_as_in_training():
    network = texture()
    torch.nn.init.normal_(network.patterns.weight)
    z_face = 0.02 * torch.randn(9, 2 * LANDMARKS)
    with torch.no_grad():
        together = run(network, z_face)
        torch.testing.assert_close(together, torch.cat([run(network, z[None]) for z in z_face]), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together, run(network.train(), z_face), rtol=1e-4, atol=1e-4)


def test_a_pattern_is_shown_from_what_no_face_reads_by_chance_to_what_an_edit_reads():
    network, z_face = texture(), torch.zeros(4, 2 * LANDMARKS)
    with torch.no_grad():
        network.patterns.weight[:, 0] = 0.5
        network.weights.weight.zero_()
        network.weights.weight[0, 0] = 2  # of an identity of length 2
        network.weights.bias.zero_()
        network.points.weight.zero_()
        z_face[:, 0] = torch.tensor([-1, NOTHING, (NOTHING + ALL) / 2, 1.5])
        shown = network(z_face, torch.full((4, 1), 2.0)).flatten(1).amax(1)
    torch.testing.assert_close(shown, torch.tensor([0.0, 0.0, 0.25, 0.5]))


def test_drawings_over_each_other_are_no_more_than_opaque():
    network = texture()
    with torch.no_grad():
        network.patterns.bias[: 3 * 96**2] = -0.6  # twice a drawing of colour -0.4 and opacity 0.75
        network.patterns.bias[3 * 96**2 :] = -1.5
        addition, factor = run(network, torch.zeros(1, 2 * LANDMARKS)).chunk(2, 1)
    assert factor.min() == -1
    assert addition.min() == pytest.approx(-0.4)


@given(st.floats(-1, 0.5), st.floats(-0.5, 0.5), st.floats(0, 0.9))
def test_a_blend_completes_what_the_estimate_shows_already(factor, addition, shown):
    blend = TextureBlend(4)
    with torch.no_grad():
        blend.gates.weight.zero_()
        blend.gates.bias.copy_(torch.tensor([1.0, 0.0, 1.0, shown]))  # the prediction is the estimate itself
        plain = torch.linspace(-1, 1, 9).reshape(1, 1, 3, 3)
        texture = torch.cat([torch.full_like(plain, addition), torch.full_like(plain, factor)], 1)
        blended = blend(plain + shown * (addition + factor * plain), plain, texture, torch.zeros(1, 4))
    torch.testing.assert_close(blended, plain + addition + factor * plain, rtol=1e-4, atol=1e-4)


def test_an_edit_is_drawn_by_what_it_adds_whatever_a_face_reads_before():
    network, z_face = texture(), torch.zeros(4, 2 * LANDMARKS)
    with torch.no_grad():
        network.weights.weight.zero_()
        network.weights.weight[0, 0], network.weights.weight[3, 1] = (
            USUAL_LENGTH,
            1,
        )  # the first pattern by the identity, the second by motion
        network.weights.bias.zero_()
        before = z_face + torch.tensor([0.0, 0.4, -0.7, 2.0])[:, None]
        length = torch.tensor([1.0, 0.5, 0.7, 2.0])[:, None]
        for first, second, expected in (
            (0.1, 0.1, [0, 0]),
            (0.6, 0.3, [0.5, 0.5]),
            (1.1, 0.5, [1, 1]),
            (3.0, 0.9, [1, 1]),
            (-1, -1, [0, 0]),
            (0.0, 0.04, [0, 0]),
        ):
            step = torch.zeros_like(before)
            step[:, 0], step[:, 1] = first, second
            edit, amounts = network.read_edit(step, length, before, length)
            moved = min(max(abs(second) - 0.05, 0) / 0.95, 1) * (1 if second > 0 else -1)
            torch.testing.assert_close(amounts, torch.tensor([[expected[0], moved]] * 4, dtype=torch.float32), atol=1e-5, rtol=0)
            torch.testing.assert_close(edit, torch.tensor([expected] * 4, dtype=torch.float32), atol=1e-5, rtol=0)


def test_an_edit_changes_the_rest_or_not():
    rest = FaceRemainder(6, 4)
    with torch.no_grad():
        rest.identity.weight.copy_(torch.eye(4, 6) * torch.tensor([0.0, 1, 1, 1])[:, None])  # the first is a drawn step
        rest.identity.bias.zero_()
        rest.fusion.weight.copy_(torch.eye(6, 4))
        rest.others.weight.copy_(torch.diag(torch.tensor([0.0, 0, 0, 0, 1, 1])))
        rest.others.bias.zero_()
        before = torch.tensor([[0.3, 0.5, 0.2, 0.7, 1.0, 1.0]]).expand(4, -1)
        after = before + torch.tensor([[2.0, 0, 0, 0, 0, 0], [0, 0.3, 0, 0, 0, 0], [0, 0, 0, 0, 0.2, 0], [0, 0, 0, 0, 0.001, 0]])
        step = after * torch.tensor([0.5, 0.5, 0.5, 0.5, 1, 1]) - before  # its length restored
        assert rest.change(step, before).tolist() == [0, 1, 1, 0]
        assert rest.bfloat16().change(step.bfloat16(), before.bfloat16()).tolist() == [0, 1, 1, 0]


def test_a_coarse_texture_is_the_mean_of_a_fine_one():
    network = texture()
    torch.nn.init.normal_(network.patterns.weight)
    z_face, meant = torch.zeros(1, 2 * LANDMARKS), torch.ones(1, 2)
    with torch.no_grad():
        fine, coarse = (network.place(z_face, meant, size) for size in (network.finest, network.finest // 4))
    expected = torch.nn.functional.avg_pool2d(fine, 4)
    inner = slice(8, 24)
    assert fine.shape == (1, 6, 128, 128)
    assert (coarse - expected)[..., inner, inner].abs().mean() < 0.6 * expected[..., inner, inner].abs().mean()


@torch.no_grad()
def test_what_is_worn_covers_the_face_and_does_not_bend_with_it():
    network = texture()
    size, rank = network.size, network.patterns.in_features
    middle = slice(size // 3, 2 * size // 3)
    opaque, shade = torch.zeros(2, CHANNELS, size, size)
    opaque[CHANNELS // 2 :, middle, middle], opaque[: CHANNELS // 2, middle, middle] = -1, -0.8
    shade[:, middle, middle] = 0.5
    network.patterns.weight.zero_()
    network.patterns.weight[:, :2] = torch.stack([opaque.flatten(), shade.flatten()], 1)
    z_face, meant, rigid = torch.zeros(1, network.points.in_features), torch.zeros(1, rank), torch.zeros(1, rank)
    meant[:, :2], rigid[:, 0] = 1, 1
    addition, factor = network.place(z_face, meant, 32, rigid).chunk(2, 1)
    inner = factor < -0.99
    assert inner.any() and (addition[inner] - -0.8).abs().max() < 0.02  # nothing shines through it
    assert (network.place(z_face, meant, 32).chunk(2, 1)[0][inner] - -0.8).abs().max() > 0.2
    alone = torch.nn.functional.one_hot(torch.tensor([0]), rank).float()
    brows, network.points.weight.data = torch.ones(1, network.points.in_features), torch.zeros_like(network.points.weight)
    network.points.weight.data.reshape(-1, 2, network.points.in_features)[:10, 1] = -0.05 / network.points.in_features  # brows rise
    for of_worn, same in ((alone, True), (torch.zeros(1, rank), False)):
        still, raised = (network.place(z, alone, 32, of_worn) for z in (z_face, brows))
        assert torch.equal(still, raised) == same


def test_shades_over_each_other_are_not_black_but_teeth_cover_all():
    beard, moustache, teeth = (torch.tensor([[light - 1.0] * 3 + [factor] * 3]).reshape(1, 6, 1, 1) for light, factor in
                               ((0.4, -0.6), (0.3, -0.7), (0.9, -1.0)))  # fmt: skip
    kept = not_black(opaque_at_most(torch.cat([beard[:, :3] + moustache[:, :3], beard[:, 3:] + moustache[:, 3:]], 1)))
    torch.testing.assert_close(kept, torch.full_like(kept, DARKEST - 1))
    for one in (beard, moustache, teeth):
        torch.testing.assert_close(not_black(one), one)


MEAN = torch.from_numpy(MEAN_FACE[17:]).float()[None]
EYES_APART = 0.2395  # of the mean face


def turned(by: float) -> torch.Tensor:
    """The mean face with its nose to the right by this much of the eyes' distance."""
    points = MEAN.clone()
    points[:, 13, 0] += by * EYES_APART
    return points


def test_glasses_of_a_frontal_face_stay_as_they_are():
    x = pixels(64)[None, 0]
    torch.testing.assert_close(on_glasses(x, MEAN, MEAN), x, rtol=0, atol=1e-6)


@given(st.floats(-0.3, 0.3))
def test_a_turned_head_shows_one_temple_and_no_glasses_fold(by):
    x = torch.linspace(0, 1, 512).expand(1, 1, 512)
    along = on_glasses(x, turned(by), MEAN)[0, 0]
    assert (along.diff() >= -1e-6).all()
    beside = (along - 0.5) / EYES_APART
    lengths = [float(((side * beside > HINGE) & (side * beside < EAR)).sum()) / 512 / EYES_APART for side in (-1, 1)]
    near, far = lengths if by > 0 else lengths[::-1]
    frontal = EAR - HINGE
    if abs(by) > 0.1:
        assert near > 2 * frontal and far < 0.3 * frontal
    lens = [float(((side * beside > 0) & (side * beside < HINGE)).sum()) for side in (-1, 1)]
    assert (lens[by < 0] >= lens[by > 0]) or abs(by) < 0.01  # the near half is the wider one


@given(st.floats(-1e3, 1e3))
def test_wrong_landmarks_do_not_break_glasses(by):
    assert on_glasses(pixels(16)[None, 0], turned(by), MEAN).isfinite().all()
