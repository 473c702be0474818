"""The training losses against the reference numbers."""

from __future__ import annotations

import pytest
import torch
from networks.reference import tiny_unet, tiny_unet_numbers

from dva_core.diffusion.schedule import Schedule
from dva_core.train.losses import training_losses


@pytest.fixture
def golden(shared):
    return tiny_unet_numbers(shared)


def losses(golden, network, **changes):
    g = {**golden, **changes}
    return training_losses(network, g["x0"], g["z_face"], g["train_t"], g["noise_1"], g["noise_2"], g["train_mask"], Schedule())


def test_losses_equal_the_reference(golden, shared):
    with torch.no_grad():
        simple, reg = losses(golden, tiny_unet(shared))
    torch.testing.assert_close(simple, golden["loss_simple"], atol=1e-4, rtol=0)
    torch.testing.assert_close(reg, golden["loss_reg"], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(Schedule().add_noise(golden["x0"], golden["train_t"], golden["noise_1"]), golden["x_t_1"])


def test_a_perfect_predictor_has_no_loss(golden):
    noise = torch.cat([golden["noise_1"], golden["noise_2"]])
    simple, reg = losses(golden, lambda x_t, t, z_face: noise)
    assert simple.abs().max() == 0
    assert reg.abs().max() < 1e-4


def test_reg_looks_only_inside_the_mask_and_has_a_gradient(golden, shared):
    network = tiny_unet(shared)
    assert losses(golden, network, train_mask=torch.zeros(2, 1, 32, 32)).reg.abs().max() == 0
    z_face = golden["z_face"].clone().requires_grad_()
    losses(golden, network, z_face=z_face).reg.sum().backward()
    assert z_face.grad.abs().max() > 0
