"""A face in a picture: the head's pose, the map to its sheets, its skin, light and hair colour."""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from dva_core.errors import DVAError
from dva_core.faces.align import MIRROR68
from dva_core.faces.composite import smoothstep
from dva_core.faces.tone import cast_of
from dva_core.faces.warp import thin_plate_map
from dva_core.train.drawings.common import Array, Drawing, blur, luminance
from dva_core.train.drawings.sheets import SHEET, SHEET_LEFT, SHEET_SPAN, to_sheet

FINE = 512  # thin things are drawn at about this size and averaged down

# the right half (and middle) of a frontal face: symmetric median over upright synthetic faces; z by hand
_HALF = {
    8: (0, 1.8), 9: (0.34, 1.71), 10: (0.57, 1.55), 11: (0.74, 1.38), 12: (0.89, 1.15), 13: (0.99, 0.86), 14: (1.04, 0.6),
    15: (1.09, 0.32), 16: (1.11, 0.01), 22: (0.29, -0.3), 23: (0.43, -0.35), 24: (0.59, -0.37), 25: (0.77, -0.35), 26: (0.9, -0.25),
    27: (0, 0.03), 28: (0, 0.24), 29: (0, 0.44), 30: (0, 0.63), 33: (0, 0.79), 34: (0.11, 0.77), 35: (0.19, 0.74),
    42: (0.3, 0.02), 43: (0.43, -0.06), 44: (0.58, -0.06), 45: (0.68, -0.01), 46: (0.58, 0.05), 47: (0.42, 0.05),
    51: (0, 1.02), 52: (0.09, 1.0), 53: (0.27, 1.05), 54: (0.41, 1.12), 55: (0.27, 1.23), 56: (0.14, 1.29), 57: (0, 1.31),
    62: (0, 1.1), 63: (0.13, 1.1), 64: (0.38, 1.12), 65: (0.13, 1.16), 66: (0, 1.17),
}  # fmt: skip
_DEPTH = {
    27: 0.2, 28: 0.33, 29: 0.46, 30: 0.6, 33: 0.42, 31: 0.24, 35: 0.24, 36: -0.1, 39: 0, 42: 0, 45: -0.1, 48: 0.1, 54: 0.1,
    51: 0.4, 57: 0.36,
}  # fmt: skip
_RIGID = np.array(list(_DEPTH))
_WEIGHT = np.array([0.4 if point >= 48 else 1.0 for point in _RIGID])  # a mouth moves
_JAW_DEPTH = np.array([-1.0, -0.9, -0.75, -0.55, -0.3, -0.05, 0.12, 0.25, 0.3])  # ear to chin
_CAMERA = 9.0  # distance in face units: near things are a little larger


def frontal() -> Array:
    """Landmarks [68, 2] of a frontal face in face units."""
    points = np.zeros((68, 2))
    for index, place in _HALF.items():
        points[index] = place
        points[MIRROR68[index]] = (-place[0], place[1])
    return points


FRONTAL = frontal()
_RIGID_3D = np.c_[FRONTAL[_RIGID], list(_DEPTH.values())]
# beyond the landmarks the sheet follows the pose: brow to crown, and a little below the jaw
_FRAME_3D = np.array([(-0.8, -1.1, -0.2), (0, -1.3, 0), (0.8, -1.1, -0.2)])
_BELOW = np.array([(-0.57, 2.1), (0, 2.3), (0.57, 2.1)])


class Head:
    """A face in a picture: pose, map to sheets, skin, light. Everything is computed on first use."""

    def __init__(self, picture: Array, landmarks: Array):
        picture, landmarks = np.asarray(picture), np.asarray(landmarks, np.float64)
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.shape[0] != picture.shape[1]:
            raise DVAError(f"A drawing needs a square uint8 RGB picture, not {picture.dtype} {list(picture.shape)}: crop the face first.")
        if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
            raise DVAError(f"A drawing needs 68 finite landmarks [68, 2], not {list(landmarks.shape)}: give the iBUG points in pixels.")
        self.picture, self.size = picture, len(picture)
        self.rgb = picture.astype(np.float32) / 255
        self.points = landmarks.copy()
        self.points[:17] = smooth_jaw(landmarks[:17])
        self._fit()
        self._turn_jaw()

    def _fit(self) -> None:
        """Fit a scaled orthographic pose to the points that hardly move, then shift it so that the eyes meet the measured ones."""
        rigid = self.points[_RIGID]
        weight = _WEIGHT / _WEIGHT.sum()
        centre2, centre3 = weight @ rigid, weight @ _RIGID_3D
        model, offsets = _RIGID_3D - centre3, rigid - centre2
        normal = (model * weight[:, None]).T @ model + 1e-3 * np.eye(3)
        affine = np.linalg.solve(normal, (model * weight[:, None]).T @ offsets).T  # [2, 3]
        u, values, v = np.linalg.svd(affine, full_matrices=False)
        if values.mean() < 1e-3 * self.size:
            raise DVAError("These landmarks lie in one place: find the face's landmarks first.")
        rows = u @ v
        self.rotation = np.vstack([rows, np.cross(rows[0], rows[1])])
        self.unit = float(values.mean())  # pixels a face unit
        self._move, self._origin = np.eye(2), centre2 - self.unit * rows @ centre3
        eyes = np.array([self.points[36:42].mean(0), self.points[42:48].mean(0)])
        ends = self.project(np.array([(-0.5, 0, 0), (0.5, 0, 0)]))
        a, b = complex(*(ends[1] - ends[0])), complex(*(eyes[1] - eyes[0]))
        turn = b / a
        turn *= np.clip(abs(turn), 0.85, 1.15) / abs(turn)
        self._move = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
        self._origin = self._origin + eyes.mean(0) - self.project(np.array([(-0.5, 0, 0), (0.5, 0, 0)])).mean(0)

    def _turn_jaw(self) -> None:
        """Correct the jaw of a turned head: landmarkers place it as if frontal, too far out on the far side, short of the ear."""
        yaw = float(self.rotation[0, 2])
        trust = smoothstep(0.1, 0.3, abs(yaw)) * np.array([1, 1, 1, 0.9, 0.7, 0.4, 0.15, 0, 0])
        model = self.project(np.c_[FRONTAL[:17], np.r_[_JAW_DEPTH, _JAW_DEPTH[-2::-1]]])
        for side, index in ((-1, np.arange(9)), (1, np.arange(16, 7, -1))):
            out = (model[index] - self.points[index]) @ self.axes[:, 0] * side
            out = np.minimum(out, 0) if side * yaw > 0 else np.maximum(out, 0)
            self.points[index] += (side * trust * out)[:, None] * self.axes[:, 0]

    @property
    def axes(self) -> Array:
        """The face's directions right and down in the picture, unit columns [2, 2] (in-plane rotation, without foreshortening)."""
        down = self._move @ self.rotation[:2, 1]
        down = down / max(float(np.linalg.norm(down)), 1e-9)
        return np.array([[down[1], down[0]], [-down[0], down[1]]])

    def project(self, points: Array) -> Array:
        """Project face units [n, 3] to pixels [n, 2]."""
        in_view = np.asarray(points, np.float64) @ self.rotation.T
        near = _CAMERA / (_CAMERA - in_view[:, 2:])
        return self.unit * (in_view[:, :2] * near) @ self._move.T + self._origin

    @cached_property
    def map(self) -> Array:
        """Position on a sheet of each pixel of the picture [W, W, 2], at twice the resolution if the picture is small."""
        size = self.size * (2 if self.size <= 160 else 1)
        down = self.unit * self._move @ self.rotation[:2, 1]
        below = self.points[[10, 8, 6]] + down * np.array([0.55, 0.5, 0.55])[:, None]
        target = np.r_[self.points, self.project(_FRAME_3D), below] * (size / self.size)
        source = to_sheet(np.r_[FRONTAL, _FRAME_3D[:, :2], _BELOW[::-1]])
        return thin_plate_map(source, target, size)

    @cached_property
    def visible(self) -> Array:
        """The visible part of the sheets, float32 [S, S]: without the far side of a turned head and what folds over."""
        x = SHEET_LEFT + self.map[..., 0] * (SHEET_SPAN / SHEET)
        facing = np.cos(np.arcsin(np.clip(x / 1.18, -1, 1)) + np.arcsin(np.clip(self.rotation[0, 2], -1, 1)))
        facing = cv2.resize(np.float32(smoothstep(0.06, 0.3, facing)), (self.size, self.size), interpolation=cv2.INTER_AREA)
        crown = self.project(_FRAME_3D)
        below = self.points[6:11] + 0.35 * self.unit * self.axes[:, 1]
        near = self.fill([np.r_[self.points[:6], below, self.points[11:17], crown[::-1]]])
        return facing * smoothstep(0.02, 0.15, blur(near, 0.15 * self.unit))

    def carry(self, sheet: Array) -> Array:
        """Warp a sheet [T, T] or [T, T, C] to the face, [S, S] or [S, S, C]; 0 where it is not visible."""
        layer = cv2.remap(sheet, self.map[..., 0], self.map[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        layer = cv2.resize(layer, (self.size, self.size), interpolation=cv2.INTER_AREA) if len(layer) != self.size else layer
        return layer * (self.visible if layer.ndim == 2 else self.visible[..., None])

    def fill(self, shapes: list[Array], holes: list[Array] = ()) -> Array:
        """Fill polygons [n, 2] in pixels, except the holes, anti-aliased: float32 [S, S] 0..1."""
        fine = max(round(FINE / self.size), 1)
        layer = np.zeros((self.size * fine, self.size * fine), np.uint8)
        for group, value in ((shapes, 255), (holes, 0)):
            for shape in group:
                cv2.fillPoly(layer, [np.int32(np.round((np.asarray(shape) * fine + (fine - 1) / 2) * 16))], value, cv2.LINE_AA, 4)
        return cv2.resize(layer, (self.size, self.size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    def mask_of(self, low: int, high: int) -> Array:
        """The polygon of landmarks low..high-1, float32 [S, S]."""
        return self.fill([self.points[low:high]])

    @cached_property
    def contour(self) -> Array:
        """The face below the brows by its landmarks, float32 [S, S]."""
        return self.fill([np.r_[self.points[:17], self.points[26:16:-1]]])

    @cached_property
    def skin_colour(self) -> Array:
        """Median colour [3] of cheeks, nose and chin, 0..1."""
        return np.median(self.rgb[self.core], axis=0)

    @cached_property
    def core(self) -> Array:
        """Cheeks, nose and chin without the lips, bool [S, S]; the whole picture if the face is only a few pixels large."""
        middle = self.points[[29, 30]].mean(0)
        jaw = middle + 0.72 * (self.points[2:15] - middle)
        layer = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(layer, [np.int32(np.round(jaw))], 1)
        cv2.fillPoly(layer, [np.int32(np.round(self.points[48:60]))], 0)
        if layer.sum() < 12:
            layer[:] = 1
        return layer.astype(bool)

    @cached_property
    def skin(self) -> Array:
        """Similarity of each pixel's colour to this face's skin, float32 [S, S] 0..1; inside the face always 1."""
        like = 1 - smoothstep(9, 20, self.skin_distance)
        sure = smoothstep(0.9, 0.995, blur(self.contour, 0.22 * self.unit))
        return blur(np.maximum(like, sure), 0.03 * self.unit)

    @cached_property
    def skin_distance(self) -> Array:
        """Squared Mahalanobis distance of each pixel's colour from this face's skin, float32 [S, S]."""
        lab = cv2.cvtColor(blur(self.rgb, 0.02 * self.unit), cv2.COLOR_RGB2LAB)
        colours = lab[self.core]
        mean, spread = np.median(colours, axis=0), np.diag([400.0, 50.0, 50.0])
        for _ in range(2):  # the second time without brows, shadows and what else is no skin
            inverse = np.linalg.inv(spread + np.diag([30.0, 6.0, 6.0])).astype(np.float32)
            off = colours - mean
            distance = ((off @ inverse) * off).sum(1)
            near = colours[distance <= np.quantile(distance, 0.8)]
            mean, spread = near.mean(0), 1.5 * np.cov(near.T)
        inverse = np.linalg.inv(spread + np.diag([30.0, 6.0, 6.0])).astype(np.float32)
        off = np.float32(lab - mean)
        return ((off @ inverse) * off).sum(-1)

    @cached_property
    def light(self) -> Array:
        """Light on the face relative to its middle, float32 [S, S], about 0.3..1.8."""
        weight = self.contour * self.skin + 1e-3
        sigma = 0.22 * self.unit
        level = blur(luminance(self.rgb) * weight, sigma) / blur(weight, sigma)
        return np.clip(level / max(float(luminance(self.skin_colour)), 0.03), 0.3, 1.8)

    @cached_property
    def level(self) -> float:
        """Brightness of the picture of this face: the upper quartile of its luminance, 0.08..1."""
        return float(np.clip(np.quantile(luminance(self.rgb[self.core]), 0.75), 0.08, 1))

    @cached_property
    def hair_colour(self) -> Array:
        """Colour [3] of the brows' darkest part, 0..1, clearly darker than the skin."""
        brow = self.points[17:27]
        down = (self.points[36:48].mean(0) - brow.mean(0)) / 0.35
        places = np.concatenate([brow + down * share for share in (0, 0.05, 0.1, 0.15)])
        row, column = np.clip(np.round(places[:, ::-1]).astype(int), 0, self.size - 1).T
        colours = self.rgb[row, column]
        dark = colours[np.argsort(luminance(colours))[: len(colours) // 3]].mean(0)
        limit = 0.5 * float(luminance(self.skin_colour))
        return dark * min(1.0, limit / max(float(luminance(dark)), 1e-3))

    def lighting_of(self, colour, share: float = 1.0) -> Array:
        """A colour [3] in this picture's light, [S, S, 3]: dimmer in dark pictures, tinted and shaded like the face."""
        shade = 1 + share * (self.light - 1)
        return np.float32(np.asarray(colour) * cast_of(self.skin_colour) * np.clip(self.level / 0.62, 0.25, 1.35)) * shade[..., None]

    def finish(self, rgb: Array, mask: Array) -> Drawing:
        """Make the Drawing; where the mask is 0 the picture is exactly unchanged."""
        mask = np.clip(np.float32(mask), 0, 1)
        mask[mask < 0.01] = 0
        picture = np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8)
        return Drawing(np.where(mask[..., None] > 0, picture, self.picture), mask)


def smooth_jaw(jaw: Array) -> Array:
    """Fit jaw points [17, 2] by a polynomial of their index, which removes a landmarker's errors of a pixel or two."""
    t = np.linspace(-1, 1, 17)
    basis = np.polynomial.legendre.legvander(t, 6)
    return basis @ np.linalg.lstsq(basis, jaw, rcond=None)[0]
