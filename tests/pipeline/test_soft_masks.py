"""Masks of a model that tells what is in front of the face: stored beside the hard ones, cut out of what is pasted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import tiny_config, write_tiny
from standin import use_stand_in, write_video

from dva_core.decomposition import SOFT_MASKS, Decomposition
from dva_core.decomposition.arrays import soft_mask_spec
from dva_core.decomposition.tensorfile import TensorMemory
from dva_core.edit import apply_attributes
from dva_core.errors import DVAError
from dva_core.faces.regions import BELOW, MEAN_FACE, REGIONS, WHOLE
from dva_core.model.arrays import to_images
from dva_core.model.autoencoder import JAW
from dva_core.model.loader import load_model
from dva_core.networks.hull import hull_mask
from dva_core.pipeline import decode, encode
from dva_core.pipeline.masks import SoftMasks, in_front
from dva_core.pipeline.preview import stills
from dva_core.pipeline.report import describe_decode

FRAMES, SIZE = 5, 32
WORN = replace(REGIONS["eyes"], worn=True)


@pytest.fixture(scope="module")
def soft_model(tmp_path_factory):
    config = tiny_config(face_parser={"type": "compact_parser", "widths": [4, 4, 8, 8], "input_size": 32})
    return load_model(write_tiny(tmp_path_factory.mktemp("soft") / "soft.safetensors", config=config), device="cpu")


@pytest.fixture
def decomposition(soft_model, monkeypatch, tmp_path):
    use_stand_in(monkeypatch, soft_model)
    return encode(write_video(tmp_path / "video.mkv", FRAMES), soft_model, steps=4)


@pytest.fixture
def old_decomposition(model, monkeypatch, tmp_path):
    use_stand_in(monkeypatch, model)
    return encode(write_video(tmp_path / "old.mkv", FRAMES), model, steps=4)


def set_parts(decomposition: Decomposition, face: np.ndarray, front: np.ndarray, hull: np.ndarray | None = None) -> None:
    decomposition.store.write(SOFT_MASKS, 0, np.stack([face, front, face if hull is None else hull], 1) * 255)


def test_both_parts_are_stored_and_the_hard_mask_beside_them(decomposition, soft_model, tmp_path):
    parts = soft_model.face_parts(to_images(decomposition.crops[:])).numpy()
    assert np.abs(decomposition.soft_masks[:][:, :2] / 255 - parts).max() <= 0.5 / 255 + 1e-5
    hull = hull_mask(soft_model.encode_landmarks(to_images(decomposition.crops[:])), SIZE)[:, 0].numpy()
    np.testing.assert_array_equal(decomposition.soft_masks[:][:, 2], hull * 255)
    np.testing.assert_array_equal(decomposition.masks[:], parts[:, 0] >= 0.5)
    np.testing.assert_allclose(decomposition.visible_face([1, 3]), parts[[1, 3], 0], atol=3e-3)
    decomposition.save(tmp_path / "decomposed.safetensors")
    with Decomposition.load(tmp_path / "decomposed.safetensors") as again:
        np.testing.assert_array_equal(again.soft_masks[:], decomposition.soft_masks[:])


def test_without_them_everything_is_as_it_was(old_decomposition, model):
    assert not model.tells_front and old_decomposition.soft_masks is None and SOFT_MASKS not in old_decomposition.store.specs
    np.testing.assert_array_equal(old_decomposition.visible_face([0, 2]), old_decomposition.masks[[0, 2]])


def test_soft_masks_of_another_size_are_refused(decomposition, tmp_path):
    other = TensorMemory({**decomposition.store.specs, SOFT_MASKS: soft_mask_spec(FRAMES, SIZE // 2)}, decomposition.store.metadata)
    for name in decomposition.store.specs:
        if name != SOFT_MASKS:
            other.write(name, 0, decomposition.store.read(name))
    with pytest.raises(DVAError, match="do not fit each other"):
        Decomposition.from_store(other, tmp_path / "decomposed.safetensors")


def test_what_is_in_front_is_cut_out_of_its_own_frame_only(decomposition):
    face = np.ones((FRAMES, SIZE, SIZE))
    front = np.zeros((FRAMES, SIZE, SIZE))
    front[2, :, 14:18] = 1
    set_parts(decomposition, face, front)
    masks = SoftMasks(decomposition)
    found = np.stack([masks[row] for row in range(FRAMES)])
    assert not found[2, :, 14:18].any() and found[2, 16, 8] == pytest.approx(1, abs=1e-3)
    assert (found[[0, 1, 3, 4], 16, 14:18] > 0.99).all()


def test_a_beard_has_room_below_the_chin_but_not_in_front_of_a_hand(decomposition, monkeypatch):
    points = np.zeros((FRAMES, 102), np.float32)
    points[:] = REGIONS["lower"].landmarks[17:].reshape(-1)
    decomposition.store.write("z_motion", 0, points)
    face, front = np.zeros((FRAMES, SIZE, SIZE)), np.zeros((FRAMES, SIZE, SIZE))
    face[:, 6:28, 8:24] = 1
    set_parts(decomposition, face, front)
    room = BELOW.on(points[0].reshape(-1, 2), SIZE) > 0.5
    room[:28] = False
    assert SoftMasks(decomposition, [REGIONS["lower"]])[2][room].max() > 0.2  # the visible face ends above it
    front[:, 26:, :] = 1
    set_parts(decomposition, face, front)
    assert not SoftMasks(decomposition, [REGIONS["lower"]])[2][room].any()


def test_glasses_reach_over_visible_skin_but_not_over_a_hand(decomposition):
    points = np.tile(REGIONS["eyes"].landmarks[17:].reshape(-1), (FRAMES, 1)).astype(np.float32)
    decomposition.store.write("z_motion", 0, points)
    face, front, hull = (np.zeros((FRAMES, SIZE, SIZE)) for _ in range(3))
    face[:, 4:28, 12:20], hull[:, 4:28, 6:26] = 1, 1
    set_parts(decomposition, face, front, hull)
    row = int(0.5 * SIZE)
    assert SoftMasks(decomposition, [WORN])[2][row, 8:24].min() > 0.6  # temples and rims
    assert SoftMasks(decomposition, [REGIONS["eyes"]])[2][row, 8:24].min() > 0.6
    assert SoftMasks(decomposition)[2][row, 8] < 0.1  # an edit of the whole face stays on what is seen of it
    front[:, :, 20:24] = 1
    set_parts(decomposition, face, front, hull)
    assert not SoftMasks(decomposition, [WORN])[2][row, 20:24].any()
    front[:, :, 24:] = 1  # what a hand is connected with is over glasses too
    set_parts(decomposition, face, front, hull)
    assert SoftMasks(decomposition, [WORN])[2][row, 20:].max() < 0.01


def test_glasses_are_worn_over_the_hair_beside_the_face_also_with_an_edit_of_the_whole_face(decomposition):
    points = np.tile(MEAN_FACE[17:].reshape(-1), (FRAMES, 1)).astype(np.float32)
    decomposition.store.write("z_motion", 0, points)
    face, front, hull = (np.zeros((FRAMES, SIZE, SIZE)) for _ in range(3))
    face[:, 4:28, 8:24], hull[:, 4:28, 7:25] = 1, 1
    front[:, :, :8] = front[:, :, 24:] = 1  # hair on both sides
    set_parts(decomposition, face, front, hull)
    row, outline = int(0.5 * SIZE), slice(7, 25)
    worn, whole = SoftMasks(decomposition, [WORN])[2], SoftMasks(decomposition)[2]
    assert worn[row, outline].min() > 0.9 and not worn[row, [0, -1]].any()
    assert not whole[row, [7, 24]].any()
    both = SoftMasks(decomposition, [WHOLE, WORN])[2]
    np.testing.assert_array_equal(both, np.maximum(worn, whole))
    assert not SoftMasks(decomposition, [REGIONS["lower"]])[2][24, [7, 24]].any()  # a beard grows under hair


def test_the_share_that_is_hidden_is_what_the_face_lacks(decomposition):
    face = np.ones((FRAMES, SIZE, SIZE))
    set_parts(decomposition, face, np.zeros_like(face))
    assert SoftMasks(decomposition).hidden(1) == pytest.approx(0, abs=1e-6)
    set_parts(decomposition, 0.25 * face, 0.75 * face)
    assert SoftMasks(decomposition).hidden(1) == pytest.approx(0.75, abs=0.01)


def test_no_pixel_under_what_is_in_front_changes(decomposition, soft_model):
    front = np.zeros((FRAMES, SIZE, SIZE))
    front[:, 10:20, :] = 1
    set_parts(decomposition, 1 - front, front)
    still = stills([apply_attributes(decomposition, soft_model, {"Young": -3.0})], soft_model, 2, detail="model")
    changed = (still.edited[0] != still.original).any(2)
    assert not changed[11:19].any() and changed[24:28, 8:24].any()


def test_the_weight_in_front_reaches_a_pixel_beyond_and_is_steady():
    shares = np.zeros((9, 9), np.float32)
    shares[4, 4] = 0.6
    weights = in_front(shares)
    assert (weights[3:6, 3:6] == 1).all() and weights.sum() == 9
    step = in_front(np.float32([[0.3]])) - in_front(np.float32([[0.29]]))
    assert 0 < step < 0.06  # a little more share is a little more weight


def test_the_mask_of_training_is_the_hull_with_hair(soft_model, model):
    images = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    assert torch.equal(soft_model.face_mask(images, for_video=False), model.face_mask(images, for_video=False))
    parts = soft_model.face_parts(images)
    assert torch.equal(soft_model.face_mask(images), parts[:, :1]) and parts.shape == (2, 2, SIZE, SIZE)


def test_a_fringe_is_no_hidden_face_but_a_hand_is(decomposition, soft_model, tmp_path, monkeypatch):
    """What is always hidden is usual; the report counts what is hidden of the rest."""
    monkeypatch.setattr(SoftMasks, "_points", lambda *_: MEAN_FACE[JAW:])
    face = np.ones((FRAMES, SIZE, SIZE))
    face[:, : SIZE // 2] = 0  # hair
    set_parts(decomposition, face, 1 - face)
    report = decode(decomposition, soft_model, tmp_path / "fringe.mkv", codec="ffv1")
    assert report.hidden == {} and 0.2 < report.usual_hidden < 0.7 and "of the face is hidden all along" in describe_decode(report)
    face[2:4, :, : SIZE // 2] = 0  # a hand
    set_parts(decomposition, face, 1 - face)
    hand = decode(decomposition, soft_model, tmp_path / "hand.mkv", codec="ffv1")
    assert set(hand.hidden) == {2, 3} and hand.hidden[2] == pytest.approx(0.5, abs=0.1) and hand.usual_hidden == report.usual_hidden
    face[:] = 1
    face[2:4, :, : SIZE // 2] = 0
    set_parts(decomposition, face, 1 - face)
    bare = decode(decomposition, soft_model, tmp_path / "bare.mkv", codec="ffv1")
    assert set(bare.hidden) == {2, 3} and bare.usual_hidden < 0.01 and "all along" not in describe_decode(bare)
    face[:] = 0
    set_parts(decomposition, face, 1 - face)
    assert decode(decomposition, soft_model, tmp_path / "none.mkv", codec="ffv1").usual_hidden == 1
