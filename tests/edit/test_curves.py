"""Strengths over time: how they are written, what they are at a frame, and that edits follow them."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from video_helpers import NTSC

from dva_core.decomposition import Decomposition
from dva_core.edit import apply_attributes, apply_operations, apply_switch, parse_scales
from dva_core.edit.attributes import AttributeSet, identity_step
from dva_core.edit.curves import Curve, monotone_cubic, parse_scale, parse_text, sample_scale, with_envelope
from dva_core.errors import DVAError

from .attribute_model import Model
from .decompositions import draw_decomposition

FRAMES = (0, 1, 4, 5, 6, 9)  # frames 2, 3, 7 and 8 show no face


@pytest.fixture
def model():
    model = Model()
    model.motion_dim = 6
    return model


def make_decomposition(frames=FRAMES, seed: int = 0) -> Decomposition:
    return draw_decomposition(frames, rate=NTSC, seed=seed, model_fingerprint="f00d", steps=4, solver="ddim")


@pytest.fixture
def decomposition():
    return make_decomposition()


def test_every_way_to_write_a_curve_means_the_same():
    curve = Curve((("0s", 0.0), ("1.5s", -0.8)), "smooth")
    assert parse_scales('{"Young": {"0s": 0, "1.5s": -0.8, "curve": "smooth"}}') == {"Young": curve}
    assert parse_text("0s:0, 1.5s:-0.8, smooth") == parse_text("0s:0 1.5s:-0.8 smooth") == curve
    assert parse_text('{"0s": 0, "1.5s": -0.8, "curve": "smooth"}') == parse_scale(curve) == curve
    assert parse_scale(curve.to_json()) == curve and json.dumps(curve.to_json())
    assert parse_text("-0.6") == -0.6 and parse_text("1e-1") == 0.1
    assert parse_scale([1, 2.5]).keys == (("0", 1.0), ("1", 2.5))


def test_a_file_holds_a_curve(tmp_path):
    (tmp_path / "slow.json").write_text('{"10": 0.5, "20": 1}')
    assert parse_text(str(tmp_path / "slow.json")) == Curve((("10", 0.5), ("20", 1.0)))
    with pytest.raises(DVAError, match="cannot be read"):
        parse_text(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        ({"Ys": 0}, 'no moment "Ys"'),
        ({"-1s": 0}, "no moment"),
        ({"0s": "much"}, 'is "much" at 0s'),
        ({"0s": True}, "is true at 0s"),
        ({"curve": "smooth"}, "no keys"),
        ({"0s": 0, "curve": "wild"}, "use linear or smooth"),
        ([], "must be a number, or a curve"),
        ([0, "x"], "must be a number, or a curve"),
    ],
)
def test_what_is_no_curve_is_refused(scale, says):
    with pytest.raises(DVAError, match=says) as caught:
        parse_scale(scale, "Young")
    assert "Young" in str(caught.value) and str(caught.value).endswith(".")
    if isinstance(scale, dict):
        with pytest.raises(DVAError):
            parse_text(json.dumps(scale))


@pytest.mark.parametrize("text", ["much", "0s", "0s:0,0s:1", "0s:0 wavy", "{", ""])
def test_texts_that_are_none(text):
    with pytest.raises(DVAError):
        parse_text(text)


def test_seconds_follow_the_exact_rate_and_frames_are_counted():
    curve = Curve((("0s", 0.0), ("1001s", 1.0)))
    assert curve.positions(NTSC) == [0, 30000]
    np.testing.assert_array_equal(curve.at(np.array([0, 15000, 30000, 99999]), NTSC), [0, 0.5, 1, 1])
    both = Curve((("50", 1.0), ("0s", 0.0)))  # keys in any order, in either unit
    np.testing.assert_allclose(both.at(np.array([0, 25, 50]), Fraction(25)), [0, 0.5, 1])
    with pytest.raises(DVAError, match="on one moment"):
        Curve((("25", 1.0), ("1s", 0.0))).at(np.array([0]), Fraction(25))


def test_a_smooth_curve_is_level_at_its_ends_and_goes_through_its_keys():
    x, y = np.array([0.0, 10.0, 20.0, 40.0]), np.array([0.0, 1.0, 1.5, 0.5])
    np.testing.assert_allclose(monotone_cubic(x, x, y), y)
    t = np.array([0.25, 0.5, 0.75])
    np.testing.assert_allclose(monotone_cubic(10 * t, x[:2], y[:2]), 3 * t**2 - 2 * t**3)
    fine = np.linspace(-5, 45, 5001)
    slope = np.gradient(monotone_cubic(fine, x, y), fine)
    assert np.abs(np.diff(slope)).max() < 0.01  # no kink, at the held ends neither
    assert slope[np.searchsorted(fine, 10)] > 0.05  # it does not stop at a key on its way


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=8))
def test_a_smooth_curve_never_overshoots(values):
    x = np.arange(len(values)) * 3.0
    at = np.linspace(0, x[-1], 200)
    curve, y = monotone_cubic(at, x, np.array(values)), np.array(values)
    i = np.clip((at // 3).astype(int), 0, len(y) - 2)
    assert (curve >= np.minimum(y[i], y[i + 1]) - 1e-9).all() and (curve <= np.maximum(y[i], y[i + 1]) + 1e-9).all()


@pytest.mark.parametrize("normalize", [True, False])
def test_a_constant_curve_is_the_plain_edit_bit_for_bit(decomposition, model, normalize):
    scales = {"Young": -0.7, "Smiling": 0.3}
    curves = {"Young": {"0s": -0.7, "0.1s": -0.7, "curve": "smooth"}, "Smiling": [0.3] * 4}
    plain, curved = (apply_attributes(decomposition, model, s, normalize) for s in (scales, curves))
    np.testing.assert_array_equal(plain.z_id_edited, curved.z_id_edited)
    np.testing.assert_array_equal(plain.motion_shift, curved.motion_shift)
    assert not curved.identity_steps and not curved.motion_steps


@pytest.mark.parametrize("normalize", [True, False])
def test_every_frame_has_the_face_of_the_plain_edit_with_its_strength(decomposition, model, normalize):
    """Also in a chain of edits, of which one is plain."""
    first, second = {"Young": {"0": 0, "9": -0.9}, "Male": 0.4, "Smiling": {"2": 0, "6": 1, "curve": "smooth"}}, {"Male": -0.2}
    edited = apply_attributes(apply_attributes(decomposition, model, first, normalize), model, second, normalize)
    young, smile = parse_scale(first["Young"]).at(np.array(FRAMES), NTSC), parse_scale(first["Smiling"]).at(np.array(FRAMES), NTSC)
    assert young[2] == pytest.approx(-0.4) and smile[2] == pytest.approx(0.5)
    for row in range(decomposition.faces):
        at_row = {"Young": young[row], "Male": 0.4, "Smiling": smile[row]}
        plain = apply_attributes(apply_attributes(decomposition, model, at_row, normalize), model, second, normalize)
        np.testing.assert_allclose(edited.current_identity([row])[0], plain.current_z_id, atol=1e-6)
        np.testing.assert_allclose(edited.current_z_motion([row])[0], plain.current_z_motion([row])[0], atol=1e-6)
    np.testing.assert_array_equal(edited.current_identity(slice(1, 3)), edited.current_identity([1, 2]))
    np.testing.assert_allclose(np.linalg.norm(edited.current_identity(slice(None)), axis=1), 1, atol=1e-6)
    assert edited.is_edited


def test_a_step_is_what_the_standardised_edit_adds(decomposition, model):
    """denorm(norm(z) + scale sqrt(D) w / |w|), as the paper writes it; without `normalize` the raw weight is added."""
    attributes = AttributeSet.from_model(model)
    mean, std = (attributes.tensors[f"identity.{name}"].reshape(-1) for name in ("mean", "std"))
    weight = attributes.weight("Young")
    standardised = (decomposition.z_id.astype(float) - mean) / std - 0.5 * np.sqrt(len(weight)) * weight / np.linalg.norm(weight)
    for normalize, moved in ((True, standardised * std + mean), (False, decomposition.z_id - 0.5 * np.sqrt(len(weight)) * weight)):
        edited = apply_attributes(decomposition, model, {"Young": -0.5}, normalize)
        np.testing.assert_allclose(edited.current_z_id, moved / np.linalg.norm(moved), atol=1e-6)
        step = identity_step(attributes, "Young", normalize)
        np.testing.assert_allclose(decomposition.z_id - 0.5 * step, moved, atol=1e-6)


def test_a_curve_is_kept_by_file_record_and_switch(tmp_path, decomposition, model):
    scales = {"Young": {"0s": 0, "0.3s": -0.8, "curve": "smooth"}, "Smiling": {"0": 0, "9": 1}}
    edited = apply_attributes(decomposition, model, scales)
    assert edited.operations[0]["scales"] == scales
    edited.save(tmp_path / "a.safetensors")
    loaded = Decomposition.load(tmp_path / "a.safetensors")
    again = apply_operations(decomposition, model, edited.operations)
    switched = apply_switch(make_decomposition(range(6), seed=3), model, edited, identity=True, motion=True)
    for other in (loaded, again, switched):
        np.testing.assert_array_equal(other.current_identity(slice(None)), edited.current_identity(slice(None)))
        np.testing.assert_array_equal(other.current_z_motion(slice(None)), edited.current_z_motion(slice(None)))
    assert not loaded.without_edits().is_edited
    loaded.without_edits().save(tmp_path / "b.safetensors")  # nothing of it is left in the new file
    assert not any("_steps." in name for name in Decomposition.load(tmp_path / "b.safetensors").store.specs)
    assert Decomposition.load(tmp_path / "b.safetensors").store.metadata["version"] == "1"
    own = apply_switch(edited, model, make_decomposition(range(6), seed=3), motion=True)
    assert not own.motion_steps and own.identity_steps  # what was added to the video's own motion went with it


def test_a_file_whose_steps_do_not_fit_is_refused(tmp_path, decomposition, model):
    edited = apply_attributes(decomposition, model, {"Young": {"0": 0, "9": 1}})
    bad = edited.identity_steps[0].select(np.arange(3))
    edited.with_edit({"name": "attributes"}, identity_steps=(bad,)).save(tmp_path / "a.safetensors")
    with pytest.raises(DVAError, match="do not fit"):
        Decomposition.load(tmp_path / "a.safetensors")


def test_what_is_kept_does_not_grow_with_the_vectors(decomposition, model):
    steps = apply_attributes(decomposition, model, {"Young": {"0": 0, "9": 1}}).identity_steps[0]
    assert steps.weights.shape == (len(FRAMES), 1) and steps.vectors.shape == (1, 16)


def test_out_of_bounds_at_any_key_is_refused(decomposition, model):
    for scale in ({"0": 0, "9": 11}, [0, float("nan")], {"0": float("inf")}):
        with pytest.raises(DVAError, match="of Young makes no sense"):
            apply_attributes(decomposition, model, {"Young": scale})


def test_a_list_of_floats_is_an_envelope():
    curve = with_envelope(-0.8, [0, 0.5, 1])
    np.testing.assert_allclose(sample_scale(curve, np.array([0, 1, 2, 7]), NTSC), [0, -0.4, -0.8, -0.8])
    assert with_envelope(-0.8, 0.5) == -0.4 and with_envelope(curve, 0.5).keys[2] == ("2", -0.4)
    for scale, envelope in ((curve, [1, 2]), (0.3, []), (0.3, ["x"])):
        with pytest.raises(DVAError):
            with_envelope(scale, envelope)
