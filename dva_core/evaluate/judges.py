"""Identity networks that judge whether an edited face is still the same person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..model.arrays import to_images


@dataclass(frozen=True)
class Judge:
    """An identity network by name. `independent`: it is not the network whose vector the edit changes, which would be biased."""

    name: str
    independent: bool
    embed: Callable[[np.ndarray], np.ndarray]  # face squares uint8 [N, S, S, 3] -> vectors [N, D]


def own_judge(model) -> Judge:
    """The model's own identity encoder, whose vector the edit changes."""

    @torch.inference_mode()
    def embed(pictures: np.ndarray) -> np.ndarray:
        return model.encode_identity(to_images(pictures)).float().cpu().numpy()

    return Judge("the model's own identity encoder", False, embed)


def teacher_judge(model, folder: str | Path) -> Judge:
    """MobileFaceNet (ONNX) from a folder of teacher networks, aligned by the model's landmarks. Needs onnxruntime."""
    from ..train.teachers import Teachers, five_points

    teachers = Teachers(folder)

    @torch.inference_mode()
    def embed(pictures: np.ndarray) -> np.ndarray:
        landmarks = model.track_landmarks(to_images(pictures)).float().cpu().numpy() * pictures.shape[1]
        return teachers.embed(pictures, five_points(landmarks))

    return Judge("MobileFaceNet", True, embed)
