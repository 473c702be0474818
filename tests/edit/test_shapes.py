"""Expressions by the shape of a face."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import drawing_config, load_drawing

from dva_core.edit.attributes import AttributeSet, apply_attributes, entries_of
from dva_core.edit.expression import apply_expression, expression_direction
from dva_core.edit.shapes import SHAPES, shape_step
from dva_core.faces.opening import gaps
from dva_core.faces.regions import MEAN_FACE

from .decompositions import draw_decomposition

FACE = MEAN_FACE[17:].astype(np.float64)


def heights(points: np.ndarray) -> np.ndarray:
    """Of the left and the right eye."""
    lower, upper = (points[rows, 1].reshape(2, 2).mean(1) for rows in ([23, 24, 29, 30], [20, 21, 26, 27]))
    return lower - upper


def test_eyes_close_each_by_itself():
    open_eyes = heights(FACE)
    assert (heights(FACE + SHAPES["Closed_Eyes"].move(FACE)) < 0).all()
    np.testing.assert_allclose(heights(FACE + 0.5 * SHAPES["Closed_Eyes"].move(FACE)), 0.3 * open_eyes, rtol=0.05)
    left, right = (heights(FACE + SHAPES[name].move(FACE)) / open_eyes for name in ("Wink_Left", "Wink_Right"))
    assert left[0] < 0 and left[1] == pytest.approx(1) and right[1] < 0 and right[0] == pytest.approx(1)


def test_a_mouth_opens_closes_and_narrows():
    gap = [gaps((FACE + amount * SHAPES["Open_Mouth"].move(FACE))[None])[0] for amount in (-0.3, 0, 0.5, 1)]
    assert gap == sorted(gap) and gap[3] - gap[1] > 0.2
    width = [np.ptp((FACE + amount * SHAPES["Pursed_Lips"].move(FACE))[31:, 0]) for amount in (0, 1)]
    assert width[1] < 0.75 * width[0]


def test_brows_frown():
    shift = SHAPES["Frown"].move(FACE)
    assert shift[4, 1] > 0 and shift[5, 1] > 0 and shift[4, 0] > 0 > shift[5, 0] and not shift[[0, 9]].any()


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_shapes_go_with_the_face(name):
    shift = SHAPES[name].move(FACE)
    assert shift.shape == (51, 2) and shift.any()
    np.testing.assert_allclose(SHAPES[name].move(0.5 * FACE + (0.1, -0.2)), 0.5 * shift, atol=1e-9)
    assert not (set(np.flatnonzero(shift.any(1))) & set(range(10, 19)))  # never the nose
    np.testing.assert_allclose(shape_step(name), shift.ravel())


@pytest.fixture(scope="module")
def retouching(tmp_path_factory):
    return load_drawing(tmp_path_factory.mktemp("bundle"))


def test_they_are_attributes_of_a_model_that_moves_pixels(retouching, model):
    attributes = AttributeSet.from_model(retouching)
    assert [name for name in attributes.names if name in SHAPES] == list(SHAPES) and attributes.names[-1] == list(SHAPES)[-1]
    assert not set(AttributeSet.from_model(model).names) & set(SHAPES)
    for name in SHAPES:
        np.testing.assert_array_equal(attributes.shift(name), shape_step(name))
        assert attributes[name].range == SHAPES[name].range
    own = retouching.state_dict()["attributes.motion.shift"].numpy()
    np.testing.assert_allclose(attributes.shift("Smiling"), own[0])


def test_a_bundles_own_attribute_of_that_name_goes_first():
    config = drawing_config()
    config["attributes"] = [*config["attributes"], {"name": "Frown", "space": "motion", "index": 1}]
    names = [entry.name for entry in entries_of(config)]
    assert names.count("Frown") == 1 and [entry.index for entry in entries_of(config) if entry.name == "Closed_Eyes"] == [2]


def test_a_shape_is_applied_as_any_attribute(retouching):
    one = draw_decomposition(range(3), image_size=16, crop_size=32, motion_dim=102, model_fingerprint=retouching.fingerprint)
    edited = apply_attributes(one, retouching, {"closed_eyes": 0.5})
    np.testing.assert_allclose(edited.motion_shift, 0.5 * shape_step("Closed_Eyes"), atol=1e-6)
    same = apply_expression(one, retouching, "closed_eyes", 0.5)
    np.testing.assert_allclose(same.motion_shift, edited.motion_shift, atol=1e-6)
    assert not expression_direction(None, retouching, "Closed_Eyes", regions=["mouth"]).vector.any()
    np.testing.assert_allclose(expression_direction(None, retouching, "Frown").vector, shape_step("Frown"), atol=1e-6)
