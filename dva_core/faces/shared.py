"""What several followers share in each frame: one search, one pass for all landmarks, identity vectors computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dva_core.faces.align import crop_face, quad_from_landmarks
from dva_core.faces.landmarker import plausible
from dva_core.faces.samples import FaceSample
from dva_core.faces.search import detect_in, overlap, window_around
from dva_core.faces.segments import bounds
from dva_core.faces.select import EMBED_SIZE
from dva_core.faces.types import Box, Face, extent

ALIKE = 1.5  # largest ratio of sizes of faces searched at one resolution
DEARER = 1.3  # largest area of a common window, over the summed areas of the windows


class SharedDetector:
    """A detector for several followers. `held`: boxes of this frame's faces that were assigned; `lost` followers do not get those."""

    def __init__(self, detector) -> None:
        self.detector = detector
        self.begin(np.empty((0, 0, 3), np.uint8), [])

    def begin(
        self, rgb: np.ndarray, boxes: Sequence[Box], samples: Sequence[FaceSample] | None = None, moved: Mapping[Box, Face] | None = None
    ) -> None:
        """Take the next frame; `boxes` are the last places of all who are followed.

        samples: faces of the frame if it was searched before; moved: for last places that need no search, the face there now.
        """
        moved = moved or {}
        self.rgb, self.boxes = rgb, [box for box in boxes if box not in moved]
        self.held: list[Box] = []
        self.lost = False
        self._all: list[Face] | None = None if samples is None else [one.face for one in samples]
        self._near: dict[Box, list[Face]] = {box: [face] for box, face in moved.items()}

    def detect(self, rgb: np.ndarray) -> list[Face]:
        if rgb is not self.rgb:  # a part of the frame, or one that was turned
            return self.detector.detect(rgb)
        if self._all is None:
            self._all = self.detector.detect(rgb)
        return self._free(self._all)

    def detect_sized(self, rgb: np.ndarray, extent: float) -> list[Face]:
        sized = getattr(self.detector, "detect_sized", None)
        return self.detector.detect(rgb) if sized is None else sized(rgb, extent)

    def around(self, rgb: np.ndarray, box: Box) -> list[Face]:
        """Faces in the window around a last place."""
        if box not in self._near:
            group = [other for other in {*self.boxes, box} if extent(other) < ALIKE * extent(box) and extent(box) < ALIKE * extent(other)]
            for one, faces in self._look(rgb, group).items():
                self._near.setdefault(one, faces)
        return self._free(self._near[box])

    def _look(self, rgb: np.ndarray, boxes: list[Box]) -> dict[Box, list[Face]]:
        """Search the windows around boxes of similar size: in one piece, unless that is much larger than the windows."""
        windows = {box: window_around(box, rgb.shape) for box in boxes}
        x0, y0, x1, y1 = np.array(list(windows.values())).T
        whole = int(x0.min()), int(y0.min()), int(x1.max()), int(y1.max())
        smallest = min(map(extent, boxes))
        if len(boxes) > 1 and (whole[2] - whole[0]) * (whole[3] - whole[1]) > DEARER * float(((x1 - x0) * (y1 - y0)).sum()):
            return {box: self._in(rgb, window, extent(box)) for box, window in windows.items()}
        faces = self._in(rgb, whole, smallest)
        return {box: [face for face in faces if _within(face, window)] for box, window in windows.items()}

    def _in(self, rgb: np.ndarray, window: tuple[int, int, int, int], size: float) -> list[Face]:
        return detect_in(lambda part: self.detect_sized(part, size), rgb, window)

    def _free(self, faces: list[Face]) -> list[Face]:
        if not self.lost:
            return list(faces)
        return [face for face in faces if not any(overlap(face.box, box) > 0.3 for box in self.held)]


def _within(face: Face, window: tuple[int, int, int, int]) -> bool:
    (x, y), (x0, y0, x1, y1) = face.centre, window
    return x0 <= x <= x1 and y0 <= y <= y1


class SharedLandmarker:
    """A landmarker for several followers: with a CropLandmarker, faces of the previous frame are measured in one pass, in their squares
    and the mirror images in turn.
    """

    def __init__(self, landmarker) -> None:
        self.landmarker, self.doubt = landmarker, getattr(landmarker, "doubt", None)
        self.look_again = getattr(landmarker, "look_again", None)
        self.mirrored = False
        self._samples: list[FaceSample] = []
        self._before: list[np.ndarray] = []
        self._looked_at: set[int] = set()
        self._little: dict[int, np.ndarray] = {}  # by id of those before: the landmarks of faces that hardly moved

    def begin(self, rgb: np.ndarray, before: Sequence[np.ndarray], samples: Sequence[FaceSample] | None = None) -> None:
        """Take the next frame and the landmarks of the previous one; `samples`: its faces and landmarks if they are known."""
        self._samples = list(samples or ())
        self._before = list(before) if samples is None and self.look_again is not None else []  # alive, so that ids stay unique
        found = self.look_again(rgb, self._before, self.mirrored) if self._before else []
        self.mirrored ^= bool(self._before)
        self._looked_at = {id(old) for old in self._before}
        self._little = {id(old): new for old, new in zip(self._before, found) if self.landmarker.moved_little(new, old)}

    def moved(self, face: Face, before: np.ndarray) -> Face | None:
        """The face of the previous frame, which had these landmarks, in its place now; None if that is less certain than a search."""
        points = self._little.get(id(before))
        if points is None:
            return None
        x, y = step = points.mean(0) - before.mean(0)
        box = (face.box[0] + x, face.box[1] + y, face.box[2] + x, face.box[3] + y)
        return replace(face, box=tuple(map(float, box)), points5=None if face.points5 is None else face.points5 + step)

    def __call__(self, rgb: np.ndarray, face: Face) -> np.ndarray:
        """Find the points of a face; those of the faces that are followed are known already."""
        for one in self._samples:
            if one.face is face:
                return one.landmarks
        at_hand = next(
            (points for points in self._little.values() if plausible(points, face.box) and overlap(bounds(points).box, face.box) > 0.3),
            None,
        )
        return self.landmarker(rgb, face) if at_hand is None else at_hand.astype(np.float32)

    def follow(self, rgb: np.ndarray, face: Face, before: np.ndarray) -> np.ndarray:
        if id(before) not in self._looked_at:
            return self.landmarker.follow(rgb, face, before) if hasattr(self.landmarker, "follow") else self(rgb, face)
        points = self._little.get(id(before))
        return self.landmarker(rgb, face) if points is None else points.astype(np.float32)


class RememberedVectors:
    """Identity vectors of crops, computed once per frame for all followers."""

    def __init__(self, embed: Callable[[np.ndarray], np.ndarray]) -> None:
        self.embed = embed
        self.vectors: dict[bytes, np.ndarray] = {}

    def begin(self, rgb: np.ndarray, samples: Sequence[FaceSample] | None = None) -> None:
        """Take the next frame, and its faces where their vectors are known."""
        self.vectors = {crop_face(rgb, quad_from_landmarks(one.landmarks), EMBED_SIZE).tobytes(): one.vector for one in samples or ()}

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        keys = [crop.tobytes() for crop in crops]
        new = {key: i for i, key in enumerate(keys) if key not in self.vectors}
        if new:
            self.vectors |= dict(zip(new, self.embed(np.stack([crops[i] for i in new.values()]))))
        return np.stack([self.vectors[key] for key in keys])
