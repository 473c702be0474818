"""The paper's ablation (sec. 4, fig. 8): without L_reg the face's identity comes from the noise too, and moves with it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from ..diffusion import solvers
from ..errors import DVAError
from ..finder import to_images
from ..networks.hull import hull_mask
from ..sheet import as_picture, contact_sheet
from .judges import Judge
from .switching import features
from .table import Table

log = logging.getLogger(__name__)

FIGURES = ("identity over noises", "identity as the picture", "spread in face", "spread outside")
ENCODERS = ("identity.safetensors", "landmarks.safetensors", "detector.safetensors")


@torch.inference_mode()
def evaluate_ablation(
    models: Mapping[str, object],
    judge_of: Callable[[object], Judge],
    pictures: np.ndarray,
    *,
    noises: int = 5,
    steps: int = 20,
    seed: int = 0,
) -> tuple[Table, np.ndarray]:
    """Each picture [n, C, C, 3] decoded from several random noise maps, the same for all models, with its own z_face.

    identity over noises     mean cosine between results of one picture from different noises: 1 when the noise has no say
    identity as the picture  mean cosine with the picture itself
    spread                   standard deviation over the noises, in and outside the face, 8-bit levels

    `judge_of` makes the Judge of a model. Returns the table and a grid: a row a picture and model, the picture first.
    """
    table = Table("Ablation of L_reg", ["model", *FIGURES])
    grid: dict[str, list[np.ndarray]] = {}
    for name, model in models.items():
        judge, size = judge_of(model), model.image_size
        images = to_images(pictures)
        z_id, z_motion, landmarks = model.encode_identity(images), model.encode_motion(images), model.encode_landmarks(images)
        face = hull_mask(landmarks.float().cpu(), size)[:, 0].numpy() > 0
        generator = torch.Generator().manual_seed(seed)
        x_T = torch.randn((noises, 3, size, size), generator=generator)
        cosines, likeness, inner, outer = [], [], [], []
        for i in range(len(pictures)):
            z_face = model.fuse(z_id[i].repeat(noises, 1), z_motion[i].repeat(noises, 1))
            made = solvers.sample(model, x_T.to(z_face.device), z_face, steps, solver="angle2").float().cpu().clamp(-1, 1).numpy()
            vectors, _, _ = features(made, model, judge)
            alike = vectors @ vectors.T
            cosines.append(alike[~np.eye(noises, dtype=bool)].mean())
            likeness.append((vectors @ judge.embed(pictures[i : i + 1])[0]).mean())
            spread = made.std(0).mean(0) * 127.5
            inner.append(spread[face[i]].mean())
            outer.append(spread[~face[i]].mean())
            grid[f"{i + 1} {name}"] = [pictures[i], *map(as_picture, made)]
        table.add(name, *(float(np.mean(series)) for series in (cosines, likeness, inner, outer)))
        table.notes.append(f"{name}: {len(pictures)} pictures, {noises} noises, T = {steps}, angle2, identity by {judge.name}.")
    ordered = {key: grid[key] for key in sorted(grid, key=lambda key: int(key.split()[0]))}
    return table, contact_sheet(ordered, ["picture", *(f"noise {i + 1}" for i in range(noises))], tile=96)


def train_pair(config: Path, faces, run: Path, out: Path, *, minutes: float = 0, steps: int = 0, seed: int = 0) -> dict[str, Path]:
    """Two small models that differ in L_reg alone, trained from one seed; name -> bundle in `out`.

    `run` is a folder of `train` with variants and the distilled encoders. DVAError where something of it is missing.
    """
    from ..train.assemble import assemble
    from ..train.diffusion import DiffusionSettings, DiffusionTraining
    from ..train.synthesis import Variants

    if missing := [name for name in ("variants.npz", *ENCODERS) if not (run / name).is_file()]:
        raise DVAError(f"{run} lacks {', '.join(missing)}: run `python -m dva_core train` up to the step diffusion there first.")
    variants = Variants.load(run / "variants.npz")
    held_out = np.isin(variants.original, np.flatnonzero(faces.held_out))
    bundles = {}
    for name, weight in (("with L_reg", DiffusionSettings.reg_weight), ("without L_reg", 0.0)):
        folder = out / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        for file in ENCODERS:
            shutil.copyfile(run / file, folder / file)
        settings = DiffusionSettings(minutes=minutes, steps=steps, reg_weight=weight, seed=seed)
        training = DiffusionTraining(
            json.loads(config.read_text(encoding="utf-8")), run, variants, held_out, folder / "diffusion", settings
        )
        log.info("ablation: %s: %s", name, training.run())
        bundles[name] = assemble(folder, faces, folder / "model.safetensors").path
    return bundles
