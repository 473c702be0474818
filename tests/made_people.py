"""Frames with several people, made of real ones: their heads on a ground, each on a path of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from conftest import need_shared

from dva_core.video import open_video

WIDTH, HEIGHT, SIZE = 480, 240, 80  # of the frame and of a face, from brows to chin
MIDDLE = 120
ANNA, BERT = "lbax4n", "sbwe5n"  # whom the starter's identity network takes for each other most
Path = Callable[[int], "tuple[float, bool] | None"]  # frame -> where the face is (x), and whether it is seen from the front; None: away


@dataclass
class Frame:
    index: int
    rgb: np.ndarray


@cache
def heads(name: str) -> list[np.ndarray]:
    """The head of one of the shared videos, cut out in every fourth frame: uint8 [h, w, 3]."""
    landmarks = np.load(need_shared("data/clips/annotations.npz"))[f"{name}/landmarks68"]
    scale = SIZE / float(np.ptp(landmarks[..., 1], axis=1).mean())
    width, height = int(1.7 * SIZE), 2 * SIZE
    cut = []
    with open_video(need_shared(f"data/clips/{name}.mpg")) as reader:
        for frame, points in zip(reader, landmarks):
            if frame.index % 4 == 0:
                x, y = points.mean(0)
                affine = np.array([[scale, 0, width / 2 - scale * x], [0, scale, 0.56 * height - scale * y]])
                cut.append(cv2.warpAffine(frame.rgb, affine, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE))
    return cut


def draw_people(frames: int, people: list[tuple[str, Path]]) -> list[Frame]:
    """The people on a ground of their own, the last in front; a head turned away is its hair."""
    ground = cv2.resize(np.random.default_rng(5).integers(90, 150, (8, 16, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((2 * SIZE, int(1.7 * SIZE)), np.float32)
    cv2.ellipse(mask, (mask.shape[1] // 2, SIZE), (int(0.62 * SIZE), int(0.86 * SIZE)), 0, 0, 360, 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.5)[..., None]
    made = []
    for index in range(frames):
        rgb = cv2.copyMakeBorder(ground, 0, 0, 200, 200, cv2.BORDER_REFLECT)
        for name, path in people:
            if (at := path(index)) is None:
                continue
            head = heads(name)[index // 4 % len(heads(name))] if at[1] else np.full((*mask.shape[:2], 3), (45, 35, 30), np.uint8)
            top, left = MIDDLE - int(0.56 * mask.shape[0]), 200 + round(at[0] - mask.shape[1] / 2)
            there = rgb[top : top + mask.shape[0], left : left + mask.shape[1]]
            there[:] = np.rint(there * (1 - mask) + head * mask)
        made.append(Frame(index, np.ascontiguousarray(rgb[:, 200:-200])))
    return made
