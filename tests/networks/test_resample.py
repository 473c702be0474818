"""Resampling by products of matrices, against the operators it stands for."""

import pytest
import torch
import torch.nn.functional as F

from dva_core.networks.resample import average_pool, interpolation_matrix


@pytest.mark.parametrize(("size_in", "size_out"), [(188, 112), (8, 4), (5, 5), (3, 7)])
def test_averaging_is_adaptive_pooling(size_in, size_out):
    images = torch.randn(2, 3, size_in, size_in)
    torch.testing.assert_close(average_pool(images, size_out), F.adaptive_avg_pool2d(images, size_out), atol=1e-5, rtol=1e-5)


def test_its_gradient_too():
    images = torch.randn(1, 1, 6, 6, requires_grad=True)
    (ours,) = torch.autograd.grad(average_pool(images, 4).square().sum(), images)
    (torchs,) = torch.autograd.grad(F.adaptive_avg_pool2d(images, 4).square().sum(), images)
    torch.testing.assert_close(ours, torchs)


def test_triangles_are_what_interpolation_is():
    images = torch.rand(2, 3, 40, 40)
    matrix = interpolation_matrix(40, 16)
    expected = F.interpolate(images, (16, 16), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(matrix @ images @ matrix.T, expected, atol=1e-5, rtol=1e-5)
