"""The rule that chooses one of several faces: the largest, the one at a position, or the one of a reference picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.align import crop_face, quad_from_landmarks
from dva_core.faces.types import Face

SAME_PERSON = 0.4  # cosine of two identity vectors above which they count as one person
EMBED_SIZE = 256  # side of the crops handed to an identity encoder

FaceChoice = str | tuple  # "largest" | ("position", x, y) | ("reference", embedding, embed_fn)


def check_choice(choice: FaceChoice) -> FaceChoice:
    """Return the rule, or raise a DVAError that explains the format. x and y are fractions 0..1 of the frame."""
    if choice == "largest":
        return choice
    if isinstance(choice, Sequence) and not isinstance(choice, str) and len(choice) == 3:
        kind, a, b = choice
        if kind == "position":
            if not all(isinstance(v, (int, float)) and 0 <= v <= 1 for v in (a, b)):
                raise DVAError(f"The position ({a}, {b}) must be two fractions 0..1 of the frame's width and height, e.g. (0.25, 0.5).")
            return choice
        if kind == "reference" and callable(b):
            return choice
    raise DVAError(f"Cannot choose a face by {choice!r}: use 'largest', ('position', x, y) or ('reference', embedding, embed_fn).")


def largest(faces: Sequence[Face]) -> Face:
    """Choose the face with the largest box."""
    return max(faces, key=lambda face: face.area)


def at_position(faces: Sequence[Face], x: float, y: float, frame_shape: tuple[int, ...]) -> Face:
    """Choose the face whose box contains the point (x, y), in fractions of the frame; with several or none, the nearest centre."""
    px, py = x * frame_shape[1], y * frame_shape[0]

    def rank(face: Face) -> tuple[bool, float]:
        x0, y0, x1, y1 = face.box
        cx, cy = face.centre
        return not (x0 <= px <= x1 and y0 <= py <= y1), float(np.hypot(cx - px, cy - py))

    return min(faces, key=rank)


def is_at(face: Face, x: float, y: float, frame_shape: tuple[int, ...], wider: float = 1.5) -> bool:
    """Tell whether the point (x, y), in fractions of the frame, lies in the face's box scaled by `wider`."""
    (x0, y0, x1, y1), (cx, cy) = face.box, face.centre
    return abs(x * frame_shape[1] - cx) <= wider * (x1 - x0) / 2 and abs(y * frame_shape[0] - cy) <= wider * (y1 - y0) / 2


def similarities(rgb: np.ndarray, faces: Sequence[Face], reference: np.ndarray, landmarker: Callable, embed_fn: Callable) -> np.ndarray:
    """Cosine similarity [len(faces)] of every face to the identity vector `reference` [D]."""
    vectors = embed_faces(rgb, faces, landmarker, embed_fn)
    return vectors @ unit(np.asarray(reference, np.float64))


def embed_faces(rgb: np.ndarray, faces: Sequence[Face], landmarker: Callable, embed_fn: Callable) -> np.ndarray:
    """Compute identity vectors [len(faces), D], unit length; embed_fn maps aligned crops uint8 [B, 256, 256, 3] to [B, D]."""
    crops = [crop_face(rgb, quad_from_landmarks(landmarker(rgb, face)), EMBED_SIZE) for face in faces]
    return unit(np.asarray(embed_fn(np.stack(crops)), np.float64))


def unit(v: np.ndarray) -> np.ndarray:
    """Normalise vectors [..., D] to unit length."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def reference_embedding(picture: np.ndarray, detector, landmarker: Callable, embed_fn: Callable) -> np.ndarray:
    """Compute the identity vector [D] of the largest face in a picture uint8 [H, W, 3]; DVAError if there is none."""
    faces = detector.detect(picture)
    if not faces:
        raise DVAError("The reference picture shows no face that can be detected: use a picture with one clear frontal face.")
    return embed_faces(picture, [largest(faces)], landmarker, embed_fn)[0]
