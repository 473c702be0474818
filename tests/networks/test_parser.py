"""The small face parser: shapes, sizes, ranges."""

from __future__ import annotations

import pytest
import torch

from dva_core.networks import build_network
from dva_core.networks.parser import PARTS, parts_of


@pytest.fixture(scope="module")
def parser():
    return build_network({"type": "compact_parser"}).eval()


@torch.inference_mode()
def test_any_size_comes_in_and_the_parts_come_out_at_one(parser):
    images = torch.rand(3, 3, 96, 96) * 2 - 1
    logits = parser(images)
    assert logits.shape == (3, len(PARTS), 128, 128) and logits.dtype == torch.float32
    assert torch.allclose(parser(images[1:2]), logits[1:2], atol=1e-4)  # no picture has a say in another's mask
    for size in (64, 128, 200):
        parts = parts_of(logits, size)
        assert parts.shape == (3, 2, size, size) and parts.min() >= 0 and parts.max() <= 1


def test_it_is_small(parser):
    assert sum(weight.numel() for weight in parser.parameters()) < 300_000


def test_each_pixel_is_told_from_what_lies_around_it(parser):
    images = torch.zeros(1, 3, 128, 128, requires_grad=True)
    parser(images)[0, 0, 64, 64].backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    assert seen[60:68, 60:68].all() and seen.float().mean() > 0.5  # finely, and with the whole face in view
