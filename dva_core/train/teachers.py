"""The teacher networks (ONNX) that label pictures for distillation and evaluation.

Needs onnxruntime. Pictures are uint8 RGB squares in FFHQ alignment ([N, S, S, 3]); the part of such a square that each teacher
sees was measured by those who packed them and is documented beside the files.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from einops import rearrange

from dva_core.errors import MissingDependencyError, MissingFileError

# ArcFace 112 x 112 template: left eye, right eye, nose tip, left and right mouth corner (as seen in the picture)
ARCFACE_TEMPLATE = np.float32([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
EXPRESSION_WINDOW = (0.141, 0.219, 0.719)
EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")


def window(pictures: np.ndarray, box: tuple[float, float, float], size: int = 112) -> np.ndarray:
    """Cut `box` (left, top, side: fractions) from [N, S, S, 3] pictures and resize to [N, size, size, 3]."""
    side = pictures.shape[1]
    scale = size / (box[2] * side)
    matrix = np.float32([[scale, 0, (0.5 - box[0] * side) * scale - 0.5], [0, scale, (0.5 - box[1] * side) * scale - 0.5]])
    return np.stack([cv2.warpAffine(p, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for p in pictures])


def teacher_file(folder: Path, name: str) -> Path:
    """Find the network called `name`; DVAError if it is missing."""
    path = folder / f"{name}.onnx"
    if not path.is_file():
        raise MissingFileError(f"Teacher network {path} is missing: point --teachers at the folder that holds {name}.onnx.")
    return path


class Teachers:
    """Identity (MobileFaceNet), 68 landmarks, expression, age and sex; each loaded on first use.

    Args:
        folder: where the .onnx files lie. Raises DVAError when a file is missing, MissingDependencyError without onnxruntime.
    """

    def __init__(self, folder: Path | str, threads: int = 1):
        self.folder, self.threads = Path(folder), threads
        self._sessions = {}

    def _run_session(self, name: str, inputs: np.ndarray) -> list[np.ndarray]:
        if name not in self._sessions:
            try:
                import onnxruntime
            except ImportError as error:
                raise MissingDependencyError("The teacher networks need onnxruntime: pip install onnxruntime.") from error
            path = teacher_file(self.folder, name)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            self._sessions[name] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        session = self._sessions[name]
        return session.run(None, {session.get_inputs()[0].name: inputs})

    def embed(self, pictures: np.ndarray, points5: np.ndarray) -> np.ndarray:
        """Compute identity embeddings [N, 128], unit length, of uint8 pictures with five points [N, 5, 2] in pixels."""
        crops = []
        for picture, points in zip(pictures, points5):
            matrix, _ = cv2.estimateAffinePartial2D(np.float32(points), ARCFACE_TEMPLATE, method=cv2.LMEDS)
            crops.append(cv2.warpAffine(picture, matrix, (112, 112)))
        mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
        inputs = rearrange((np.stack(crops).astype(np.float32) / 255 - mean) / std, "n h w c -> n c h w")
        vectors = self._run_session("mobilefacenet", np.ascontiguousarray(inputs))[0]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _run_both(self, name: str, pictures: np.ndarray, box: tuple[float, float, float]):
        crops = rearrange(window(pictures, box).astype(np.float32), "n h w c -> n c h w")
        return zip(self._run_session(name, np.ascontiguousarray(crops)), self._run_session(name, np.ascontiguousarray(crops[..., ::-1])))

    def expression(self, pictures: np.ndarray) -> np.ndarray:
        """Compute probabilities [N, 7] in the order of EXPRESSIONS, mean over the picture and its mirror image."""
        ((plain, flipped),) = self._run_both("expression", pictures, EXPRESSION_WINDOW)
        return (plain + flipped) / 2

    def age_male(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimate age in years [N] and probability of being male [N], mean over the picture and its mirror image."""
        (age, age_mirrored), (male, male_mirrored) = self._run_both("age_gender", pictures, EXPRESSION_WINDOW)
        return ((age + age_mirrored) / 2).reshape(-1), ((male + male_mirrored) / 2).reshape(-1)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Reduce 68 landmarks [n, 68, 2] to the five points [n, 5, 2] for `Teachers.embed`: eyes, nose tip, corners of the mouth."""
    groups = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))
    return np.stack([landmarks[:, group].mean(1) for group in groups], 1)
