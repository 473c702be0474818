"""The tone of an edit: taken away whole, nothing else with it, steadily over time, and only where the edit does not mean it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from standin import use_stand_in, write_video

from dva_core.edit import apply_attributes, apply_direction, apply_switch
from dva_core.edit.directions import from_attribute
from dva_core.edit.scope import keeps_tone
from dva_core.errors import DVAError
from dva_core.faces.tone import REACH, USUAL_SKIN, cast_of, remove_tone, smooth_tone, tone_of
from dva_core.pipeline import decode, encode
from dva_core.pipeline.preview import stills

RNG = np.random.default_rng(0)


def disc(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    return ((x - size / 2) ** 2 + (y - size / 2) ** 2 < (0.4 * size) ** 2).astype(np.uint8)


@given(st.tuples(*[st.floats(-0.5, 0.5)] * 3), st.floats(0, 0.35))
def test_the_tone_is_the_change_of_the_whole_face_and_not_of_a_part(shift, share):
    """A part of up to a third of the face, and anything outside it, has no say."""
    mask, rebuilt = disc(32), RNG.uniform(-0.5, 0.5, (3, 16, 16)).astype(np.float32)
    edited = rebuilt + np.float32(shift)[:, None, None]
    face = np.argwhere(disc(16))
    for y, x in face[: int(share * len(face))]:
        edited[:, y, x] += 5
    edited[:, 0] -= 7
    np.testing.assert_allclose(tone_of(edited, rebuilt, mask), shift, atol=1e-5)
    assert not tone_of(edited, rebuilt, np.zeros_like(mask)).any()


def test_smoothing_is_steady_and_follows_the_strength():
    noisy = np.float32([0.2, -0.1, 0]) + 0.02 * RNG.standard_normal((25, 3)).astype(np.float32)
    middle = [smooth_tone(noisy, np.ones(25), i) for i in range(8, 17)]
    assert np.abs(np.diff(middle, axis=0)).max() < 0.1 * np.abs(np.diff(noisy, axis=0)).max()
    np.testing.assert_allclose(middle, np.broadcast_to(noisy.mean(0), (9, 3)), atol=0.01)
    strengths = np.r_[np.zeros(10), np.linspace(0, 3, 15)]
    ramp = strengths[:, None] * np.float32([0.2, -0.1, 0])
    np.testing.assert_allclose([smooth_tone(ramp, strengths, i) for i in range(25)], ramp, atol=1e-6)
    assert not smooth_tone(ramp, np.zeros(25), 3).any()


def test_frames_come_in_order_with_few_ahead_and_nothing_crosses_a_cut():
    count, cut = 60, 31
    rebuilt = RNG.uniform(-0.5, 0.5, (count, 3, 16, 16)).astype(np.float16)
    shift = np.where(np.arange(count) < cut, 0.25, -0.5)[:, None, None, None]
    masks, segment = np.stack([disc(32)] * count), (np.arange(count) >= cut).astype(int)
    taken = []

    def crops():
        for i in range(count):
            taken.append(i)
            yield (rebuilt[i].astype(np.float32) + shift[i]).astype(np.float16)

    for row, crop in enumerate(remove_tone(crops(), rebuilt, masks, segment, np.ones(count))):
        assert len(taken) <= row + REACH + 1
        np.testing.assert_allclose(crop, rebuilt[row], atol=1e-3)
    assert row == count - 1 and taken == list(range(count))


@pytest.fixture(scope="module")
def decomposition(tmp_path_factory, model):
    with pytest.MonkeyPatch.context() as patch:
        use_stand_in(patch, model)
        end_crops, mask = model.end_crops, torch.from_numpy(disc(32)).float()
        patch.setattr(model, "end_crops", lambda *outputs: (*end_crops(*outputs)[:2], mask.expand(len(outputs[1]), 1, -1, -1)))
        return encode(write_video(tmp_path_factory.mktemp("video") / "a.mkv", 4), model, steps=4, clamp=False)


@pytest.fixture
def listed(model):
    """The model's list of attributes that mean the tone."""
    model.config["tone_attributes"] = ["Male"]
    yield model.config["tone_attributes"]
    del model.config["tone_attributes"]


def test_a_bundle_without_the_list_changes_the_tone_as_in_the_paper(decomposition, model):
    edited = apply_attributes(decomposition, model, {"Young": 1.0})
    assert not keeps_tone(edited, model) and keeps_tone(edited, model, "keep") and not keeps_tone(edited, model, "change")
    with pytest.raises(DVAError, match="no tone 'grey'"):
        keeps_tone(edited, model, "grey")


def test_the_edit_decides(decomposition, model, listed):
    for scales, kept in (
        ({"Young": 1.0}, True),
        ({"Male": 1.0}, False),
        ({"Young": 1.0, "Male": 0.0}, True),
        ({"Male": {"0": 0, "3": 1}}, False),
    ):
        assert keeps_tone(apply_attributes(decomposition, model, scales), model) == kept
    assert not keeps_tone(apply_direction(decomposition, model, from_attribute(model, "Male"), 1.0), model)
    own = replace(from_attribute(model, "Male"), made={"how": "pictures"})
    assert keeps_tone(apply_direction(decomposition, model, own, 1.0), model)
    assert not keeps_tone(apply_switch(decomposition, model, noise_seed=1), model)
    assert not keeps_tone(apply_switch(decomposition, model, decomposition, identity=True), model)
    assert keeps_tone(apply_switch(decomposition, model, decomposition, motion=True), model)


def test_a_video_and_a_still_keep_the_tone(tmp_path, decomposition, model):
    edited, tones, crops = apply_attributes(decomposition, model, {"Young": 3.0}), {}, {}
    for tone in ("change", "keep"):
        rows = crops[tone] = []
        decode(
            edited, model, tmp_path / f"{tone}.mkv", codec="ffv1", tone=tone, watch=lambda i, row, a, b, crop, rows=rows: rows.append(crop)
        )
        tones[tone] = np.array([tone_of(crop, decomposition.rebuilt[row], decomposition.masks[row]) for row, crop in enumerate(rows)])
    assert np.abs(tones["change"]).max() > 0.02 and np.abs(tones["keep"]).max() < 0.2 * np.abs(tones["change"]).max()
    between = np.array(crops["change"], np.float32) - crops["keep"]
    np.testing.assert_allclose(between, np.broadcast_to(between[:, :, :1, :1], between.shape), atol=2e-3)  # one number a channel
    kept, changed = (stills([edited], model, 1, tone=tone).edited[0].astype(float) for tone in ("keep", "change"))
    assert np.abs(kept - decomposition.crops[1]).mean() < np.abs(changed - decomposition.crops[1]).mean()


def test_an_edit_that_begins_later_leaves_the_frames_before_alone(tmp_path, decomposition, model):
    edited, seen = apply_attributes(decomposition, model, {"Young": {"0": 0, "2": 0, "3": 4}}), []
    decode(edited, model, tmp_path / "later.mkv", codec="ffv1", tone="keep", watch=lambda i, row, a, b, crop: seen.append((a.rgb, b.rgb)))
    assert all(np.array_equal(*pair) for pair in seen[:3]) and not np.array_equal(*seen[3])


@given(st.floats(0.05, 1.0), st.floats(0.5, 1.8))
def test_the_cast_of_light_is_white_on_usual_skin_however_bright(level, red):
    np.testing.assert_allclose(cast_of(level * USUAL_SKIN), 1, atol=0.02)
    cast = cast_of(level * USUAL_SKIN * (red, 1, 1))
    assert (cast[0] >= cast[1]) == (red >= 1) or red == pytest.approx(1, abs=0.01)
    assert cast.min() > 0.7 and cast.max() < 1.3


def test_the_cast_of_a_black_picture_is_a_number():
    assert np.isfinite(cast_of(np.zeros(3))).all()
