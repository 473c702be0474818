"""The FFHQ-style oriented square around a face, smoothed over time (Kim et al. 2023, sec. 4.1; spec system.md 4).

Coordinates are continuous: (0, 0) is the outer corner of the frame's top-left pixel, so that pixel's centre is (0.5, 0.5).
A tool that counts in pixel centres (dlib, the goldens) gives points that lie 0.5 lower; the squares shift along.
A quad [4, 2] lists the corners top-left, bottom-left, bottom-right, top-right as the upright face sees them.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # left and right as seen in the picture
MOUTH_CORNERS = (48, 54)

# iBUG 68: point i of a mirrored picture is point MIRROR68[i] of the picture
MIRROR68 = np.concatenate(
    [
        np.arange(16, -1, -1),  # jaw 0..16
        np.arange(26, 16, -1),  # brows 17..26
        np.arange(27, 31),  # bridge of the nose
        np.arange(35, 30, -1),  # nostrils
        [45, 44, 43, 42, 47, 46],  # eye 36..41
        [39, 38, 37, 36, 41, 40],  # eye 42..47
        np.arange(54, 47, -1),  # outer lips, upper
        np.arange(59, 54, -1),  # outer lips, lower
        np.arange(64, 59, -1),  # inner lips, upper
        np.arange(67, 64, -1),  # inner lips, lower
    ]
)


def square_from_features(left_eye: np.ndarray, right_eye: np.ndarray, mouth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre c, half-axes x and y [..., 2] from the eyes' centres and the mouth's middle [..., 2] (system.md 4).

    c = eyes + 0.1 eye_to_mouth; x points along eye_to_eye plus eye_to_mouth turned by 90 degrees,
    |x| = max(2.0 |eye_to_eye|, 1.8 |eye_to_mouth|); y is x turned by 90 degrees.
    """
    eyes = (left_eye + right_eye) / 2
    eye_to_eye, eye_to_mouth = right_eye - left_eye, mouth - eyes
    x = eye_to_eye - turn(eye_to_mouth)
    length = np.maximum(2.0 * np.linalg.norm(eye_to_eye, axis=-1), 1.8 * np.linalg.norm(eye_to_mouth, axis=-1))
    x = x * (length / np.maximum(np.linalg.norm(x, axis=-1), 1e-12))[..., None]
    return eyes + 0.1 * eye_to_mouth, x, turn(x)


def turn(v: np.ndarray) -> np.ndarray:
    """Vectors [..., 2] turned by 90 degrees, clockwise as the picture shows it: (1, 0) -> (0, 1)."""
    return v[..., ::-1] * np.array([-1.0, 1.0])


def crop_axes(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, half-axis x and half-axis y [..., 2] of the square around 68 landmarks [..., 68, 2]."""
    landmarks = np.asarray(landmarks, np.float64)
    mouth = landmarks[..., MOUTH_CORNERS, :].mean(-2)
    return square_from_features(landmarks[..., LEFT_EYE, :].mean(-2), landmarks[..., RIGHT_EYE, :].mean(-2), mouth)


def corners(c: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Quads [..., 4, 2] of the squares with centre c and half-axes x, y [..., 2]."""
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y], axis=-2)


def quad_from_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Quad [..., 4, 2] around 68 landmarks [..., 68, 2], without smoothing."""
    return corners(*crop_axes(landmarks))


def quad_from_points5(points5: np.ndarray) -> np.ndarray:
    """Quad [..., 4, 2] from a detector's five points [..., 5, 2]: eyes, nose, mouth corners, left of the picture first."""
    points5 = np.asarray(points5, np.float64)
    return corners(*square_from_features(points5[..., 0, :], points5[..., 1, :], points5[..., 3:5, :].mean(-2)))


def smooth_squares(landmarks: np.ndarray, sigma_centre: float = 1.0, sigma_axes: float = 3.0) -> np.ndarray:
    """Quads [N, 4, 2] along an unbroken track [N, 68, 2]: Gaussian over frames, reflected at the ends (Kim et al. 2023, sec. 4.1)."""
    c, x, _ = crop_axes(landmarks)
    c = gaussian_filter1d(c, sigma_centre, axis=0, mode="reflect") if sigma_centre > 0 else c
    x = gaussian_filter1d(x, sigma_axes, axis=0, mode="reflect") if sigma_axes > 0 else x
    return corners(c, x, turn(x))
