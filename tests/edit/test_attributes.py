import math

import numpy as np
import pytest

from dva_core.decomposition import Decomposition
from dva_core.decomposition.arrays import array_specs
from dva_core.decomposition.info import DecompositionInfo
from dva_core.decomposition.tensorfile import TensorMemory
from dva_core.edit import apply_attributes, apply_operations
from dva_core.edit.attributes import Attribute, AttributeSet, identity_step
from dva_core.errors import DVAError

from .attribute_model import Model
from .decompositions import draw_decomposition


@pytest.fixture
def decomposition():
    return draw_decomposition(range(3), model_fingerprint="f00d", model_name="tiny")


@pytest.mark.parametrize("scale", [-0.5, 0.25, 1.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_agrees_with_the_reference(shared, scale, normalize):
    golden = np.load(shared("reference/classifier_edit.npz"))
    tensors = {"identity.weight": golden["classifier_weight"], "identity.mean": golden["conds_mean"], "identity.std": golden["conds_std"]}
    attributes = AttributeSet((Attribute("a", "identity", int(golden["attribute_index"])),), tensors)
    store = TensorMemory(array_specs(1, 8, 16, golden["z_id_frames"].shape[1], 6), {})
    store.write("z_id", 0, golden["z_id_frames"].mean(0))
    plain = Decomposition(store, DecompositionInfo("a.mp4", "", 4, 4, 25, 1))
    edited = plain.with_identity_step(None, identity_step(attributes, "a", normalize)[None], np.array([scale])).current_z_id
    np.testing.assert_allclose(edited, golden[f"{'normalized' if normalize else 'raw'}_{scale}"][0], atol=1e-6)


def test_several_steps_are_summed_in_the_standardised_space(decomposition):
    model = Model()
    edited = apply_attributes(decomposition, model, {"Young": -0.6, "Male": 0.3})
    weight, mean, std = (model.tensors[f"attributes.identity.{k}"].numpy() for k in ("weight", "mean", "std"))
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    z = ((decomposition.z_id - mean[0]) / std[0] + 4 * (-0.6 * unit[1] + 0.3 * unit[0])) * std[0] + mean[0]
    np.testing.assert_allclose(edited.z_id_edited, z / np.linalg.norm(z), atol=1e-6)
    assert edited.motion_shift is None and edited.is_edited


@pytest.mark.parametrize("normalize", [True, False])
def test_edits_go_along_the_models_own_directions_where_it_has_them(decomposition, normalize):
    plain, model = Model(), Model()
    swapped = plain.tensors["attributes.identity.weight"].flip(0)
    model.tensors["attributes.identity.direction"] = swapped
    plain.tensors["attributes.identity.weight"] = swapped
    for scales in ({"Young": -0.6}, {"Young": {"0": 0.0, "2": 0.5}}):
        expected, actual = (apply_attributes(decomposition, m, scales, normalize).current_identity([0, 1, 2]) for m in (plain, model))
        np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(AttributeSet.from_model(model).weight("Young"), swapped[0].double().numpy())  # the classifier stays


def test_a_motion_attribute_shifts_all_frames_alike_and_leaves_the_identity(decomposition):
    model = Model()
    edited = apply_attributes(decomposition, model, {"Smiling": 0.4, "Mouth_Open": -1})
    shift = model.tensors["attributes.motion.shift"].numpy()
    for row in range(3):
        np.testing.assert_allclose(
            edited.current_z_motion(slice(None))[row] - decomposition.z_motion[row], 0.4 * shift[0] - shift[1], atol=1e-6
        )
    assert edited.z_id_edited is None
    np.testing.assert_array_equal(edited.current_z_id, decomposition.z_id)


def test_scale_0_changes_nothing_but_is_recorded(decomposition):
    edited = apply_attributes(decomposition, Model(), {"Young": 0.0, "Smiling": 0.0})
    assert not edited.is_edited
    assert edited.operations == ({"name": "attributes", "scales": {"Young": 0.0, "Smiling": 0.0}, "normalize": True},)


def test_edits_follow_each_other_and_can_be_repeated_from_their_record(decomposition):
    model = Model()
    edited = apply_attributes(decomposition, model, {"Young": 0.5, "Smiling": 0.2})
    edited = apply_attributes(edited, model, {"male": 0.5, "Smiling": 0.1}, normalize=False)
    assert [op["scales"] for op in edited.operations] == [{"Young": 0.5, "Smiling": 0.2}, {"Male": 0.5, "Smiling": 0.1}]
    again = apply_operations(decomposition, model, edited.operations)
    np.testing.assert_array_equal(again.z_id_edited, edited.z_id_edited)
    np.testing.assert_allclose(again.motion_shift, 0.3 * model.tensors["attributes.motion.shift"][0].numpy(), atol=1e-6)
    assert again.operations == edited.operations and decomposition.operations == ()


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({"Yung": 1}, "did you mean Young"),
        ({"zzzzzz": 1}, "there are Young, Male, Smiling, Mouth_Open"),
        ({"Young": math.nan}, "from -1 to 1"),
        ({"Young": math.inf}, "makes no sense"),
        ({"Smiling": 1e9}, r"1e\+09 of Smiling"),
        ({"Smiling": -10.001}, "makes no sense"),
    ],
)
def test_what_makes_no_sense_is_refused(decomposition, scales, message):
    with pytest.raises(DVAError, match=message) as caught:
        apply_attributes(decomposition, Model(), scales)
    assert str(caught.value).count(". ") == 0


def test_another_models_decomposition_and_a_model_without_attributes_are_refused(decomposition):
    other = Model()
    other.fingerprint = "beef"
    with pytest.raises(DVAError, match="encoded with the model tiny"):
        apply_attributes(decomposition, other, {"Young": 1})
    with pytest.raises(DVAError, match="no attributes"):
        apply_attributes(decomposition, Model(entries=[]), {"Young": 1})
    with pytest.raises(DVAError, match="there are attributes"):
        apply_operations(decomposition, Model(), [{"name": "teleport"}])
