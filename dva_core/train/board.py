"""TensorBoard logs of a training run: losses, learning rate, validation figures and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from dva_core.diffusion import solvers
from dva_core.errors import MissingDependencyError
from dva_core.model.arrays import as_picture, to_images
from dva_core.pipeline.sheet import contact_sheet

NOISES = 3
TILE = 96


class Board:
    """Logs to TensorBoard in `folder` from `step` on; later steps of an earlier run are hidden.

    MissingDependencyError without tensorboard.
    """

    def __init__(self, folder: Path, step: int = 0):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError("Logs need tensorboard: pip install tensorboard (or leave out --tensorboard).") from error
        self.writer = SummaryWriter(str(folder), purge_step=step or None)

    def figures(self, step: int, **values: float) -> None:
        """Log keyword name_of_group__name as the curve `name_of_group/name`."""
        for name, value in values.items():
            self.writer.add_scalar(name.replace("__", "/"), value, step)

    def pictures(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
        for name, grid in grids.items():
            self.writer.add_image(f"samples/{name}", grid, step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


@torch.no_grad()
def sample_grids(model, pictures: np.ndarray, steps: int = 10, seed: int = 1) -> dict[str, np.ndarray]:
    """Three sheets uint8 [H, W, 3] of `pictures` [n, S, S, 3], each of another person, by the current weights of a DiffusionTraining.

    reconstruction     the picture, and rebuilt from its own noise map
    random_noise       the same z_face from NOISES random noise maps: the face should stay, the background change
    switched_identity  motion and noise map of the picture, identity of the next: the other person in the same place
    """
    z_id, motion, x_0, _ = model.decompose(to_images(pictures)[:, None])
    z_face = model.conditioner.fuse(z_id, motion)
    x_T = solvers.invert(model, x_0, z_face, steps)
    generator = torch.Generator().manual_seed(seed)
    noises = [torch.randn(x_T.shape, generator=generator).to(x_T.device) for _ in range(NOISES)]
    rebuilt = tiles(solvers.sample(model, x_T, z_face, steps))
    random = [tiles(solvers.sample(model, noise, z_face, steps)) for noise in noises]
    swapped = tiles(solvers.sample(model, x_T, model.conditioner.fuse(z_id.roll(-1, 0), motion), steps))
    originals = tiles(x_0)

    def sheet(captions: list[str], *columns: list[np.ndarray]) -> np.ndarray:
        return contact_sheet({str(i + 1): row for i, row in enumerate(zip(*columns))}, captions, TILE)

    return {
        "reconstruction": sheet(["picture", "rebuilt"], originals, rebuilt),
        "random_noise": sheet(["picture", *(f"noise {i + 1}" for i in range(NOISES))], originals, *random),
        "switched_identity": sheet(["picture", "identity", "switched"], originals, originals[1:] + originals[:1], swapped),
    }


def tiles(images: torch.Tensor) -> list[np.ndarray]:
    return [as_picture(image) for image in images.float().cpu().numpy()]
