"""The optional detector, with a stand-in for the package: what it is asked, and what users read when something is missing."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from bundles import write_tiny

from dva_core.errors import DVAError, MissingDependencyError
from dva_core.faces.finder import FaceFinder
from dva_core.faces.insightface import InsightFace
from dva_core.faces.types import Face
from dva_core.model.loader import load_model


def stand_in(version: str = "2.1", tasks=("detection", "landmark_3d_68")):
    calls = {}

    class Record(dict):
        def __init__(self, **fields):
            super().__init__(fields)
            self.__dict__.update(fields)

    class Detection:
        def detect(self, image, max_num=0):
            calls["detected"] = image
            boxes = np.array([[1, 2, 31, 42, 0.6], [50, 20, 90, 70, 0.9]], np.float32)
            return boxes, np.arange(20, dtype=np.float32).reshape(2, 5, 2)

    class Landmark:
        def get(self, image, face):
            calls["landmarks"] = image
            return np.concatenate([np.tile(face.bbox[:2], (68, 1)), np.full((68, 1), 7.0)], 1)

    class FaceAnalysis:
        def __init__(self, name, allowed_modules, providers):
            calls["name"] = name
            models = {"detection": Detection(), "landmark_3d_68": Landmark()}
            self.models = {task: models[task] for task in tasks}

        def prepare(self, ctx_id, det_thresh):
            calls["threshold"] = det_thresh

    package, app, common = (types.ModuleType(f"insightface{tail}") for tail in ("", ".app", ".app.common"))
    package.__version__, package.app = version, app
    app.FaceAnalysis, app.common, common.Face = FaceAnalysis, common, Record
    return {module.__name__: module for module in (package, app, common)}, calls


def install(monkeypatch, **options):
    modules, calls = stand_in(**options)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return calls


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "models" / "buffalo_l"
    folder.mkdir(parents=True)
    (folder / "det_10g.onnx").touch()
    return tmp_path


def test_faces_and_landmarks(monkeypatch, root):
    calls = install(monkeypatch)
    detector = InsightFace(root=root, threshold=0.4)
    rgb = np.zeros((100, 100, 3), np.uint8)
    rgb[..., 0] = 255
    faces = detector.detect(rgb)
    assert [face.score for face in faces] == pytest.approx([0.9, 0.6])
    assert faces[1].box == (1, 2, 31, 42) and faces[1].points5.shape == (5, 2) and faces[1].points5[1, 1] == 3
    points = detector.landmarks(rgb, Face((5, 6, 20, 30), 0.9))
    assert points.shape == (68, 2) and points.dtype == np.float32 and (points == [5, 6]).all()
    assert calls["threshold"] == 0.4 and calls["name"] == str(root / "models" / "buffalo_l")  # a folder: nothing is downloaded
    assert calls["detected"][0, 0].tolist() == calls["landmarks"][0, 0].tolist() == [0, 0, 255]  # it wants BGR


def test_it_can_be_chosen_to_find_faces(monkeypatch, root, tmp_path):
    install(monkeypatch)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr("os.path.expanduser", lambda path: str(path).replace("~", str(tmp_path)))
    (tmp_path / ".insightface").symlink_to(root)
    model = load_model(write_tiny(tmp_path / "tiny.safetensors"), device="cpu")
    finder = FaceFinder.of(model, "insightface")
    assert isinstance(finder.detector, InsightFace) and finder.landmarker == finder.detector.landmarks
    assert finder.embed(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 16)
    assert not isinstance(FaceFinder.of(model).detector, InsightFace)
    with pytest.raises(DVAError, match="no detector 'dlib'; choose one of own, insightface"):
        FaceFinder.of(model, "dlib")


def test_without_the_package(monkeypatch, root):
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'insightface>=2.0'"):
        InsightFace(root=root)


def test_an_old_package(monkeypatch, root):
    install(monkeypatch, version="0.7.3")
    with pytest.raises(MissingDependencyError, match=r"0\.7\.3 is too old"):
        InsightFace(root=root)


def test_models_not_there_are_never_fetched(monkeypatch, tmp_path):
    calls = install(monkeypatch)
    with pytest.raises(MissingDependencyError, match="buffalo_l") as caught:
        InsightFace(root=tmp_path)
    assert str(tmp_path) in str(caught.value) and "non-commercial" in str(caught.value) and not calls


def test_a_package_without_landmarks(monkeypatch, root):
    install(monkeypatch, tasks=("detection",))
    with pytest.raises(DVAError, match="landmark_3d_68"):
        InsightFace(root=root)
