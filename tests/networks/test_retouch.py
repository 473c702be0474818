"""Where edits move the pixels of a face, and how far they smooth its skin."""

from __future__ import annotations

import pytest
import torch

from dva_core.errors import DVAError
from dva_core.networks.retouch import PARTED, TEETH, FaceRetouch
from dva_core.networks.texture import BOX, LANDMARKS, FaceTexture
from dva_core.networks.unet import UNet

SIZE, FACE = 24, 4 + 2 * LANDMARKS


def networks(rank: int = 2) -> tuple[FaceTexture, FaceRetouch]:
    """A texture that takes the last values of z_face for displacements of the landmarks, and a retouch of `rank` patterns."""
    texture, retouch = FaceTexture(FACE, rank, 8, 64, 4), FaceRetouch(rank, SIZE)
    with torch.no_grad():
        texture.mean.weight.copy_(0.3 + 0.4 * torch.rand(2 * LANDMARKS, 1, generator=torch.Generator().manual_seed(0)))
        texture.points.weight.zero_()
        texture.points.weight[:, 4:] = torch.eye(2 * LANDMARKS)
        texture.points.bias.zero_()
        maps = torch.zeros(3, SIZE, SIZE)
        maps[0, 8:16, 8:16], maps[2, 8:16, 8:16] = 0.02, 0.8
        retouch.patterns.weight[:, 0] = maps.flatten()
    return texture, retouch


def displaced(texture: FaceTexture, matrix: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """z_face [1, FACE] of a face that is the mean face @ matrix + offset."""
    mean = texture.mean.weight.reshape(-1, 2)
    return torch.cat([torch.zeros(4), (mean @ matrix + offset - mean).flatten()])[None].detach()


@torch.no_grad()
def test_a_shift_turns_and_grows_with_the_face():
    texture, retouch = networks()
    amounts = torch.tensor([[1.0, 0.0]])
    for matrix, expected in (
        (torch.eye(2), (0.02, 0.0)),
        (0.5 * torch.eye(2), (0.01, 0.0)),
        (torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), (0.0, 0.02)),  # what was to the right is below
    ):
        middle = torch.tensor([BOX[0] + BOX[2] / 2, BOX[1] + BOX[2] / 2])
        z_face = displaced(texture, matrix, torch.tensor([0.5, 0.5]) - middle @ matrix)  # the middle of the maps in that of the crop
        placed = retouch(texture, z_face, amounts, 32)
        assert placed.shape == (1, 3, 32, 32) and placed.dtype == torch.float32
        torch.testing.assert_close(placed[0, :2, 15:17, 15:17].mean((1, 2)), torch.tensor(expected), rtol=0.02, atol=3e-4)
        assert placed[0, 2, 15:17, 15:17].min() > 0.75 and not placed[..., 0, 0].any()


@torch.no_grad()
def test_amounts_add_up_and_smoothing_ends_at_one():
    texture, retouch = networks()
    retouch.patterns.weight[:, 1] = retouch.patterns.weight[:, 0]
    z_face = torch.zeros(1, FACE)
    one, both, against = (retouch(texture, z_face, torch.tensor([amounts]), 32) for amounts in ([0.5, 0.0], [0.5, 0.5], [0.5, -0.5]))
    torch.testing.assert_close(both[:, :2], 2 * one[:, :2])
    assert both[:, 2].max() == pytest.approx(0.8, abs=0.01) and against.abs().max() < 1e-6
    assert retouch(texture, z_face, torch.tensor([[1.0, 1.0]]), 32)[:, 2].max() == 1


@torch.no_grad()
def test_teeth_are_drawn_on_closed_mouths_that_smile_widely():
    _, retouch = networks()
    retouch.closed.weight[1] = 1
    edit = torch.tensor([[0.3, 1.0]]).expand(5, -1)
    amounts = torch.tensor([0.0, TEETH[0], sum(TEETH) / 2, TEETH[1], 1.0])[:, None] * torch.ones(1, 2)
    drawn, parted = retouch.on_mouths(torch.zeros(5, FACE), edit, amounts, torch.ones(5))
    torch.testing.assert_close(drawn, torch.tensor([[0.3] * 5, [0, 0, 0.5, 1, 1]]).T)
    assert not parted.any()
    open_mouths, _ = retouch.on_mouths(torch.zeros(5, FACE), edit, amounts, torch.zeros(5))
    torch.testing.assert_close(open_mouths, torch.tensor([[0.3, 0.0]]).expand(5, -1))


@torch.no_grad()
def test_lips_part_where_there_is_nothing_to_draw():
    _, retouch = networks()
    retouch.closed.weight[1] = PARTED
    amounts = torch.tensor([0.0, sum(TEETH) / 2, 1.0])[:, None] * torch.ones(1, 2)
    for closed, expected in ((1.0, [0, 0.5, 1]), (0.5, [0, 0.25, 0.5]), (0.0, [0, 0, 0])):
        drawn, parted = retouch.on_mouths(torch.zeros(3, FACE), torch.ones(3, 2), amounts, torch.full((3,), closed))
        assert drawn.tolist() == [[1, 0]] * 3
        torch.testing.assert_close(parted, torch.tensor(expected, dtype=torch.float32))


def test_a_retouch_needs_a_texture():
    settings = {"image_size": 16, "base_channels": 4, "channel_multipliers": [1], "attention_resolutions": [], "num_res_blocks": 1}
    with pytest.raises(DVAError, match="with retouch_size needs texture_rank"):
        UNet(**settings, embedding_channels=8, condition_channels=FACE, retouch_size=8)
