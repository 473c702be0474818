"""The teachers give here what is recorded beside the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.errors import DVAError
from dva_core.train.faces import read_faces
from dva_core.train.teachers import Teachers, window


@pytest.fixture(scope="module")
def faces():
    from conftest import need_shared

    return read_faces(need_shared("data/faces128"), ("faker",)).take(np.arange(12))


@pytest.fixture(scope="module")
def teachers():
    from conftest import need_shared

    pytest.importorskip("onnxruntime")
    return Teachers(need_shared("data/teachers"))


def test_embeddings_are_the_recorded_ones(faces, teachers):
    vectors = teachers.embed(faces.pictures, faces.points5)
    assert (vectors * faces.embedding).sum(1).min() > 0.98


def test_sex_age_and_smile_agree_with_the_labels(faces, teachers):
    age, male = teachers.age_male(faces.pictures)
    labelled = ~np.isnan(faces.labels[:, faces.names.index("Male")])
    assert ((male > 0.5) == faces.labels[:, faces.names.index("Male")])[labelled].mean() > 0.9
    assert ((age > 5) & (age < 110)).all()
    smile, labels = teachers.expression(faces.pictures), faces.labels[:, faces.names.index("Smiling")]
    assert np.allclose(smile.sum(1), 1, atol=1e-4)
    assert smile[labels == 1, 1].mean() > smile[labels == 0, 1].mean()


def test_a_missing_teacher_is_named(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(DVAError, match=r"mobilefacenet\.onnx"):
        Teachers(tmp_path).embed(np.zeros((1, 128, 128, 3), np.uint8), np.random.default_rng(0).uniform(0, 128, (1, 5, 2)))


def test_window_cuts_where_it_says():
    picture = np.zeros((1, 100, 100, 3), np.uint8)
    picture[0, 20:60, 30:70] = 255
    inside = window(picture, (0.3, 0.2, 0.4), 32)
    assert inside[0, 2:-2, 2:-2].min() == 255
    assert window(picture, (0.0, 0.0, 1.0), 100)[0, 19, 29].max() == 0
