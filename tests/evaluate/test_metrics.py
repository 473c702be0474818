"""Figures that can be told by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from dva_core.errors import DVAError
from dva_core.evaluate import metrics
from dva_core.evaluate.table import Table


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand((2, 3, 8, 8), generator=generator)
    return torch.nn.functional.interpolate(rough, (64, 64), mode="bicubic").clamp(0, 1)


def test_equal_pictures_have_no_distance(pictures):
    mask = torch.zeros((2, 1, 64, 64), dtype=torch.bool)
    mask[..., 10:40, 10:40] = True
    for function in (metrics.ssim, lambda a, b: metrics.ssim(a, b, mask), metrics.ms_ssim):
        assert torch.allclose(function(pictures, pictures), torch.ones(2), atol=1e-5)
    assert not metrics.mse(pictures, pictures).any()


def test_ssim_is_that_of_scikit_image(pictures):
    other = (pictures + 0.1 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    settings = {"channel_axis": 0, "data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [structural_similarity(a.numpy(), b.numpy(), **settings) for a, b in zip(pictures, other)]
    np.testing.assert_allclose(metrics.ssim(pictures, other).numpy(), expected, atol=1e-3)


def test_psnr_and_the_mask(pictures):
    base = pictures * 0.5
    other = base.clone()
    other[..., :32, :] += 0.1
    upper, lower = torch.zeros((2, 1, 64, 64), dtype=torch.bool), torch.zeros((2, 1, 64, 64), dtype=torch.bool)
    upper[..., :32, :], lower[..., 32:, :] = True, True
    assert torch.allclose(metrics.psnr(base, other, upper), torch.full((2,), 20.0), atol=1e-3)
    assert torch.allclose(metrics.mse(base, other), torch.full((2,), 0.005), atol=1e-6)
    assert not metrics.mse(base, other, lower).any()
    assert (metrics.ssim(base, other, upper) < metrics.ssim(base, other, lower)).all()


@pytest.mark.parametrize(("side", "scales"), [(16, 1), (64, 3), (128, 4), (175, 4), (176, 5), (256, 5)])
def test_as_many_scales_as_fit(side, scales):
    assert metrics.ms_ssim_scales(side) == scales
    picture = torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(0))
    assert metrics.ms_ssim(picture, picture.roll(1, 3)).item() < 1


def test_identity_over_time():
    still = np.tile([[1.0, 0.0]], (4, 1))
    angles = np.deg2rad([0, 30, 60, 90])
    turning = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert metrics.tl_id(still, still) == metrics.tg_id(still, still) == 1
    assert metrics.tl_id(still, 5 * turning) == pytest.approx(np.cos(np.pi / 6))  # lengths do not count
    pairs = [np.cos(abs(a - b)) for i, a in enumerate(angles) for b in angles[i + 1 :]]
    assert metrics.tg_id(still, turning) == pytest.approx(np.mean(pairs))
    assert np.isnan(metrics.tg_id(still[:1], still[:1]))


def test_frames_apart_by_a_cut_are_no_neighbours():
    angles = np.radians([0, 10, 90, 100, 110])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1)
    segment = np.array([0, 0, 1, 1, 1])
    assert metrics.adjacent_similarity(vectors, segment) == pytest.approx(np.cos(np.radians(10)))
    assert metrics.adjacent_similarity(vectors) < 0.8
    assert np.isnan(metrics.neighbours(vectors, segment)).tolist() == [False, True, False, False]
    assert metrics.tl_id(vectors, vectors, segment) == 1 and np.isnan(metrics.adjacent_similarity(vectors[:2], segment[1:3]))


def test_flicker_is_told_from_motion():
    rng = np.random.default_rng(0)
    texture = np.repeat(np.repeat(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8), 8, 0), 8, 1)
    mask = np.ones((96, 96), bool)
    flicker = metrics.Flicker()
    for i in range(6):
        frame = np.ascontiguousarray(texture[20 : 20 + 96, 10 + 2 * i : 106 + 2 * i])  # a pan, which the flow explains
        flicker.add(frame, np.clip(frame.astype(int) + 12 * (i % 2), 0, 255).astype(np.uint8), mask)
    before, after = flicker.figures
    assert len(flicker.after) == 5 and after > before + 5
    flicker.restart()
    flicker.add(frame, frame, mask)
    assert len(flicker.after) == 5  # nothing to compare with


def test_lpips_says_why_it_is_not_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    metric, why = metrics.lpips_metric()
    assert metric is None and metrics.ALEXNET in why and str(tmp_path) in why


def test_a_table_in_three_forms(tmp_path):
    table = Table("Title", ["name", "value"], notes=["a note"])
    table.add("a", 0.1234567)
    table.add("b", float("nan"))
    with pytest.raises(ValueError, match="cells"):
        table.add("c")
    markdown, csv_, json_ = (path.read_text() for path in table.save(tmp_path, "t"))
    assert "| a | 0.123 |" in markdown and "| b | - |" in markdown and "- a note" in markdown
    assert csv_.splitlines() == ["name,value", "a,0.1234567", "b,"]
    assert json.loads(json_)["rows"] == [{"name": "a", "value": 0.1234567}, {"name": "b", "value": None}]
    with pytest.raises(DVAError, match="writable folder"):
        table.save(tmp_path / "none", "t")
