"""One face through a real video, found by the teachers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dva_core.faces import align
from dva_core.faces.landmarker import CropLandmarker
from dva_core.faces.track import track_faces
from dva_core.faces.types import Face

from .painted import Frame


class Yunet:
    def __init__(self, path):
        self.path = str(path)

    def detect(self, rgb):
        height, width = rgb.shape[:2]
        k = 320 / max(height, width)
        image = np.ascontiguousarray(cv2.resize(rgb, (round(width * k), round(height * k)))[..., ::-1])
        rows = cv2.FaceDetectorYN.create(self.path, "", image.shape[1::-1], 0.7).detect(image)[1]
        rows = [] if rows is None else rows
        return [Face((r[0] / k, r[1] / k, (r[0] + r[2]) / k, (r[1] + r[3]) / k), float(r[14]), r[4:14].reshape(5, 2) / k) for r in rows]


def test_a_real_video_with_the_teachers(shared):
    av, ort = pytest.importorskip("av"), pytest.importorskip("onnxruntime")
    detector, model = Yunet(shared("data/teachers/yunet.onnx")), shared("data/teachers/landmark68.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    network = ort.InferenceSession(str(model), options)

    def points_fn(crops):  # the teacher wants a tight square: x 26..102, y 42..118 of 128
        tight = np.stack([cv2.resize(crop[42:118, 26:102], (112, 112)) for crop in crops]).astype(np.float32)
        return (network.run(None, {"rgb": tight.transpose(0, 3, 1, 2)})[0] * 76 + [26, 42]) / 128

    with av.open(str(shared("data/clips/swiz3n.mpg"))) as decomposition:
        pictures = [frame.to_ndarray(format="rgb24") for frame in decomposition.decode(video=0)]
    with np.load(shared("data/clips/annotations.npz")) as data:
        expected = data["swiz3n/landmarks68"]
    track = track_faces((Frame(n, rgb) for n, rgb in enumerate(pictures)), detector, CropLandmarker(points_fn))
    assert track.report()["found"] == track.report()["frames"] == 75 and track.segments() == [(0, 75)]
    assert np.linalg.norm(track.landmarks - expected, axis=-1).mean() < 2.5  # pixels, on a square 220 wide
    raw = align.quad_from_landmarks(track.landmarks)
    assert np.abs(np.diff(track.quads, 2, axis=0)).mean() < 0.25 * np.abs(np.diff(raw, 2, axis=0)).mean()
