"""The FFHQ-style oriented square around a face, smoothed over time (Kim et al. 2023, sec. 4.1; spec system.md 4).

Coordinates are continuous: (0, 0) is the outer corner of the frame's top-left pixel, so that pixel's centre is (0.5, 0.5).
A tool that counts in pixel centres (dlib, the goldens) gives points that lie 0.5 lower; the squares shift along.
A quad [4, 2] lists the corners top-left, bottom-left, bottom-right, top-right as the upright face sees them. Where a video's pixels are
not square, the square is a parallelogram in them: it is found in square pixels and its corners are brought back.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # left and right as seen in the picture
MOUTH_CORNERS = (48, 54)
FEATURES = np.zeros((3, MOUTH_CORNERS[1] + 1 - LEFT_EYE.start))  # means of eyes and mouth corners, of the points from the first of them on
FEATURES[0, :6], FEATURES[1, 6:12] = 1 / 6, 1 / 6
FEATURES[2, [12, 18]] = 1 / 2

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


def whole_square(crop: np.ndarray) -> np.ndarray:
    """Make the quad that covers a whole picture."""
    h, w = crop.shape[:2]
    return np.array([[0, 0], [0, h], [w, h], [w, 0]], np.float64)


def crop_axes(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, half-axis x and half-axis y [..., 2] of the square around 68 landmarks [..., 68, 2]."""
    features = FEATURES @ np.asarray(landmarks, np.float64)[..., LEFT_EYE.start : MOUTH_CORNERS[1] + 1, :]
    return square_from_features(features[..., 0, :], features[..., 1, :], features[..., 2, :])


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


def smooth_over_time(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian filter over the first axis of [N, ...], sigma in frames, truncated at 4 sigma, the ends mirrored (d c b a | a b c d)."""
    if sigma <= 0:
        return values
    return gaussian_filter1d(values, sigma, axis=0, mode="reflect", truncate=4.0)


def smooth_squares(landmarks: np.ndarray, sigma_centre: float = 1.0, sigma_axes: float = 3.0) -> np.ndarray:
    """Quads [N, 4, 2] of a continuous track [N, 68, 2]: Gaussian filter over frames of c and x (Kim et al. 2023, sec. 4.1).

    The caller splits the track at scene changes and long gaps first; nan is not accepted.
    """
    c, x, _ = crop_axes(landmarks)
    x = smooth_over_time(x, sigma_axes)
    return corners(smooth_over_time(c, sigma_centre), x, turn(x))


def sides(quad: np.ndarray) -> tuple[float, float]:
    """Lengths of the sides across and down, in frame pixels; the same where pixels are square."""
    return float(np.linalg.norm(quad[3] - quad[0])), float(np.linalg.norm(quad[1] - quad[0]))


def side(quad: np.ndarray) -> float:
    """Length of the square's side, in frame pixels; of the longer ones where pixels are not square."""
    return max(sides(quad))


def frame_to_crop(quad: np.ndarray, size: int) -> np.ndarray:
    """Affine map [2, 3] from frame coordinates to crop coordinates 0..size; both count from the outer corner."""
    quad = np.asarray(quad, np.float64)
    across, down = quad[3] - quad[0], quad[1] - quad[0]  # crop (size, 0) and (0, size)
    linear = size * np.linalg.inv(np.stack([across, down], axis=1))
    return np.concatenate([linear, -(linear @ quad[0])[:, None]], axis=1)


def crop_to_frame(points: np.ndarray, quad: np.ndarray) -> np.ndarray:
    """Convert points [..., 2] in 0..1 of the crop to frame coordinates."""
    quad = np.asarray(quad, np.float64)
    points = np.asarray(points, np.float64)
    return quad[0] + points[..., :1] * (quad[3] - quad[0]) + points[..., 1:] * (quad[1] - quad[0])


def to_pixel_indices(affine: np.ndarray) -> np.ndarray:
    """Convert a map [2, 3] of points to one of pixel indices, in which OpenCV counts from the first pixel's centre."""
    shift = affine[:, :2] @ [0.5, 0.5] - 0.5
    return np.concatenate([affine[:, :2], (affine[:, 2] + shift)[:, None]], axis=1)


def crop_face(frame: np.ndarray, quad: np.ndarray, size: int, border: int = cv2.BORDER_REFLECT) -> np.ndarray:
    """Crop the square `quad` [4, 2] of a frame uint8 [H, W, 3], upright: uint8 [size, size, 3].

    Sampled at least once per frame pixel and averaged over areas, so that shrinking does not alias.
    Outside the frame its mirror image continues, or the border is that of OpenCV's mode `border`.
    """
    factor = max(1, int(np.ceil(side(quad) / size - 1e-6)))
    affine = to_pixel_indices(frame_to_crop(quad, size * factor))
    fine = cv2.warpAffine(frame, affine, (size * factor, size * factor), flags=cv2.INTER_LINEAR, borderMode=border)
    return fine if factor == 1 else cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)


def paste_coefficients(quad: np.ndarray, size: int = 256) -> np.ndarray:
    """The reference's map from frame to crop as eight numbers a..h: u = (ax + by + c) / (gx + hy + 1), v alike; a square has g = h = 0."""
    return np.concatenate([frame_to_crop(quad, size).ravel(), [0.0, 0.0]])


def reference_crop(frame: np.ndarray, quad: np.ndarray, size: int = 256, fine_size: int = 1024) -> np.ndarray:
    """The reference's crop uint8 [size, size, 3]: bilinear to 1024, then shrunk with a triangle filter. Only for comparison with it."""
    from PIL import Image

    fine = Image.fromarray(frame).transform((fine_size, fine_size), Image.Transform.QUAD, np.ravel(quad), Image.Resampling.BILINEAR)
    return np.asarray(fine.resize((size, size), Image.Resampling.BILINEAR))


def reference_paste(frame: np.ndarray, quad: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """The reference's paste-back of a whole crop uint8 [S, S, 3], bilinear; returns the frame uint8. Only for comparison with it."""
    from PIL import Image

    result = Image.fromarray(frame).convert("RGBA")
    image = Image.fromarray(crop).convert("RGBA")
    image = image.transform(result.size, Image.Transform.PERSPECTIVE, paste_coefficients(quad, crop.shape[0]), Image.Resampling.BILINEAR)
    result.paste(image, (0, 0), mask=image)
    return np.asarray(result.convert("RGB"))
