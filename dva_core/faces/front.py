"""Masks of what stays in front of an edited face, such as a hand; pixels inside a mask never change."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.align import crop_face, frame_to_crop, side, to_pixel_indices
from dva_core.faces.composite import smoothstep

INSIDE = 0.5  # mask value from which a pixel is in front
NOISE = 0.1  # mask value up to which a pixel counts as 0: noise of a compressed video
FEATHER = 0.02  # distance outside of the mask at which the edit is back in full, in sides of the face square
OFF_SHAPE = 0.02  # relative tolerance of a mask's aspect ratio: sizes are often rounded to multiples of 8 or 16


@dataclass(frozen=True)
class FrontMask:
    """A mask [h, w] float32 in 0..1 of the whole frame or, `of_square`, of the face square, at any resolution; 1 where nothing changes."""

    values: np.ndarray
    of_square: bool = False

    def weights(self, quad: np.ndarray, window: tuple[int, int, int, int], frame_shape: tuple[int, ...]) -> np.ndarray:
        """Compute the weight of the source in a window (x0, y0, x1, y1) of the frame: float32 [y1 - y0, x1 - x0] in 0..1.

        Exactly 1 where the mask is at least INSIDE; outside it falls to 0 over FEATHER of the square `quad`, or more slowly if the mask
        does.
        """
        reach = max(2.0, FEATHER * side(quad))
        x0, y0, x1, y1 = window
        room = int(np.ceil(reach))  # masks just outside of the window have soft edges that reach into it
        left, top, right, bottom = max(0, x0 - room), max(0, y0 - room), min(frame_shape[1], x1 + room), min(frame_shape[0], y1 + room)
        if self.of_square:
            mask = self._warp_to_window(quad - [left, top], (bottom - top, right - left))
        else:
            mask = self._resize_to_frame(frame_shape)[top:bottom, left:right]
        hard = mask >= INSIDE
        weights = smoothstep(NOISE, INSIDE, mask)
        if hard.any():
            distance = cv2.distanceTransform((~hard).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            weights = np.maximum(weights, smoothstep(reach, 0.0, distance))
        weights[hard] = 1.0
        return weights[y0 - top : y1 - top, x0 - left : x1 - left]

    def in_square(self, quad: np.ndarray, size: int, frame_shape: tuple[int, ...]) -> FrontMask:
        """Crop the mask to the square `quad` of the frame, `size` pixels wide."""
        if self.of_square:
            return self
        h, w = self.values.shape
        return FrontMask(crop_face(self.values, quad * [w / frame_shape[1], h / frame_shape[0]], size), of_square=True)

    def _resize_to_frame(self, frame_shape: tuple[int, ...]) -> np.ndarray:
        """Resize the mask to the frame's size, by area averages if it is larger."""
        h, w = frame_shape[:2]
        if self.values.shape == (h, w):
            return self.values
        larger = self.values.shape[0] > h or self.values.shape[1] > w
        return cv2.resize(self.values, (w, h), interpolation=cv2.INTER_AREA if larger else cv2.INTER_LINEAR)

    def _warp_to_window(self, quad: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Warp the mask from the square `quad`, in coordinates of a window [H, W] of the frame, to that window."""
        size = min(len(self.values), max(1, int(np.ceil(side(quad)))))
        values = self.values if size == len(self.values) else cv2.resize(self.values, (size, size), interpolation=cv2.INTER_AREA)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # the map given is the one from window to square
        return cv2.warpAffine(
            values, to_pixel_indices(frame_to_crop(quad, size)), shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE
        )


def is_of_square(size: tuple[int, int], frame: tuple[int, int], square: int) -> bool:
    """Tell whether a mask of `size` (width, height) covers the face square rather than the `frame` (width, height).

    A mask with the aspect ratio of the frame covers the frame, any other square mask the face square. If the frame is square too, a
    mask of exactly `square` pixels covers the face square. DVAError for other shapes.
    """
    (w, h), (wide, high) = size, frame
    if size == frame:
        return False
    if size == (square, square):
        return True
    if min(size) > 0 and abs(w * high / (h * wide) - 1) <= OFF_SHAPE:
        return False
    if w == h > 0:
        return True
    raise DVAError(
        f"A mask of what stays in front is {w}x{h}, which is the shape neither of the frame ({wide}x{high}) nor of the square face crop "
        f"({square}x{square}); make it of either, at any resolution."
    )
