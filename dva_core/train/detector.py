"""Distillation of the face detector: faces with the teacher's points, pasted at random places, sizes and rotations into random scenes."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from dva_core.faces.detector import POINT_UNIT, FaceDetector
from dva_core.faces.search import overlap
from dva_core.model.arrays import to_images
from dva_core.networks.compact import STRIDES, CompactDetector
from dva_core.train.encoders import Batches, one_cycle
from dva_core.train.faces import FaceSet
from dva_core.train.state import write_network
from dva_core.train.synthesis import Variants

log = logging.getLogger(__name__)

SIZE_LIMITS = (0, 44, 100, 1e9)  # geometric mean of a box's sides, in pixels, that belongs to each of STRIDES
CENTRAL = 0.3  # cells in this share of the box, around its centre, must find the face


def face_box(landmarks: np.ndarray) -> np.ndarray:
    """Compute the box (x0, y0, x1, y1) of 68 landmarks: the width of the jaw, from the chin to 0.35 of the height above the brows."""
    x0, y0 = landmarks.min(0)
    x1, y1 = landmarks.max(0)
    return np.array([x0, y0 - 0.35 * (y1 - y0), x1, y1])


def scene(pictures: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a size x size picture without a face: coloured noise, shuffled tiles of pictures, stripes and blots."""
    kind = rng.random()
    if kind < 0.45:
        cells = int(rng.integers(2, 24))
        canvas = cv2.resize(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8), (size, size), interpolation=cv2.INTER_CUBIC)
        canvas = cv2.addWeighted(canvas, rng.uniform(0.1, 1), np.full_like(canvas, rng.integers(0, 256, 3)), 1 - rng.uniform(0.1, 1), 0)
    else:
        tile = int(rng.choice([12, 16, 24]))
        picture = pictures[rng.integers(len(pictures))][: 128 // tile * tile, : 128 // tile * tile]
        n = len(picture) // tile
        tiles = rearrange(picture, "(y h) (x w) c -> (y x) h w c", y=n, x=n)
        border = [i for i in range(n * n) if i // n in (0, n - 1) or i % n in (0, n - 1)]
        order = rng.permutation(n * n) if kind < 0.75 else rng.choice(border, n * n)
        shuffled = rearrange(tiles[order], "(y x) h w c -> (y h) (x w) c", y=n, x=n)
        canvas = cv2.resize(shuffled, (size, size), interpolation=cv2.INTER_LINEAR)
    for _ in range(rng.integers(0, 6)):
        a, b = (tuple(int(v) for v in rng.integers(0, size, 2)) for _ in range(2))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        if rng.random() < 0.5:
            cv2.ellipse(canvas, (a, (abs(a[0] - b[0]) // 2 + 3.0, abs(a[1] - b[1]) // 2 + 3.0), float(rng.uniform(0, 180))), colour, -1)
        else:
            cv2.rectangle(canvas, a, b, colour, int(rng.choice([-1, 2, 6])))
    return cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 2.5))


def paste_mask(size: int, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the mask [size, size], 0..1, of a face pasted into a scene: whole, an oval with the hair, or its outline, softened."""
    kind = rng.random()
    if kind < 0.35:
        return np.ones((size, size), np.float32)
    mask = np.zeros((size, size), np.uint8)
    x0, y0, x1, y1 = face_box(landmarks)
    if kind < 0.75:
        grow = rng.uniform(1.0, 1.6)
        box = ((float(x0 + x1) / 2, float(y0 + y1) / 2), (float(x1 - x0) * grow, float(y1 - y0) * grow), 0.0)
        cv2.ellipse(mask, box, 255, -1)
    else:
        cv2.fillConvexPoly(mask, cv2.convexHull(np.int32(np.r_[landmarks, [[x0, y0 + 8], [x1, y0 + 8]]])), 255)
    return cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 4)).astype(np.float32) / 255


def compose(pictures, landmarks, points5, size: int, rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Compose a frame with 0 to 3 of the given faces, and (box [4], points [5, 2]) of each in its pixels."""
    frame = scene(pictures, size, rng)
    labels: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(rng.choice(4, p=[0.1, 0.6, 0.2, 0.1])):
        i = rng.integers(len(pictures))
        box = face_box(landmarks[i])
        side = float(np.sqrt(np.prod(box[2:] - box[:2])))
        target = np.exp(rng.uniform(np.log(16), np.log(0.85 * size)))
        angle, scale = np.deg2rad(rng.normal(0, 12)), target / side
        matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if flip := rng.random() < 0.5:
            matrix = matrix @ np.diag([-1.0, 1.0])
        half = min(target * 0.55, size * 0.5)
        centre = rng.uniform(half, size - half, 2) if half < size / 2 else np.full(2, size / 2)
        offset = centre - matrix @ ((box[:2] + box[2:]) / 2)
        corners = (landmarks[i] @ matrix.T) + offset
        new_box = face_box(corners)
        if any(np.maximum(0, np.minimum(new_box[2:], b[2:]) - np.maximum(new_box[:2], b[:2])).prod() > 0 for b, _ in labels):
            continue  # no label for a face behind another
        affine = np.c_[matrix, offset + matrix @ [0.5, 0.5] - 0.5].astype(np.float32)
        blur = pictures[i] if scale > 0.7 else cv2.GaussianBlur(pictures[i], (0, 0), 0.4 / scale)
        mask = cv2.warpAffine(paste_mask(len(pictures[i]), landmarks[i], rng), affine, (size, size))[..., None]
        mode = cv2.BORDER_REFLECT if target > 0.6 * size else cv2.BORDER_CONSTANT
        if mode == cv2.BORDER_REFLECT and rng.random() < 0.5:
            mask = np.ones_like(mask)
        layer = cv2.warpAffine(blur, affine, (size, size), flags=cv2.INTER_LINEAR, borderMode=mode)
        gain = rng.uniform(0.6, 1.2)
        frame = np.clip(frame * (1 - mask) + layer * (mask * gain), 0, 255).astype(np.uint8)
        points = points5[i] @ matrix.T + offset
        labels.append((new_box, points[[1, 0, 2, 4, 3]] if flip else points))
    return frame, labels


def targets(labels: list[tuple[np.ndarray, np.ndarray]], size: int) -> list[tuple[Tensor, Tensor]]:
    """Make score [h, w] and geometry [h, w, 14] of each level for one frame; geometry only counts where the score is 1."""
    levels = []
    for stride, low, high in zip(STRIDES, SIZE_LIMITS, SIZE_LIMITS[1:]):
        n = size // stride
        score, geometry = np.zeros((n, n), np.float32), np.zeros((n, n, 14), np.float32)
        centres = (np.arange(n) + 0.5) * stride
        for box, points in labels:
            if not low <= np.sqrt(np.prod(box[2:] - box[:2])) < high:
                continue
            middle, reach = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) * CENTRAL / 2, stride * 0.51)
            columns, rows = (np.flatnonzero(np.abs(centres - middle[k]) <= reach[k]) for k in (0, 1))
            for row in rows:
                for column in columns:
                    cell = np.array([centres[column], centres[row]])
                    sides = np.r_[cell - box[:2], box[2:] - cell]
                    score[row, column] = 1
                    geometry[row, column, :4] = np.log(np.maximum(sides, 0.1 * stride) / stride)
                    geometry[row, column, 4:] = ((points - cell) / (POINT_UNIT * stride)).reshape(10)
        levels.append((torch.from_numpy(score), torch.from_numpy(geometry)))
    return levels


def detector_loss(maps, target_maps) -> Tensor:
    """Focal loss of the score (Lin et al. 2017) plus L1 of the geometry at the cells of faces, summed over the levels."""
    total = maps[0][0].new_zeros(())
    faces = sum(score.sum() for score, _ in target_maps).clamp(min=1)
    for (logit, geometry), (score, values) in zip(maps, target_maps):
        probability = logit.sigmoid()
        weight = torch.where(score > 0, (1 - probability) ** 2, 0.5 * probability**2)
        total = total + (weight * F.binary_cross_entropy_with_logits(logit, score, reduction="none")).sum() / faces
        total = total + (geometry - values).abs()[score > 0].sum() / faces
    return total


def train_detector(
    faces: FaceSet, variants: Variants, out: Path, *, minutes: float = 15, batch: int = 16, size: int = 256, seed: int = 0
) -> dict:
    """Fit CompactDetector, write `out`, and return recall and false alarms on scenes with held-out people."""
    torch.manual_seed(seed)
    network = CompactDetector().to(memory_format=torch.channels_last)
    with torch.no_grad():
        for head in network.heads:
            head[-1].bias[0] = -4.0  # most cells contain no face
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    batches = Batches(faces, variants, batch, minutes, seed)
    real = np.flatnonzero(variants.original >= 0)  # morphs have no five points of the teacher
    training = real[~faces.held_out[variants.original[real]]]
    for step, (_, progress) in enumerate(batches):
        rows = batches.rng.choice(training, 64)
        bank = variants.pictures[rows], variants.landmarks[rows], faces.points5[variants.original[rows]]
        frames, labels = zip(*(compose(*bank, size, batches.rng) for _ in range(batch)))
        target_maps = [tuple(torch.stack(parts) for parts in zip(*level)) for level in zip(*(targets(f, size) for f in labels))]
        optimiser.param_groups[0]["lr"] = one_cycle(progress, 2e-3)
        loss = detector_loss(network(to_images(np.stack(frames))), target_maps)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        if step % 50 == 0:
            log.info("detector: step %d, %.0f %% of the time, loss %.3f", step, 100 * progress, loss.item())
    network.eval()
    result = {"samples": (step + 1) * batch, "minutes": minutes, **measure(network, faces.take(faces.held_out), size)}
    write_network(out, network)
    log.info("detector: %s", result)
    return result


def measure(network: CompactDetector, faces: FaceSet, size: int, scenes: int = 200) -> dict:
    """Measure recall (IoU at least 0.5), false alarms a scene, and the mean point error in eye distances."""
    rng, detector = np.random.default_rng(1), FaceDetector(network, sides=(size,))
    hits = total = alarms = 0
    errors = []
    for _ in range(scenes):
        frame, labels = compose(faces.pictures, faces.landmarks, faces.points5, size, rng)
        detections = detector.detect(frame)
        total += len(labels)
        matches = 0
        for box, points in labels:
            for face in detections:
                if overlap(box, face.box) >= 0.5:
                    matches += 1
                    errors.append(np.linalg.norm(face.points5 - points, axis=1).mean() / np.linalg.norm(points[0] - points[1]))
                    break
        hits += matches
        alarms += len(detections) - matches
    return {
        "recall": round(hits / max(total, 1), 4),
        "false_alarms_a_scene": round(alarms / scenes, 4),
        "point_error": round(float(np.mean(errors or [np.nan])), 4),
    }
