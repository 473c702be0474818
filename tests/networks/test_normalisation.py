"""Group normalisation that keeps the layout of its input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from card import card

from dva_core.networks import normalisation


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("conditioned", [False, True])
def test_a_norm_that_keeps_its_layout(dtype, conditioned):
    norm = torch.nn.GroupNorm(4, 16).requires_grad_(False)
    norm.weight.normal_(), norm.bias.normal_()
    x = (3 * torch.randn(2, 16, 6, 6) + 5).to(dtype).contiguous(memory_format=torch.channels_last)
    condition = torch.randn(2, 32).to(dtype) if conditioned else None
    expected = F.group_norm(x.double(), 4, norm.weight.double(), norm.bias.double(), norm.eps)
    if conditioned:
        expected = expected * (1 + condition[:, :16, None, None].double()) + condition[:, 16:, None, None].double()
    with torch.no_grad():
        normalised = normalisation.normalise_in_place(norm, x, condition)
    assert normalised.dtype == dtype and normalised.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        normalised.double(), expected, rtol=4 * torch.finfo(dtype).eps, atol=1e-4 if dtype == torch.float32 else 0.05
    )


def test_which_norms_keep_their_layout(monkeypatch):
    monkeypatch.setattr(normalisation, "LARGE_BATCH", 100)
    with card(), torch.no_grad():
        norm, x = torch.nn.GroupNorm(4, 16).cuda(), torch.zeros(2, 16, 6, 6).cuda()
        assert not normalisation.stays_in_place(norm, x)
        x = x.contiguous(memory_format=torch.channels_last)
        assert normalisation.stays_in_place(norm, x) and not normalisation.stays_in_place(norm, x[:1, :, :2, :1])
        assert not normalisation.stays_in_place(norm, x.half())
        norm.comfy_cast_weights = True  # then they come as they are used
        assert not normalisation.stays_in_place(norm, x)
        with torch.enable_grad():
            assert not normalisation.stays_in_place(torch.nn.GroupNorm(4, 16).cuda(), x)
    assert not normalisation.stays_in_place(
        torch.nn.GroupNorm(4, 16), torch.zeros(2, 16, 6, 6).contiguous(memory_format=torch.channels_last)
    )
