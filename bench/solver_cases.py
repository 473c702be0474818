"""What bench/solvers.py measures on: a few frames of each video, the edits, and each edit as 1000 steps of DDIM make it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dva_core.decomposition import Decomposition
from dva_core.diffusion import ddim
from dva_core.edit import apply_attributes
from dva_core.model.arrays import fuse, shrink, to_images
from dva_core.pipeline import encode
from dva_core.pipeline.masks import SoftMasks

logger = logging.getLogger(__name__)

EDITS = {"Young": -0.8, "Male": -0.8, "Eyeglasses": 0.8, "Beard": 0.8, "Smiling": 0.6}  # four of the identity, one of the motion
REBUILT = "rebuilt"  # the name of no edit


@dataclass(frozen=True)
class Cases:
    """N frames of several videos, in one batch.

    names        "video:row"; neighbours lists pairs of indices of frames that follow each other
    original     [N, 3, S, S] in [-1, 1]; mask [N, 1, S, S] bool, the face, at the noise predictor's size
    squares      uint8 [N, C, C, 3] as cut out; soft_masks as pasting uses them
    z_face       of REBUILT and of each edit [N, F]
    """

    names: list[str]
    neighbours: list[tuple[int, int]]
    original: Tensor
    mask: Tensor
    squares: np.ndarray
    soft_masks: list[np.ndarray]
    z_face: dict[str, Tensor]


def rows_of(faces: int, frames: int) -> list[int]:
    """`frames` rows of a video: evenly over it, the last two neighbours of each other."""
    spread = [round((i + 0.5) * faces / max(1, frames - 1)) for i in range(max(1, frames - 1))]
    return sorted({*spread, min(spread[-1] + 1, faces - 1)} if frames > 1 else set(spread))


@torch.inference_mode()
def collect(videos: Sequence[Path], model, frames: int, edits: dict[str, float]) -> Cases:
    """Takes `frames` frames of each video. Encoding with one step evaluates the network once a frame: only the vectors are wanted."""
    names, neighbours, squares, soft, parts, masks = [], [], [], [], {name: [] for name in (REBUILT, *edits)}, []
    for path in videos:
        decomposition: Decomposition = encode(path, model, steps=1)
        rows = rows_of(decomposition.faces, frames)
        neighbours += [(len(names) + i, len(names) + i + 1) for i in range(len(rows) - 1) if rows[i + 1] == rows[i] + 1]
        names += [f"{path.stem}:{row}" for row in rows]
        squares.append(decomposition.crops[rows])
        masks.append(shrink(torch.from_numpy(decomposition.masks[rows]).float()[:, None], model.image_size) > 0.5)
        soften = SoftMasks(decomposition)
        soft += [soften[row] for row in rows]
        for name in parts:
            edited = decomposition if name == REBUILT else apply_attributes(decomposition, model, {name: edits[name]})
            parts[name].append(fuse(model, edited.current_identity(rows), edited.current_z_motion(rows)))
    squares = np.concatenate(squares)
    original = shrink(to_images(squares), model.image_size)
    return Cases(names, neighbours, original, torch.cat(masks), squares, soft, {name: torch.cat(part) for name, part in parts.items()})


class Reference:
    """The edits by `steps` steps of DDIM, the paper's settings, kept in a folder a piece at a time: an interrupted run goes on."""

    def __init__(self, model, cases: Cases, folder: Path, steps: int = 1000, batch: int = 16):
        self.model, self.cases, self.steps, self.batch = model, cases, steps, batch
        self.folder = folder / model.fingerprint[:12] / f"ddim{steps}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.noise = self._all("noise", lambda rows: ddim.invert(model, cases.original[rows], cases.z_face[REBUILT][rows], steps))
        self.decoded = {name: self._all(name, self._decode(name)) for name in cases.z_face}

    def _decode(self, name: str) -> Callable[[list[int]], Tensor]:
        return lambda rows: ddim.sample(self.model, self.noise[rows], self.cases.z_face[name][rows], self.steps)

    def _all(self, name: str, make: Callable[[list[int]], Tensor]) -> Tensor:
        """[N, 3, S, S] float32: what is in the folder, the rest made in batches and put there, a file a frame."""
        files = [self.folder / f"{case.replace(':', '_')}_{name}.npy" for case in self.cases.names]
        missing = [i for i, file in enumerate(files) if not file.is_file()]
        for start in range(0, len(missing), self.batch):
            rows = missing[start : start + self.batch]
            logger.info("reference: %s, frames %d to %d of %d missing", name, start + 1, start + len(rows), len(missing))
            for row, image in zip(rows, make(rows).numpy()):
                np.save(files[row], image)
        return torch.from_numpy(np.stack([np.load(file) for file in files]))
