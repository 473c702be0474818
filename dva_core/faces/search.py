"""Where the detector searches: in the whole frame or around the last place, either of them rotated for a tilted head."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from dva_core.faces.align import quad_from_landmarks, to_pixel_indices
from dva_core.faces.types import Box, Face, extent

REACH = 1.5  # distance from a face's centre to the edge of its search window, in extents of the face


def distance(a: Face, b: Face) -> float:
    """Distance in pixels between the centres of two faces."""
    return float(np.hypot(a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]))


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def continues(last: Face, face: Face, gap: int) -> bool:
    """Tell whether `face` can be `last`, `gap` frames later: moved by at most 0.6 to 1.2 of its size, and 0.6 to 1.67 times as large."""
    reach = min(0.6 + 0.1 * gap, 1.2) * extent(last.box)
    return distance(face, last) < reach and 0.6 < extent(face.box) / max(extent(last.box), 1e-6) < 1 / 0.6


def roll(landmarks: np.ndarray) -> float:
    """Clockwise rotation of a face in the picture, in degrees -180..180; 0: the chin is below."""
    quad = quad_from_landmarks(landmarks)
    x, y = quad[1] - quad[0]
    return float(np.degrees(np.arctan2(-x, y)))


def detect_turned(find: Callable[[np.ndarray], list[Face]], rgb: np.ndarray, turns: float) -> list[Face]:
    """Run `find` on the frame rotated counter-clockwise by `turns` quarter turns (any fraction); faces are in pixels of the frame itself.

    The five points keep the order of the upright face: the eye on the left of its picture comes first.
    """
    if not turns:
        return find(rgb)
    height, width = rgb.shape[:2]
    if turns % 1:  # in a square that contains the whole frame
        return _detect_at_angle(find, rgb, (width / 2, height / 2), np.hypot(width, height) / 2, 90 * turns)

    def back(points: np.ndarray) -> np.ndarray:
        x, y = points[..., 0], points[..., 1]
        return np.stack({1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[turns], axis=-1)

    faces = []
    for face in find(np.ascontiguousarray(np.rot90(rgb, turns))):
        ends = back(np.reshape(face.box, (2, 2)))
        box = (*ends.min(0).tolist(), *ends.max(0).tolist())
        faces.append(Face(box, face.score, None if face.points5 is None else back(np.asarray(face.points5))))
    return faces


def detect_around(detector, rgb: np.ndarray, box: Box, turned: float = 0.0) -> list[Face]:
    """Detect faces in a window three times as large as the box, in pixels of the whole frame.

    turned: clockwise rotation of the face in degrees; the window is rotated back first.
    A detector may have `detect_sized(rgb, extent)`, which is faster for a known size of the face, or `around(rgb, box)`, which
    replaces this function for an upright head.
    """
    if not turned and hasattr(detector, "around"):
        return detector.around(rgb, box)
    sized = getattr(detector, "detect_sized", None)
    find = detector.detect if sized is None else partial(sized, extent=extent(box))
    cx, cy, reach = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, REACH * extent(box)
    if turned:
        faces = _detect_at_angle(find, rgb, (cx, cy), reach, turned)
        if faces or sized is None:
            return faces
        # missed at that size: an upright face is then searched in the whole frame at several sizes, a tilted one here
        return _detect_at_angle(detector.detect, rgb, (cx, cy), reach, turned)
    return detect_in(find, rgb, window_around(box, rgb.shape))


def window_around(box: Box, frame_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The window (x0, y0, x1, y1), three times as large as the box, in which a face is searched again; clipped to the frame."""
    height, width = frame_shape[:2]
    cx, cy, reach = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, REACH * extent(box)
    x0, y0 = max(0, int(cx - reach)), max(0, int(cy - reach))
    return x0, y0, min(width, int(np.ceil(cx + reach))), min(height, int(np.ceil(cy + reach)))


def detect_in(find: Callable[[np.ndarray], list[Face]], rgb: np.ndarray, window: tuple[int, int, int, int]) -> list[Face]:
    """Run `find` on a window of the frame, or on the whole frame if the window is nearly all of it or almost empty."""
    (x0, y0, x1, y1), (height, width) = window, rgb.shape[:2]
    if (x1 - x0) * (y1 - y0) > 0.6 * width * height or x1 - x0 < 16 or y1 - y0 < 16:
        return find(rgb)
    return [transform_face(face, np.array([[1.0, 0.0, x0], [0.0, 1.0, y0]])) for face in find(np.ascontiguousarray(rgb[y0:y1, x0:x1]))]


def _detect_at_angle(find, rgb: np.ndarray, centre: tuple[float, float], reach: float, turned: float) -> list[Face]:
    """Detect faces in a square window around a point, rotated clockwise by that many degrees."""
    size, angle = max(16, round(2 * reach)), np.radians(turned)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    to_frame = np.column_stack([linear, np.array(centre) - linear @ [size / 2, size / 2]])
    window = cv2.warpAffine(rgb, to_pixel_indices(to_frame), (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return [transform_face(face, to_frame) for face in find(window)]


def transform_face(face: Face, affine: np.ndarray) -> Face:
    """Apply a length-preserving affine map [2, 3] to a face; its box keeps its size around the new centre."""
    cx, cy = affine[:, :2] @ face.centre + affine[:, 2]
    x0, y0, x1, y1 = face.box
    half_w, half_h = (x1 - x0) / 2, (y1 - y0) / 2
    points = None if face.points5 is None else np.asarray(face.points5) @ affine[:, :2].T + affine[:, 2]
    return Face((float(cx - half_w), float(cy - half_h), float(cx + half_w), float(cy + half_h)), face.score, points)
