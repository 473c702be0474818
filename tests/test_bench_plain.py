"""The plain method of the bench is the method: what it is compared with gives the same pictures."""

from __future__ import annotations

import runpy

import torch
from conftest import ROOT
from model.small import SMALL

from dva_core.diffusion import ddim
from dva_core.model.autoencoder import DiffusionVideoAutoencoder


def test_plain_loop_and_library_agree():
    torch.manual_seed(0)
    model = DiffusionVideoAutoencoder(SMALL).eval().requires_grad_(False)
    for parameter in model.noise_predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x_0, z_face, z_edited = torch.rand(5, 3, 16, 16) * 2 - 1, torch.randn(5, 24), torch.randn(5, 24)
    rebuilt, edited = runpy.run_path(str(ROOT / "bench" / "plain.py"))["PlainMethod"](model).edit(x_0, z_face, z_edited, 5)
    x_T = ddim.invert(model, x_0, z_face, 5)
    torch.testing.assert_close(rebuilt, ddim.sample(model, x_T, z_face, 5), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(edited, ddim.sample(model, x_T, z_edited, 5), atol=1e-4, rtol=1e-3)
    assert (rebuilt - edited).abs().max() > 1e-2
