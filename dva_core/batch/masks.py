"""Masks of what stays in front of the face, as one file that can be uploaded to a server: a picture or a small lossless video."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from ..errors import DVAError
from .jobs import Job, Plan

LONGEST = 512  # pixels of a frame's longer side: ComfyUI holds them all, at 12 bytes a pixel


def mask_file(plan: Plan, job: Job) -> Path | None:
    """Path of the file of a job's masks, which depends on their content. None without masks."""
    if job.keep is None:
        return None
    files = [job.keep] if job.keep.is_file() else sorted(path for path in job.keep.iterdir() if path.is_file())
    state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
    return plan.state / f"keep_{digest}{'.png' if is_picture(job.keep) else '.mkv'}"


def make_mask_files(plan: Plan) -> None:
    """Write the files of `mask_file` for all jobs that have no result yet. DVAError for invalid masks."""
    for job in plan.missing():
        path = mask_file(plan, job)
        if path is not None and not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DVAError(f"{path.parent} cannot be made ({error.strerror}); choose another folder for the results.") from error
            _write(job.keep, path)


def is_picture(path: Path) -> bool:
    from ..video.images import SUFFIXES
    from ..video.webp import is_animated_webp

    return path.is_file() and path.suffix.lower() in SUFFIXES and not is_animated_webp(path)


def _write(keep: Path, path: Path) -> None:
    from ..pipeline.front import open_masks
    from ..video import Frame, VideoInfo, VideoWriter
    from ..video.images import save_picture

    masks = open_masks(keep)
    try:
        if path.suffix == ".png":
            save_picture(path, _as_picture(masks[0], masks.size))
            return
        scale = min(1.0, LONGEST / max(masks.size))
        size = tuple(max(1, round(side * scale)) for side in masks.size)
        with VideoWriter(path, VideoInfo.for_images(*size, 25, masks.count), codec="ffv1") as writer:
            for number in range(masks.count):
                writer.write(Frame.from_rgb(_as_picture(masks[number], size), number))
    finally:
        masks.close()


def _as_picture(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert a mask [h, w] in 0..1 to uint8 [H, W, 3]."""
    if mask.shape != size[::-1]:
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.rint(mask * 255).astype(np.uint8)[..., None].repeat(3, 2))
