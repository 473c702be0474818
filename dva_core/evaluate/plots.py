"""Plots of the evaluation, by matplotlib without a screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import MissingDependencyError
from ..video.images import save_picture
from .consistency import EditFigures
from .table import Table


def figure(columns: int = 1, width: float = 6.0, height: float = 4.0):
    """A matplotlib Figure and its axes in one row; MissingDependencyError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("The plots need matplotlib: pip install matplotlib.") from error
    plot = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(plot)
    return plot, plot.subplots(1, columns, squeeze=False)[0]


def as_array(figure) -> np.ndarray:
    """A drawn Figure as RGB uint8 [H, W, 3]."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def plot_reconstruction(table: Table, path: str | Path) -> None:
    """Plot SSIM and PSNR of the means against T, a line for each solver."""
    plot, axes = figure(2)
    rows = [dict(zip(table.columns, row)) for row in table.rows if row[0] == "mean"]
    for axis, name in zip(axes, ("SSIM", "PSNR")):
        for solver in dict.fromkeys(row["solver"] for row in rows):
            some = [row for row in rows if row["solver"] == solver]
            axis.plot([row["T"] for row in some], [row[name] for row in some], "o-", label=solver)
        axis.set(xlabel="T (evaluations each way)", ylabel=name + (" (dB)" if name == "PSNR" else ""), xscale="log")
        axis.legend()
    save_picture(path, as_array(plot))


def draw_consistency(results: Mapping[str, EditFigures]) -> np.ndarray:
    """Draw the similarity of neighbouring frames, before and after, over time; a panel for each edit. RGB uint8 [H, W, 3]."""
    plot, axes = figure(len(results), 5.0, 3.2)
    for axis, (name, figures) in zip(axes, results.items()):
        for series, label in zip(figures.series.T, ("before", "after")):
            axis.plot(np.arange(1, len(series) + 1), series, label=label)
        axis.set(
            title=f"{name}: TL-ID {figures.tl_id:.3f}, TG-ID {figures.tg_id:.3f}",
            xlabel="frame",
            ylabel="identity cosine with the frame before",
        )
        axis.legend()
    return as_array(plot)
