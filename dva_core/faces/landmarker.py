"""68 landmarks from a network on square crops, in two passes: the first finds the square, the second the points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from dva_core.faces.align import MIRROR68, crop_face, crop_to_frame, quad_from_landmarks, quad_from_points5, side
from dva_core.faces.types import Face, extent

BORDER = cv2.BORDER_REPLICATE  # outside the frame; mirrored, half a face would look like a whole one, much too wide
Points = Callable[[np.ndarray], np.ndarray]
LARGEST_MOVE = 0.05  # share of its side by which a square may move between two passes to count as right


class CropLandmarker:
    """68-point landmarks by a network for aligned square crops.

    points_fn: uint8 [B, size, size, 3] -> [B, 68, 2] in 0..1 of the crop (array or anything np.asarray takes). A first pass gives a
    better square, in which the points are found again: the mean over the crop and its mirror image.
    begin: as points_fn, but returns a function that waits for the points; None if they are found by the CPU.
    """

    def __init__(self, points_fn: Points, size: int = 128, begin: Callable[[np.ndarray], Callable[[], np.ndarray]] | None = None):
        self.points_fn, self.size, self.begin = points_fn, size, begin
        self._expected: tuple[np.ndarray, np.ndarray, Callable[[], np.ndarray]] | None = None  # frame, points of the one before, results

    def __call__(self, rgb: np.ndarray, face: Face) -> np.ndarray:
        """Find the points [68, 2] float32, in frame pixels, of the face in a frame uint8 [H, W, 3]."""
        return self.look(rgb, [face])[0][0]

    def look(self, rgb: np.ndarray, faces: Sequence[Face]) -> tuple[list[np.ndarray], list[float]]:
        """Find the points of several faces at once, and the doubt about each (see `doubt`)."""
        if not faces:
            return [], []
        quads = [quad_from_face(face) for face in faces]
        first = np.asarray(self.points_fn(np.stack([crop_face(rgb, quad, self.size, BORDER) for quad in quads])), np.float64)
        quads = [quad_from_landmarks(crop_to_frame(points, quad)) for points, quad in zip(first, quads)]
        both = self._both(rgb, quads)
        points = [crop_to_frame(pair.mean(0), quad).astype(np.float32) for pair, quad in zip(both, quads)]
        return points, [float(np.linalg.norm(plain - mirrored, axis=-1).mean()) for plain, mirrored in both]

    def expect(self, rgb: np.ndarray, before: np.ndarray) -> None:
        """Begin to find the points given those of the previous frame, while the face is still searched for; `follow` takes them."""
        if self.begin is not None:
            self._expected = rgb, before, self.begin(self._crops(rgb, [quad_from_landmarks(before)]))

    def follow(self, rgb: np.ndarray, face: Face, before: np.ndarray) -> np.ndarray:
        """Find the points given those of the previous frame; while the face hardly moves, their square replaces the first pass."""
        expected, self._expected = self._expected, None
        quad = quad_from_landmarks(before)
        if expected is not None and expected[0] is rgb and expected[1] is before:
            points = crop_to_frame(self._pairs(expected[2]())[0].mean(0), quad)
        else:
            points = self.in_square(rgb, quad)
        return points.astype(np.float32) if self.moved_little(points, before) else self(rgb, face)

    def look_again(self, rgb: np.ndarray, before: Sequence[np.ndarray], mirrored: bool) -> list[np.ndarray]:
        """Find the points of several faces in one pass, given those of the previous frame: in all their squares, or in the mirror images.

        If calls alternate between the two, smoothing over time (align.smooth_squares) removes 99 % of the difference between them, which
        gives the mean of both at half the cost.
        """
        quads = [quad_from_landmarks(points) for points in before]
        crops = np.stack([crop_face(rgb, quad, self.size, BORDER) for quad in quads])
        points = np.asarray(self.points_fn(np.ascontiguousarray(crops[:, :, ::-1]) if mirrored else crops), np.float64)
        points = points[:, MIRROR68] * [-1, 1] + [1, 0] if mirrored else points
        return [crop_to_frame(own, quad) for own, quad in zip(points, quads)]

    def moved_little(self, points: np.ndarray, before: np.ndarray) -> bool:
        """Tell whether the square of the previous frame's points was close enough to the face to find `points` in it."""
        quad = quad_from_landmarks(before)
        return float(np.linalg.norm(quad_from_landmarks(points) - quad, axis=-1).max()) < LARGEST_MOVE * side(quad)

    def in_square(self, rgb: np.ndarray, quad: np.ndarray) -> np.ndarray:
        """Find the points [68, 2], in frame pixels, in one square of the frame; the mean over the square and its mirror image."""
        return crop_to_frame(self._both(rgb, [quad])[0].mean(0), quad)

    def doubt(self, rgb: np.ndarray, landmarks: np.ndarray) -> float:
        """Distance, in sides of the square, between the points found in the landmarks' square and in its mirror image.

        About 0.006 for an upright face; 0.03 for one upside down or on its side, for which the network predicts an upright face.
        """
        ((plain, mirrored),) = self._both(rgb, [quad_from_landmarks(landmarks)])
        return float(np.linalg.norm(plain - mirrored, axis=-1).mean())

    def _both(self, rgb: np.ndarray, quads: Sequence[np.ndarray]) -> np.ndarray:
        """Find the points [n, 2, 68, 2], in 0..1 of each square, in it and in its mirror image."""
        return self._pairs(self.points_fn(self._crops(rgb, quads)))

    def _crops(self, rgb: np.ndarray, quads: Sequence[np.ndarray]) -> np.ndarray:
        """Squares of the frame, then their mirror images: uint8 [2 n, size, size, 3]."""
        crops = np.stack([crop_face(rgb, quad, self.size, BORDER) for quad in quads])
        return np.concatenate([crops, crops[:, :, ::-1]])

    def _pairs(self, points: np.ndarray) -> np.ndarray:
        """The points [2 n, 68, 2] found in `_crops` as [n, 2, 68, 2], those of the mirror images mirrored back."""
        plain, mirrored = np.asarray(points, np.float64).reshape(2, -1, 68, 2)
        return np.stack([plain, mirrored[:, MIRROR68] * [-1, 1] + [1, 0]], axis=1)


class CheckedLandmarker:
    """A landmarker that rejects points which do not fit the face's box. `doubt`: None if the landmarker has no such method."""

    def __init__(self, landmarker: Callable[[np.ndarray, Face], np.ndarray]) -> None:
        self.landmarker = landmarker
        self.doubt: Callable[[np.ndarray, np.ndarray], float] | None = getattr(landmarker, "doubt", None)
        self.expect: Callable[[np.ndarray, np.ndarray], None] = getattr(landmarker, "expect", lambda _rgb, _before: None)
        self._follow = getattr(landmarker, "follow", lambda rgb, face, _before: landmarker(rgb, face))

    def __call__(self, rgb: np.ndarray, face: Face | None, before: np.ndarray | None = None) -> np.ndarray | None:
        """Find the points [68, 2] of a face, given those of the previous frame if known; None if there is no face or they do not fit it."""
        if face is None:
            return None
        landmarks = self.landmarker(rgb, face) if before is None else self._follow(rgb, face, before)
        return landmarks if plausible(landmarks, face.box) else None


def plausible(landmarks: np.ndarray, box: tuple[float, float, float, float]) -> bool:
    """Tell whether 68 points fit the box of their face: finite, of similar size, centre inside."""
    if not np.isfinite(landmarks).all():
        return False
    quad = quad_from_landmarks(landmarks)
    centre, size = quad.mean(0), extent(box)
    is_inside = box[0] - 0.2 * size < centre[0] < box[2] + 0.2 * size and box[1] - 0.2 * size < centre[1] < box[3] + 0.2 * size
    return bool(is_inside and 0.6 < side(quad) / max(size, 1e-6) < 4)


def quad_from_face(face: Face) -> np.ndarray:
    """Estimate the face square [4, 2] from the five points, or upright around the box without them."""
    if face.points5 is not None:
        return quad_from_points5(face.points5)
    (cx, cy), half = face.centre, 0.67 * extent(face.box)
    cy -= 0.085 * extent(face.box)
    return np.array([[cx - half, cy - half], [cx - half, cy + half], [cx + half, cy + half], [cx + half, cy - half]])
