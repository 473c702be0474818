"""Paste-back of a decoded crop into its frame, which keeps its own detail wherever nothing was edited.

Crops are float32 [3, S, S] in [-1, 1], masks float32 [S, S] in 0..1, frames uint8 [H, W, 3] RGB, quads as in align.py.
Only pixels inside the square change; all computation is restricted to its bounding rectangle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.align import frame_to_crop, side, sides, to_pixel_indices, whole_square
from dva_core.faces.retouch import compose, compose_after, draw_to_frame, move_map, retouch_face

if TYPE_CHECKING:
    from dva_core.faces.front import FrontMask

SOFTEN_FRAMES = 4  # neighbours on each side that `soften` can use at its default sigma
SHARE_SIGMA = 1 / 24  # of the crop: where the share of a drawing is one
LEAST_DRAWN = 1e-4  # mean square of a drawing, in -1..1, from which its share is fitted
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
MITCHELL = {"detail": (0.0, 0.5), "smooth": (1.0, 0.0)}  # (B, C): Catmull-Rom; cubic B-spline, never negative


def soften(masks: np.ndarray, centre: int | None = None, *, sigma_frames: float = 2.0, edge: float = 0.03, grow: float = 0.0) -> np.ndarray:
    """Compute the soft mask [S, S] float32 of one frame from the hard masks [n, S, S], 0..1, of it and its neighbours in order.

    centre: index of the frame among the n (default the middle one); near a segment's ends pass fewer neighbours on that side.
    Weights over frames are Gaussian with sigma_frames. edge and grow are fractions of S: the sigma of the blur, and the radius of a
    dilation before it. The mask falls to 0 at the border of the crop, over twice `edge`.
    """
    masks = np.asarray(masks, np.float32)
    count, size = masks.shape[:2]
    centre = count // 2 if centre is None else centre
    weights = np.exp(-0.5 * ((np.arange(count) - centre) / max(sigma_frames, 1e-3)) ** 2)
    mask = np.tensordot((weights / weights.sum()).astype(np.float32), masks, axes=1)
    reach = round(grow * size)
    if reach > 0:
        mask = cv2.dilate(mask, disc(reach))
    mask = blur(mask, edge * size)
    return np.clip(mask * border_fade(size, edge), 0, 1)


def border_fade(size: int, edge: float = 0.03) -> np.ndarray:
    """Compute weights [size, size] that rise from 0 at the border of a crop to 1 at twice `edge` of its size inwards."""
    fade = smoothstep(0.0, max(2 * edge * size, 1.0), np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32))
    return fade * fade[:, None]


class Drawing(NamedTuple):
    """What an edit draws: a pixel x of the crop becomes x + A + B x. coarse [6, S, S], fine [6, F, F]: A and B of RGB, float.

    The coarse one is what the edited crop shows, the fine one what is meant. rest: 0 if the edit does nothing else, and else 1.
    retouch [3, R, R]: how the face's own pixels are moved and smoothed before, as of `retouch_face`; None: they stay.
    """

    coarse: np.ndarray
    fine: np.ndarray
    rest: float = 1.0
    retouch: np.ndarray | None = None

    def on(self, crop: np.ndarray) -> np.ndarray:
        """The crop [3, S, S] with the retouch and the drawing on it, float32."""
        picture = np.moveaxis(np.float32(crop), 0, -1)
        return np.moveaxis(self.on_frame(picture, whole_square(picture)), -1, 0)

    def on_frame(self, picture: np.ndarray, quad: np.ndarray) -> np.ndarray:
        """A window [H, W, 3] of a frame with the retouch and the drawing in the square `quad` of it, float32."""
        if self.retouch is not None:
            picture = retouch_face(picture, quad, self.retouch)
        if not self.fine.any():
            return picture
        addition, factor = (draw_to_frame(part, quad, picture.shape[:2]) for part in np.split(self.fine.astype(np.float32), 2))
        return picture + addition + np.maximum(factor, -1) * picture

    def moved(self, shift: np.ndarray, under: np.ndarray | None) -> Drawing:
        """The same on a face that is moved by `shift` [2, n, n] before, over the drawing `under` [6, F, F]; None: no drawing."""
        drawing = self._replace(retouch=compose(shift, self.retouch))
        return drawing if under is None else drawing._replace(fine=laid_over(self.fine, under))

    def parted(self, shift: np.ndarray, over: np.ndarray | None) -> Drawing:
        """The same with all of it moved by `shift` [2, n, n] afterwards, under the drawing `over` [6, F, F]; None: no drawing."""
        fine = move_map(self.fine, shift)
        return self._replace(retouch=compose_after(self.retouch, shift), fine=fine if over is None else laid_over(over, fine))

    def left_out(self, edited: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
        """The edited crop [3, S, S] without the drawing, however strongly it shows it: its share is fitted in each place."""
        addition, factor = self.coarse.astype(np.float32).reshape(2, *rebuilt.shape)
        drawn, sigma = addition + factor * rebuilt, rebuilt.shape[-1] * SHARE_SIGMA
        seen, whole = (blur((change * drawn).sum(0), sigma) for change in (edited - rebuilt, drawn))
        return rebuilt + self.rest * (edited - np.clip(seen / (whole + LEAST_DRAWN), 0, 2) * drawn - rebuilt)


def laid_over(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """A and B [6, F, F], float32, of two drawings of which one lies over the other."""
    (addition, factor), (of_under, factor_of_under) = (np.split(part.astype(np.float32), 2) for part in (over, under))
    return np.concatenate([addition + (1 + factor) * of_under, (1 + factor) * (1 + factor_of_under) - 1])


def paste(
    frame: np.ndarray,
    quad: np.ndarray,
    edited: np.ndarray,
    rebuilt: np.ndarray,
    mask: np.ndarray,
    detail: str = "transfer",
    front: FrontMask | None = None,
    below: np.ndarray | None = None,
    drawing: Drawing | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste the edited crop into its square: (frame uint8 [H, W, 3], bool [H, W] of the pixels that could change).

    edited, rebuilt: the decoded crop after and before the edit, float32 [3, S, S]; mask: soft, float32, square, of any size.
    detail "transfer": up(edited) + w (frame - up(rebuilt)), where w keeps the frame's own detail, 1 where the edit left the
    structure alone and 0 where the old detail would show through the new; blended over the frame by the mask.
    edited == rebuilt gives back the frame, bit for bit. detail "model": up(edited) over the frame by the mask, as in the paper (sec. 4).
    front: what stays in front; inside of it no pixel changes.
    below: the frame with other faces pasted already, uint8 [H, W, 3], which this face covers as it covers `frame`; None: `frame` itself.
    drawing: the part of the edit that is known at a finer resolution than the crop's, for detail "transfer": it is drawn at that of the
    frame, and what else the edit changes lies under it. What the drawing covers is hidden, whatever the crop shows there.
    """
    if detail not in ("transfer", "model"):
        raise DVAError(f"Unknown detail {detail!r}: use 'transfer' (keep the frame's own detail) or 'model' (the decoded crop as it is).")
    edited, rebuilt = np.asarray(edited, np.float32), np.asarray(rebuilt, np.float32)
    inside, ground = np.zeros(frame.shape[:2], bool), frame if below is None else below
    x0, y0, x1, y1 = rectangle(quad, frame.shape)
    if x1 <= x0 or y1 <= y0:
        return ground.copy(), inside
    window = (slice(y0, y1), slice(x0, x1))
    source = frame[window].astype(np.float32) / 127.5 - 1
    local = quad - [x0, y0]
    shape = source.shape[:2]
    soft = np.clip(warp_to_frame(mask[None], local, shape, "smooth"), 0, 1)
    if front is not None:
        soft = soft * (1 - front.weights(quad, (x0, y0, x1, y1), frame.shape))[..., None]
    if detail == "model":
        change = warp_to_frame(edited, local, shape, "detail") - source
    elif drawing is None:
        change = transfer(source, local, edited, rebuilt)
    else:
        change = transfer(source, local, drawing.left_out(edited, rebuilt), rebuilt) if drawing.rest else np.float32(0)
        change = drawing.on_frame(source + change, local) - source
    covered = (soft[..., 0] > 0) & within(local, shape)
    colour = colourfulness(source[covered])
    if colour < 1:  # black-and-white footage stays black and white: only the luma changes
        change = colour * change + (1 - colour) * (change @ LUMA)[..., None]
    inside[window] = covered
    result = ground.copy()
    if below is not None and not np.array_equal(below[window], frame[window]):
        target = source + change
        source = below[window].astype(np.float32) / 127.5 - 1
        change = target - source
    blend = np.clip(np.rint((source + soft * change + 1) * 127.5), 0, 255).astype(np.uint8)
    result[window][covered] = blend[covered]
    return result, inside


def transfer(source: np.ndarray, quad: np.ndarray, edited: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    """The change of a window `source` [H, W, 3] of the frame by detail "transfer" of `paste`, float32 [H, W, 3]; quad is in the window."""
    # up(edited) + w (source - up(rebuilt)) - source, arranged so that without an edit the result is exactly 0
    shape = source.shape[:2]
    change = warp_to_frame(edited - rebuilt, quad, shape, "detail")
    lost_detail = warp_to_frame(1 - detail_weights(edited, rebuilt)[None], quad, shape, "smooth")
    return change - lost_detail * (source - warp_to_frame(rebuilt, quad, shape, "detail")) if lost_detail.any() else change


def lay_bare(below: np.ndarray, frame: np.ndarray, quad: np.ndarray, mask: np.ndarray, front: FrontMask | None = None) -> np.ndarray:
    """Restore, in `below`, the pixels of a nearer face of `frame` that other, pasted faces have changed: uint8 [H, W, 3].

    below, frame: uint8 [H, W, 3]; mask: soft, of the whole nearer face, in its square `quad`, as in `paste`. Nothing changes where both
    pictures are equal, or inside `front`.
    """
    x0, y0, x1, y1 = rectangle(quad, frame.shape)
    window = (slice(y0, y1), slice(x0, x1))
    if x1 <= x0 or y1 <= y0 or np.array_equal(below[window], frame[window]):
        return below
    soft = np.clip(warp_to_frame(mask[None], quad - [x0, y0], (y1 - y0, x1 - x0), "smooth"), 0, 1)
    if front is not None:
        soft = soft * (1 - front.weights(quad, (x0, y0, x1, y1), frame.shape))[..., None]
    soft[~within(quad - [x0, y0], soft.shape[:2])] = 0
    result, base = below.copy(), below[window].astype(np.float32)
    result[window] = np.rint(base + soft * (frame[window] - base)).astype(np.uint8)
    return result


def colourfulness(pixels: np.ndarray, grey: float = 2.0, coloured: float = 6.0) -> float:
    """Rate pixels [n, 3] in [-1, 1] from 0 (grey) to 1 (coloured), smoothly, so that nothing jumps from frame to frame.

    Measures the 90th percentile over pixels of max(R, G, B) - min(R, G, B), in 8-bit codes.
    """
    if not len(pixels):
        return 1.0
    sample = pixels[:: max(1, len(pixels) // 10_000)]
    chroma = float(np.percentile(sample.max(1) - sample.min(1), 90)) * 127.5
    return float(smoothstep(grey, coloured, np.float32(chroma)))


def detail_weights(edited: np.ndarray, rebuilt: np.ndarray, low: float = 0.2, high: float = 0.6, floor: float = 0.03) -> np.ndarray:
    """Compute w [S, S], the weight of the frame's fine detail in the edited crop: 1 keeps all of it, 0 none.

    Detail is dropped where the structure it belongs to is gone (the rim of removed glasses, a mouth that moved, a shaved beard) and kept
    where only the tone shifted or something was added to bare skin: w rises with <e r> / <r r>, the share of the local luma structure r
    of the rebuilt crop that the edited one, e, still has. Structure fainter than `floor` counts as kept.
    """
    size = edited.shape[-1]
    r, e = (plane - blur(plane, size / 10) for plane in (np.tensordot(LUMA, image, axes=1) for image in (rebuilt, edited)))
    share = (blur(e * r, size / 24) + floor**2) / (blur(r * r, size / 24) + floor**2)
    return smoothstep(low, high, share)


def warp_to_frame(image: np.ndarray, quad: np.ndarray, shape: tuple[int, int], kernel: str) -> np.ndarray:
    """Warp a crop [C, S, S] to a window of the frame, float32 [H, W, C]; quad is in the window's coordinates.

    The crop is first resampled to the square's size by a smooth kernel, which averages if it shrinks, then rotated into place.
    """
    size, width = image.shape[-1], side(quad)
    fine = max(1, int(np.ceil(width)) * (2 if width < 2 * size else 1))  # the rotation is bilinear: twice as fine if it could blur
    across, down = (resample_matrix(size, fine, MITCHELL[kernel], band=min(size, max(length, 1))) for length in sides(quad))
    resized = np.ascontiguousarray(np.moveaxis(down @ image.astype(np.float32) @ across.T, 0, -1))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # the map passed is from window to crop
    warped = cv2.warpAffine(resized, to_pixel_indices(frame_to_crop(quad, fine)), shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return warped.reshape(*shape, -1)


def resample_matrix(size: int, fine: int, mitchell: tuple[float, float], band: float) -> np.ndarray:
    """Weights [fine, size] of the cubic filter family of Mitchell and Netravali (1988), stretched to `band` samples; rows sum to 1.

    Pixel areas line up (corner to corner); the border pixel is repeated outside.
    """
    b, c = mitchell
    at = (np.arange(fine) + 0.5) * size / fine - 0.5
    stretch = max(1.0, size / band)
    reach = int(np.ceil(2 * stretch))
    taps = np.floor(at).astype(int)[:, None] + np.arange(1 - reach, reach + 1)
    t = np.abs(taps - at[:, None]) / stretch
    near = (12 - 9 * b - 6 * c) * t**3 + (-18 + 12 * b + 6 * c) * t**2 + (6 - 2 * b)
    far = (-b - 6 * c) * t**3 + (6 * b + 30 * c) * t**2 + (-12 * b - 48 * c) * t + (8 * b + 24 * c)
    values = np.where(t < 1, near, np.where(t < 2, far, 0.0))
    values /= values.sum(1, keepdims=True)
    weights = np.zeros((fine, size))
    np.add.at(weights, (np.arange(fine)[:, None], np.clip(taps, 0, size - 1)), values)
    return weights.astype(np.float32)


def rectangle(quad: np.ndarray, frame_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Compute the bounding rectangle (x0, y0, x1, y1) of a square, in pixels, clipped to the frame."""
    x0, y0 = np.floor(quad.min(0)).astype(int)
    x1, y1 = np.ceil(quad.max(0)).astype(int)
    return max(0, int(x0)), max(0, int(y0)), min(frame_shape[1], int(x1)), min(frame_shape[0], int(y1))


def within(quad: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mark the pixels, bool [H, W], whose centre lies inside the square."""
    affine = frame_to_crop(quad, 1)
    x, y = np.arange(shape[1]) + 0.5, (np.arange(shape[0]) + 0.5)[:, None]
    u, v = (row[0] * x + row[1] * y + row[2] for row in affine)
    return (u > 0) & (u < 1) & (v > 0) & (v < 1)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a plane [S, S], sigma in pixels, the border mirrored."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) if sigma > 0 else image


def disc(radius: float) -> np.ndarray:
    """A disc of this radius in pixels, rounded, for cv2.dilate and cv2.erode."""
    size = 2 * round(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Interpolate by 3t^2 - 2t^3 from 0 at `low` to 1 at `high`, constant beyond them; `low` may be greater than `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
