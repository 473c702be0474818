"""The paper's check of the decomposition (sec. 4, "decomposed features"): one feature taken from another video, the others kept."""

from __future__ import annotations

import numpy as np
import torch

from ..decomposition import Decomposition
from ..edit import apply_switch
from ..model.arrays import as_picture, shrink, to_images
from ..model.autoencoder import JAW
from ..pipeline import decode_crops
from ..pipeline.sheet import contact_sheet, moments
from .judges import Judge
from .table import Table

SWITCHES = {
    "identity of B": {"identity": True},
    "motion of B": {"motion": True},
    "background of B": {"background": True},
    "random noise": {"noise_seed": 0},
}
FIGURES = ("identity as A", "identity as B", "motion off A", "motion off B", "background off A", "background off B")


def evaluate_switch(
    a: Decomposition, b: Decomposition, model, judge: Judge, *, columns: int = 6, progress=None
) -> tuple[Table, np.ndarray]:
    """Figures of every switch of two videos encoded alike, and the grid uint8 [H, W, 3]: a row per switch, a column per moment of A.

    identity    cosine with A's and B's rebuilt crops by `judge`, mean over the moments
    motion      mean distance of the 51 inner landmarks, in hundredths of the crop's side
    background  mean absolute difference outside both face masks, 8-bit levels
    """
    rows = moments(a.faces, columns)
    other_rows = [row % b.faces for row in rows]
    crops = {"A, rebuilt": a.rebuilt[rows], "B, rebuilt": b.rebuilt[other_rows]}
    for name, settings in SWITCHES.items():
        result = apply_switch(a, model, b, **settings)
        crops[name] = np.stack(list(decode_crops(result, model, rows, progress=progress)))
    background = ~(mask_of(a, rows, model) | mask_of(b, other_rows, model))
    references = {name: features(crops[name], model, judge) for name in crops}
    ours, theirs = references["A, rebuilt"], references["B, rebuilt"]
    table = Table(f"Switched features, {model.config.get('name', 'model')}", ["crops", *FIGURES])
    for name, (identity, motion, picture) in references.items():
        cells = [(identity * each[0]).sum(1).mean() for each in (ours, theirs)]
        cells += [100 * np.linalg.norm(motion - each[1], axis=2).mean() for each in (ours, theirs)]
        cells += [np.abs(picture - each[2]).mean(1)[background].mean() * 127.5 for each in (ours, theirs)]
        table.add(name, *map(float, cells))
    table.notes += [
        f"A is {a.info.source}, B is {b.info.source}; T = {a.info.steps}, {a.info.solver}; {len(rows)} moments.",
        f"Identity judged by {judge.name}.",
        "Motion in hundredths of the crop's side, background in 8-bit levels outside both faces.",
    ]
    pictures = {name: [as_picture(crop) for crop in some] for name, some in crops.items()}
    return table, contact_sheet(pictures, [f"frame {a.frame_index[row]}" for row in rows])


def mask_of(decomposition: Decomposition, rows: list[int], model) -> np.ndarray:
    """Face masks of some rows at the noise predictor's size, bool [n, S, S]."""
    return (shrink(torch.from_numpy(decomposition.masks[rows]).float()[:, None], model.image_size)[:, 0] > 0).numpy()


@torch.inference_mode()
def features(crops: np.ndarray, model, judge: Judge) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Identity vectors [n, D], inner landmarks [n, 51, 2] in 0..1 of the crop and the crops float [n, 3, S, S] themselves."""
    pictures = np.stack([as_picture(crop) for crop in crops])
    larger = to_images(pictures)
    if model.crop_size != model.image_size:
        larger = torch.nn.functional.interpolate(larger, (model.crop_size,) * 2, mode="bicubic", align_corners=False).clamp(-1, 1)
    motion = model.encode_landmarks(larger)[:, JAW:].float().cpu()
    pictures = np.stack([as_picture(image) for image in larger.cpu().numpy()])
    return judge.embed(pictures), motion.numpy(), crops.astype(np.float32).clip(-1, 1)
