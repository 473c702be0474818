"""The paper's ablation (sec. 4, fig. 8): without L_reg the face's identity depends on the noise map too, and changes with it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from ..diffusion import solvers
from ..errors import DVAError
from ..model.arrays import as_picture, to_images
from ..networks.hull import hull_mask
from ..pipeline.sheet import contact_sheet
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
    """Decode each picture [n, C, C, 3] from several random noise maps, the same for all models, with its own z_face.

    identity over noises     mean cosine between results of one picture from different noises: 1 if the noise has no influence
    identity as the picture  mean cosine with the picture itself
    spread                   standard deviation over the noises, inside and outside the face, 8-bit levels

    `judge_of` makes the Judge of a model. Returns the table and a grid: a row per picture and model, the picture first.
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
            samples = solvers.sample(model, x_T.to(z_face.device), z_face, steps, solver="angle2").float().cpu().clamp(-1, 1).numpy()
            vectors, _, _ = features(samples, model, judge)
            similarities = vectors @ vectors.T
            cosines.append(similarities[~np.eye(noises, dtype=bool)].mean())
            likeness.append((vectors @ judge.embed(pictures[i : i + 1])[0]).mean())
            spread = samples.std(0).mean(0) * 127.5
            inner.append(spread[face[i]].mean())
            outer.append(spread[~face[i]].mean())
            grid[f"{i + 1} {name}"] = [pictures[i], *map(as_picture, samples)]
        table.add(name, *(float(np.mean(series)) for series in (cosines, likeness, inner, outer)))
        table.notes.append(f"{name}: {len(pictures)} pictures, {noises} noises, T = {steps}, angle2, identity by {judge.name}.")
    sorted_rows = {key: grid[key] for key in sorted(grid, key=lambda key: int(key.split()[0]))}
    return table, contact_sheet(sorted_rows, ["picture", *(f"noise {i + 1}" for i in range(noises))], tile=96)


def train_pair(faces, run: Path, out: Path, *, config: Path | str | None = None, start: Path | None = None, **settings) -> dict[str, Path]:
    """Train two models that differ in L_reg alone, from one seed; name -> bundle in `out`.

    run        a folder of `train` with variants and, without `start`, the distilled encoders
    config     of both models, trained from random weights (JSON)
    start      instead of it a bundle whose weights both start from: their difference then shows within minutes
    settings   of DiffusionSettings, except reg_weight

    DVAError if an input is missing.
    """
    from ..model.bundle import read_bundle
    from ..train.assemble import assemble, assemble_finetuned
    from ..train.diffusion import DiffusionSettings, DiffusionTraining
    from ..train.settings import read_json
    from ..train.synthesis import load_variants

    if missing := [name for name in ENCODERS if start is None and not (run / name).is_file()]:
        raise DVAError(f"{run} lacks {', '.join(missing)}: run `python -m dva_core train` up to the step diffusion there first.")
    variants = load_variants(run)
    held_out = np.isin(variants.original, np.flatnonzero(faces.held_out))
    about = read_bundle(start).config if start else read_json(config)
    bundles = {}
    for name, weight in (("with L_reg", DiffusionSettings.reg_weight), ("without L_reg", 0.0)):
        folder = out / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        run_settings = DiffusionSettings.of({**settings, "reg_weight": weight}, "The ablation")
        training = DiffusionTraining(about, start or run, variants, held_out, folder / "diffusion", run_settings)
        if start:
            training.start_from(start)
        log.info("ablation: %s: %s", name, training.run())
        if start:
            bundles[name] = assemble_finetuned(folder, start, folder / "model.safetensors", name=name).path
        else:
            for file in ENCODERS:
                shutil.copyfile(run / file, folder / file)
            bundles[name] = assemble(folder, faces, folder / "model.safetensors").path
    return bundles
