"""Detector and 68 landmarks of insightface, an optional package; never needed, never downloaded.

insightface's code is MIT, but its model packages (buffalo_l and the others) are licensed for NON-COMMERCIAL research only
(https://github.com/deepinsight/insightface#license). The default detector of this project has no such restriction.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from dva_core.errors import DVAError, MissingDependencyError
from dva_core.faces.types import Face

log = logging.getLogger(__name__)

MODULES = ("detection", "landmark_3d_68")


class InsightFace:
    """`detect(rgb) -> list[Face]` and `landmarks(rgb, face) -> [68, 2]`, to be used as detector and landmarker of `track_faces`.

    `package` names the folder `<root>/models/<package>` (root: by default insightface's own, ~/.insightface) that must contain
    the package's .onnx files; this is checked before insightface is called, because it would download missing ones.
    Frames are uint8 [H, W, 3] RGB, points are frame pixels.
    """

    def __init__(self, package: str = "buffalo_l", root: str | Path | None = None, *, threshold: float = 0.5, providers=None):
        app_module = _import_insightface()
        folder = Path(root or "~/.insightface").expanduser() / "models" / package
        if not any(folder.glob("*.onnx")):
            raise MissingDependencyError(
                f"insightface's model package {package!r} is not in {folder}: unpack {package}.zip from "
                "https://github.com/deepinsight/insightface/releases/tag/model-zoo there (weights for non-commercial research only), "
                "or use the built-in detector."
            )
        log.warning("insightface's %s weights are licensed for non-commercial research only", package)
        app = app_module.FaceAnalysis(name=str(folder), allowed_modules=list(MODULES), providers=providers)
        missing = [name for name in MODULES if name not in app.models]
        if missing:
            raise DVAError(f"The insightface package in {folder} has no {' and no '.join(missing)} model: use buffalo_l.")
        app.prepare(ctx_id=0, det_thresh=threshold)
        self._face_type = app_module.common.Face
        self._detector, self._landmarks = app.models["detection"], app.models["landmark_3d_68"]

    def detect(self, rgb: np.ndarray) -> list[Face]:
        """Detect all faces of a frame, best score first."""
        boxes, points = self._detector.detect(np.ascontiguousarray(rgb[..., ::-1]), max_num=0)
        faces = [
            Face(tuple(float(v) for v in box[:4]), float(box[4]), None if points is None else np.asarray(points[i], np.float32))
            for i, box in enumerate(boxes)
        ]
        return sorted(faces, key=lambda face: -face.score)

    def landmarks(self, rgb: np.ndarray, face: Face) -> np.ndarray:
        """68 points [68, 2] float32 of one face; insightface's third coordinate is dropped."""
        record = self._face_type(bbox=np.asarray(face.box, np.float32))
        points = self._landmarks.get(np.ascontiguousarray(rgb[..., ::-1]), record)
        return np.asarray(points, np.float32)[:, :2]


def _import_insightface():
    """Import the module insightface.app of version 2 or later."""
    try:
        import insightface
        import insightface.app
        import insightface.app.common
    except ImportError as error:
        raise MissingDependencyError(
            "The insightface detector needs its package: pip install 'insightface>=2.0' onnxruntime, or use the built-in detector."
        ) from error
    version = str(getattr(insightface, "__version__", "0"))
    if int(version.split(".")[0]) < 2:
        raise MissingDependencyError(f"insightface {version} is too old: pip install -U 'insightface>=2.0', or use the built-in detector.")
    return insightface.app
