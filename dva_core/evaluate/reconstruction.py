"""Table 1 of Kim et al. 2023: the quality of a video rebuilt from z_id, z_motion and x_T alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..decomposition import Decomposition
from ..diffusion.solvers import SOLVER
from ..model.arrays import shrink, to_images
from ..pipeline import encode
from . import metrics, paper
from .table import Table

FIGURES = ("SSIM", "MS-SSIM", "LPIPS", "MSE", "PSNR", "SSIM in mask", "PSNR in mask")
BATCH = 32  # frames compared together


def evaluate_reconstruction(
    videos: Sequence[str | Path],
    model,
    *,
    steps: Sequence[int] = (20, 100),
    solvers: Sequence[str] = ("ddim", SOLVER),
    lpips=None,
    **encoding: Any,
) -> Table:
    """A row for each video, number of steps and solver, then their means, then the paper's.

    The face square is compared at the noise predictor's size, with the decoded crop itself (`detail = "model"`), all frames weighted alike.
    `encoding` are arguments of pipeline.encode (every, max_frames, ...).
    """
    table = Table(f"Reconstruction, {model.config.get('name', 'model')}", ["clip", "T", "solver", "frames", *FIGURES])
    for count in steps:
        for solver in solvers:
            parts = []
            for video in videos:
                decomposition = encode(video, model, steps=count, solver=solver, **encoding)
                parts.append(figures := compare(decomposition, model, lpips))
                table.add(Path(video).stem, count, solver, decomposition.faces, *figures)
            table.add("mean", count, solver, "", *np.mean(parts, 0).tolist())
    for name, (ssim, ms_ssim, lpips_, mse) in paper.RECONSTRUCTION.items():
        table.add(f"paper: {name}", "", "", "", ssim, ms_ssim, lpips_, mse, None, None, None)
    size = model.image_size
    table.notes += [
        f"Ours: face squares at {size} x {size} px, values 0..1.",
        f"MS-SSIM over {metrics.ms_ssim_scales(size)} of 5 scales ({size} px; five need 176).",
        paper.SOURCE,
    ]
    return table


def compare(decomposition: Decomposition, model, lpips=None) -> list[float]:
    """FIGURES of one video, each the mean over its frames that have it; nan if it is not measured."""
    parts: list[list[Tensor]] = []
    for a, b, mask in pairs(decomposition, model.image_size):
        lpips_value = (
            torch.full((len(a),), torch.nan) if lpips is None else torch.stack([lpips(x[None], y[None]).detach() for x, y in zip(a, b)])
        )
        parts.append(
            [
                metrics.ssim(a, b),
                metrics.ms_ssim(a, b),
                lpips_value,
                metrics.mse(a, b),
                metrics.psnr(a, b),
                metrics.ssim(a, b, mask),
                metrics.psnr(a, b, mask),
            ]
        )
    return [torch.cat(column).nanmean().item() for column in zip(*parts)]


def pairs(decomposition: Decomposition, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield batches of originals and rebuilt crops [n, 3, S, S] in 0..1 and face masks [n, 1, S, S]."""
    for start in range(0, decomposition.faces, BATCH):
        rows = slice(start, start + BATCH)
        original = shrink(to_images(decomposition.crops[rows]), size) / 2 + 0.5
        rebuilt = torch.from_numpy(decomposition.rebuilt[rows]).float() / 2 + 0.5
        mask = shrink(torch.from_numpy(decomposition.masks[rows]).float()[:, None], size) > 0.5
        yield original, rebuilt.clamp(0, 1), mask
