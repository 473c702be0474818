"""The project's own face detector: CompactDetector applied to a frame, its maps converted to faces."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from dva_core.faces.types import Face
from dva_core.hosts.devices import to_device
from dva_core.hosts.results import fetch
from dva_core.networks.compact import STRIDES

Maps = list[tuple[Tensor, Tensor]]  # score and geometry by stride
POINT_UNIT = 4.0  # strides a unit of the point offsets
KNOWN_SIZE = 64  # pixels of the network's input that a face of known size gets
SMALL = 32  # pixels of the network's input; the points of smaller faces are up to a third of the eyes' distance off


def decode(maps: Maps, threshold: float) -> list[Face]:
    """Convert the detector's maps (batch of one, on the CPU) to faces, in pixels of its input; overlapping ones are not removed."""
    faces = []
    for stride, (score, geometry) in zip(STRIDES, maps):
        score = score[0].sigmoid()
        for row, column in (score > threshold).nonzero().tolist():
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            values = geometry[0, row, column]
            left, top, right, bottom = (values[:4].clamp(-8, 8).exp() * stride).tolist()
            points = values[4:].view(5, 2).numpy(force=True) * (POINT_UNIT * stride) + (x, y)
            faces.append(Face((x - left, y - top, x + right, y + bottom), float(score[row, column]), points))
    return faces


def fetch_maps(maps: Maps) -> Callable[[], Maps]:
    """Begin to copy the maps to the CPU, in one transfer; the function returned waits for them."""
    parts = [part for level in maps for part in level]
    if all(part.device.type == "cpu" for part in parts):
        return lambda: maps
    shapes = [part.shape for part in parts]
    fetched = fetch(torch.cat([part.flatten() for part in parts]), apart=False)

    def take() -> Maps:
        flat = torch.from_numpy(fetched()[0]).split([shape.numel() for shape in shapes])
        parts = [values.view(shape) for values, shape in zip(flat, shapes)]
        return list(zip(parts[::2], parts[1::2]))

    return take


def suppress(faces: list[Face], overlap: float = 0.4) -> list[Face]:
    """Greedy non-maximum suppression, best score first."""
    if not faces:
        return []
    boxes = [(f.box[0], f.box[1], f.box[2] - f.box[0], f.box[3] - f.box[1]) for f in faces]
    survivors = cv2.dnn.NMSBoxes(boxes, [f.score for f in faces], 0.0, overlap)
    return [faces[i] for i in np.asarray(survivors).reshape(-1)]


def _cover(face: Face, other: Face) -> bool:
    """Tell whether the centre of one face lies in the box of the other."""
    pairs = (face.centre, other.box), (other.centre, face.box)
    return any(x0 <= x <= x1 and y0 <= y <= y1 for (x, y), (x0, y0, x1, y1) in pairs)


class FaceDetector:
    """Face detection in frames with a CompactDetector.

    Args:
        network: [1, 3, H, W] in [-1, 1] -> maps; any callable with CompactDetector's interface, on any device.
        sides: the frame's longer side is scaled to the first of these; if nothing or only small faces are found, to the next.
        threshold: least score, 0..1.
        device: returns the device of the network's input; called before every evaluation.
    """

    def __init__(
        self,
        network: Callable[[Tensor], list[tuple[Tensor, Tensor]]],
        sides: tuple[int, ...] = (320, 640),
        threshold: float = 0.5,
        device: Callable[[], torch.device | str] = lambda: "cpu",
    ):
        self.network, self.sides, self.threshold, self.device = network, sides, threshold, device

    def detect(self, frame: np.ndarray) -> list[Face]:
        """Detect faces in a frame uint8 [H, W, 3] RGB, best score first."""
        faces: list[Face] = []
        for side in self.sides:
            faces = self._detect_at(frame, side) or faces
            small = SMALL * max(frame.shape[:2]) / side
            if any(max(x1 - x0, y1 - y0) >= small for x0, y0, x1, y1 in (face.box for face in faces)):
                break
            if side >= max(frame.shape[:2]):
                break  # further enlarging adds no detail
        return faces

    def detect_every_size(self, frame: np.ndarray) -> list[Face]:
        """Detect faces of all sizes in one frame, at the cost of a pass at every resolution."""
        faces: list[Face] = []
        more = [side for side in self.sides if side < max(frame.shape[:2])]  # further enlarging adds no detail
        for look in [self._begin_at(frame, side) for side in self.sides[: len(more) + 1]]:
            # at a high resolution large faces are found less well and displaced: only other faces are taken from it
            faces += [face for face in look() if not any(_cover(face, other) for other in faces)]
        return faces

    def detect_sized(self, frame: np.ndarray, extent: float) -> list[Face]:
        """Detect faces whose longer side is about `extent` pixels, at the resolution that this size needs."""
        side = max(frame.shape[:2])
        return self._detect_at(frame, int(np.clip(side * KNOWN_SIZE / extent, 2 * KNOWN_SIZE, self.sides[-1])))

    def _detect_at(self, frame: np.ndarray, side: int) -> list[Face]:
        return self._begin_at(frame, side)()

    @torch.no_grad()  # DirectML knows no inference mode
    def _begin_at(self, frame: np.ndarray, side: int) -> Callable[[], list[Face]]:
        """Begin to detect faces in a frame whose longer side is scaled to `side`; the function returned waits for them."""
        height, width = frame.shape[:2]
        scale = side / max(height, width)
        if round(min(height, width) * scale) < 1:  # so narrow that it would shrink to nothing
            return list
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        rows, columns = (-(-n // 32) * 32 for n in small.shape[:2])
        padded = np.full((rows, columns, 3), 127, np.uint8)
        padded[: small.shape[0], : small.shape[1]] = small
        image = to_device(torch.from_numpy(padded), self.device()).permute(2, 0, 1)[None].float() / 127.5 - 1
        back = np.array([width / small.shape[1], height / small.shape[0]])
        maps = fetch_maps(self.network(image))
        return lambda: [
            Face(tuple((np.reshape(f.box, (2, 2)) * back).reshape(4).tolist()), f.score, f.points5 * back)
            for f in suppress(decode(maps(), self.threshold))
        ]
