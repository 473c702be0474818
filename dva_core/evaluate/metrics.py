"""Metrics: distances between pictures, and the stability of a face over time.

Pictures are float tensors [N, 3, H, W] in 0..1; masks [N, 1, H, W] in {0, 1}. SSIM and MS-SSIM come from torchmetrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import MissingDependencyError

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest scale first
SSIM_WINDOW = 11
ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's file of LPIPS's backbone


def torchmetrics_image():
    """Import torchmetrics' functions on images; MissingDependencyError if it is not installed."""
    try:
        from torchmetrics.functional import image
    except ImportError as error:
        raise MissingDependencyError("The evaluation needs torchmetrics and matplotlib: pip install torchmetrics matplotlib.") from error
    return image


def ssim(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity [N] (Wang et al. 2004: Gaussian window of 11 pixels, sigma 1.5).

    The mean over windows that lie completely in the picture; with a mask, over those centred in it.
    """
    function, border = torchmetrics_image().structural_similarity_index_measure, SSIM_WINDOW // 2
    _, similarity = function(a, b, data_range=1.0, reduction="none", return_full_image=True)
    if mask is not None:
        return masked_mean(similarity, mask)
    return similarity[..., border:-border, border:-border].mean((1, 2, 3))


def ms_ssim_scales(side: int) -> int:
    """Number of the five scales that fit a picture with sides of so many pixels: the coarsest must be larger than the window."""
    fits = [n for n in range(1, 6) if side // max(2 ** (n - 1), (n - 1) ** 2) >= SSIM_WINDOW]  # torchmetrics requires the square
    return max(fits, default=1)


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Multi-scale structural similarity [N] (Wang et al. 2003).

    Five scales need 176 pixels; smaller pictures use as many as fit (`ms_ssim_scales`), their weights scaled to a sum of 1, so that
    figures of different sizes are not comparable.
    """
    weights = MS_SSIM_WEIGHTS[: ms_ssim_scales(min(a.shape[-2:]))]
    weights = tuple(w / sum(weights) for w in weights)
    function = torchmetrics_image().multiscale_structural_similarity_index_measure
    return torch.stack([function(x[None], y[None], data_range=1.0, betas=weights, normalize="relu") for x, y in zip(a, b)])


def mse(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error [N], of values in 0..1."""
    squared = (a - b).square()
    return squared.mean((1, 2, 3)) if mask is None else masked_mean(squared, mask)


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio [N], dB, peak 1."""
    return -10 * mse(a, b, mask).clamp(min=1e-12).log10()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the pixels of the mask and all channels [N]; nan for an empty mask."""
    mask = mask.expand_as(values).to(values.dtype)
    return (values * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))


def lpips_metric() -> tuple[object | None, str]:
    """LPIPS (Zhang et al. 2018, AlexNet) as a function of two batches in 0..1, and ""; or None and why it cannot be computed.

    Its backbone's weights are never downloaded: torchvision's file must be in torch's cache.
    """
    place = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not place.is_file():
        return None, f"LPIPS was not measured: its backbone {ALEXNET} (download.pytorch.org/models) is not in {place.parent}."
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    except (ImportError, RuntimeError) as error:
        return None, f"LPIPS was not measured: torchmetrics cannot make it here ({str(error).splitlines()[0]})."
    return metric, ""


# -- over time ---------------------------------------------------------------------------------------------------------


def neighbours(vectors: np.ndarray, segment: np.ndarray | None = None) -> np.ndarray:
    """Cosine similarity of neighbouring frames' identity vectors [N, D]: [N - 1]; nan where `segment` [N] changes, at a cut or a gap."""
    unit = _unit(vectors)
    cosines = (unit[1:] * unit[:-1]).sum(1)
    return cosines if segment is None else np.where(np.diff(segment) == 0, cosines, np.nan)


def adjacent_similarity(vectors: np.ndarray, segment: np.ndarray | None = None) -> float:
    """Mean cosine of neighbouring frames' identity vectors [N, D], within segments [N]; nan if there are no two."""
    return mean_of(neighbours(vectors, segment))


def mean_of(values: Sequence[float] | np.ndarray) -> float:
    """The mean of the values that are not nan; nan if there are none."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if len(numbers) else float("nan")


def global_similarity(vectors: np.ndarray) -> float:
    """Mean cosine of all pairs of different frames' identity vectors [N, D]; nan for fewer than two frames."""
    unit, n = _unit(vectors), len(vectors)
    return float((np.square(unit.sum(0)).sum() - n) / (n * (n - 1))) if n > 1 else float("nan")


def tl_id(before: np.ndarray, after: np.ndarray, segment: np.ndarray | None = None) -> float:
    """Temporally local identity preservation (Tzaban et al. 2022, STIT): adjacent_similarity of the edit divided by that of the original.

    1: neighbouring frames of the edit are as similar as those of the original. Frames on both sides of a cut or a gap are not neighbours.
    """
    return adjacent_similarity(after, segment) / adjacent_similarity(before, segment)


def tg_id(before: np.ndarray, after: np.ndarray) -> float:
    """Temporally global identity preservation (STIT): as tl_id over all pairs of frames, so that slow drifts count too."""
    return global_similarity(after) / global_similarity(before)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Flicker:
    """Warped frame difference: each frame against the previous one, moved along the optical flow (DIS) of the *original* frames.

    In 8-bit levels, mean over the face. What the flow cannot explain, such as camera noise, is in the original's figure too;
    an edit that flickers has a higher one. Add frames with `add`; call `restart` at a gap in the track.
    """

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self.before: list[float] = []
        self.after: list[float] = []

    def restart(self) -> None:
        """Do not compare the next frame with the previous one."""
        self._last = None

    def add(self, original: np.ndarray, edited: np.ndarray, mask: np.ndarray) -> None:
        """Add the next frame's face square before and after the edit, uint8 [S, S, 3], and its mask, bool [S, S]."""
        grey = cv2.cvtColor(original, cv2.COLOR_RGB2GRAY)
        if self._last is not None and mask.any():
            grey_before, *pictures = self._last
            flow = self._flow.calc(grey, grey_before, None)
            y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
            for series, last, current in zip((self.before, self.after), pictures, (original, edited)):
                previous = cv2.remap(last, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                series.append(float(np.abs(previous.astype(np.float32) - current)[mask].mean()))
        self._last = grey, original, edited

    @property
    def figures(self) -> tuple[float, float]:
        """Mean of the original and of the edit; nan without two consecutive frames."""
        return tuple(float(np.mean(series)) if series else float("nan") for series in (self.before, self.after))
