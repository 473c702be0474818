"""The teachers as torch modules give what onnxruntime makes of the same files, and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import need_shared

from dva_core.errors import DVAError
from dva_core.model.arrays import to_images
from dva_core.train.faces import read_faces
from dva_core.train.teacher_network import AgeAndSex, TeacherNetwork, crop_window
from dva_core.train.teachers import EXPRESSION_WINDOW, Teachers, window

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def pictures():
    return read_faces(need_shared("data/faces128"), ("faker",)).take(np.arange(8)).pictures


@pytest.mark.parametrize("name", ["age_gender", "expression"])
def test_the_same_numbers_as_onnxruntime(shared, name):
    ort = pytest.importorskip("onnxruntime")
    path = shared(f"data/teachers/{name}.onnx")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = 255 * torch.rand(3, 3, 112, 112)
    with torch.no_grad():
        outputs = TeacherNetwork(path.parent, name)(images)
    for actual, expected in zip(outputs, session.run(None, {session.get_inputs()[0].name: images.numpy()})):
        np.testing.assert_allclose(actual.numpy().reshape(expected.shape), expected, rtol=1e-3, atol=1e-4)


def test_it_looks_where_the_teachers_look(pictures):
    wanted = window(pictures, EXPRESSION_WINDOW).astype(np.float32).transpose(0, 3, 1, 2)
    crops = crop_window(to_images(pictures)).numpy()
    assert np.abs(crops - wanted).mean() < 1.5


def test_age_and_sex_as_the_teacher_tells_them_and_gradients(shared, pictures):
    pytest.importorskip("onnxruntime")
    age, male = Teachers(shared("data/teachers")).age_male(pictures)
    images = to_images(pictures).requires_grad_(True)
    values = AgeAndSex(shared("data/teachers"))(images)
    assert np.abs(values[:, 0].sigmoid().detach().numpy() - male).max() < 0.1
    assert np.abs(40 - 8 * values[:, 1].detach().numpy() - age).max() < 4
    for column in values.unbind(1):
        assert torch.autograd.grad(column.sum(), images, retain_graph=True)[0].abs().max() > 0


def test_a_missing_teacher_is_named(tmp_path):
    with pytest.raises(DVAError, match=r"age_gender\.onnx"):
        AgeAndSex(tmp_path)
