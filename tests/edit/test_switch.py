"""Switching features between two videos of unequal length, and random noise."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import tiny_config, write_tiny
from standin import draw, stand_in, write_video

from dva_core.decomposition import Decomposition
from dva_core.edit import apply_attributes, apply_operations, apply_switch
from dva_core.edit.switch import LENGTHS, other_rows
from dva_core.errors import DVAError
from dva_core.faces.finder import FaceFinder
from dva_core.model.loader import load_model
from dva_core.pipeline import decode, decode_crops, encode
from dva_core.video import open_video

STEPS = 2


@pytest.fixture(scope="module")
def decompositions(tmp_path_factory, model):
    """Two videos, of 5 and of 3 frames."""
    folder, finder = tmp_path_factory.mktemp("videos"), stand_in(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaceFinder, "of", classmethod(lambda cls, *_: finder))
        return tuple(encode(write_video(folder / f"{n}.mkv", n), model, steps=STEPS) for n in (5, 3))


def crops(decomposition, model):
    return np.stack(list(decode_crops(decomposition, model)))


def test_each_feature_comes_from_the_other_video_and_the_rest_stays(decompositions, model):
    decomposition, other = decompositions
    other = apply_attributes(other, model, {"Young": 1, "Smiling": 0.5})
    around = np.array([0, 1, 2, 0, 1])
    ours = {"identity": decomposition.z_id, "motion": decomposition.z_motion[:], "background": decomposition.x_T[:]}
    theirs = {"identity": other.current_z_id, "motion": other.current_z_motion(around), "background": other.x_T[around]}
    for feature in ours:
        switched = apply_switch(decomposition, model, other, **{feature: True})
        now = {"identity": switched.current_z_id, "motion": switched.current_z_motion(range(5)), "background": switched.x_T[:]}
        for name, value in now.items():
            np.testing.assert_array_equal(value, (theirs if name == feature else ours)[name])
        assert switched.is_edited and not np.allclose(crops(switched, model), decomposition.rebuilt[:], atol=1e-3)
        np.testing.assert_array_equal(switched.rebuilt[:], decomposition.rebuilt[:])
        np.testing.assert_array_equal(switched.frame_index, decomposition.frame_index)
    assert not decomposition.is_edited  # the video itself is untouched


def test_rows_are_read_wherever_they_start(decompositions, model):
    decomposition, other = decompositions
    switched = apply_switch(decomposition, model, other, background=True)
    np.testing.assert_array_equal(switched.x_T[2:5], other.x_T[[2, 0, 1]])
    np.testing.assert_array_equal(switched.x_T[4], other.x_T[1])
    assert switched.x_T[3:3].shape == (0, *decomposition.x_T.shape[1:])
    cut = apply_switch(other, model, decomposition, motion=True)  # the longer video is cut
    np.testing.assert_array_equal(cut.current_z_motion(slice(None)), decomposition.z_motion[:3])


@pytest.mark.parametrize(
    ("length", "ours", "theirs", "places"),
    [
        ("repeat", 7, 3, [0, 1, 2, 0, 1, 2, 0]),
        ("ping-pong", 7, 3, [0, 1, 2, 1, 0, 1, 2]),
        ("ping-pong", 2, 4, [0, 1]),
        ("stretch", 5, 3, [0, 0.5, 1, 1.5, 2]),
        ("stretch", 3, 5, [0, 2, 4]),
        ("stretch", 1, 5, [0]),
        *((length, 3, 1, [0, 0, 0]) for length in LENGTHS),
    ],
)
def test_where_a_frame_lies_in_a_video_of_another_length(length, ours, theirs, places):
    np.testing.assert_allclose(other_rows(np.arange(ours), ours, theirs, length), places)


def test_lengths(decompositions, model):
    decomposition, other = decompositions
    there_and_back = apply_switch(decomposition, model, other, motion=True, background=True, length="ping-pong")
    np.testing.assert_array_equal(there_and_back.current_z_motion(slice(None)), other.z_motion[[0, 1, 2, 1, 0]])
    np.testing.assert_array_equal(there_and_back.x_T[3:], other.x_T[[1, 0]])
    slow = apply_switch(decomposition, model, other, motion=True, background=True, length="stretch")
    np.testing.assert_allclose(slow.z_motion[1], (other.z_motion[0] + other.z_motion[1]) / 2, atol=1e-6)
    np.testing.assert_array_equal(slow.z_motion[2], other.z_motion[1])
    assert all(any(np.array_equal(noise, theirs) for theirs in other.x_T[:]) for noise in slow.x_T[:])  # none is a mixture
    np.testing.assert_array_equal(slow.x_T[4], other.x_T[2])
    assert (
        slow.operations[0]["length"] == "stretch" and "length" not in apply_switch(decomposition, model, other, motion=True).operations[0]
    )
    with pytest.raises(DVAError, match="repeat, ping-pong, stretch"):
        apply_switch(decomposition, model, other, motion=True, length="loop")


def test_switching_all_to_itself_gives_the_rebuilt_crops(decompositions, model):
    decomposition, _ = decompositions
    same = apply_switch(decomposition, model, decomposition, identity=True, motion=True, background=True)
    np.testing.assert_allclose(crops(same, model).astype(np.float32), decomposition.rebuilt[:].astype(np.float32), atol=2e-3)


def test_the_order_of_edits_is_kept(decompositions, model):
    decomposition, other = decompositions
    before = apply_switch(apply_attributes(decomposition, model, {"Smiling": 1}), model, other, motion=True)
    np.testing.assert_array_equal(before.current_z_motion(range(3)), other.z_motion[:])  # the smile went with the motion
    after = apply_attributes(apply_switch(decomposition, model, other, motion=True), model, {"Smiling": 1})
    shift = apply_attributes(decomposition, model, {"Smiling": 1}).motion_shift
    np.testing.assert_allclose(after.current_z_motion(range(3)), other.z_motion[:] + shift)
    twice = apply_switch(apply_switch(decomposition, model, other, motion=True), model, noise_seed=1)
    np.testing.assert_array_equal(twice.z_motion[:3], other.z_motion[:])
    assert twice.without_edits().store is decomposition.store and [op["name"] for op in twice.operations] == ["switch", "switch"]


def test_random_noise(decompositions, model):
    decomposition, _ = decompositions
    one, same, two = (apply_switch(decomposition, model, noise_seed=seed).x_T[:] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one == one[0]).all() and not np.array_equal(one, two)
    assert abs(float(one[0].astype(np.float32).std()) - 1) < 0.15
    repeated = apply_operations(decomposition, model, apply_switch(decomposition, model, noise_seed=2).operations)
    np.testing.assert_array_equal(repeated.x_T[:], two)


def test_saved_and_loaded(tmp_path, decompositions, model):
    decomposition, other = decompositions
    switched = apply_switch(decomposition, model, other, identity=True, motion=True, background=True)
    switched.save(tmp_path / "a.safetensors")
    loaded = Decomposition.load(tmp_path / "a.safetensors")
    assert loaded.is_edited and loaded.operations == switched.operations
    np.testing.assert_array_equal(crops(loaded, model), crops(switched, model))
    with pytest.raises(DVAError, match="replaced its own"):
        loaded.without_edits()
    with pytest.raises(DVAError, match=r"came from the video .*3\.mkv"):
        apply_operations(decomposition, model, loaded.operations)


def test_only_the_face_changes_in_the_frames(tmp_path, decompositions, model):
    decomposition, _ = decompositions
    decode(apply_switch(decomposition, model, noise_seed=3), model, tmp_path / "out.mkv", codec="ffv1")
    with open_video(tmp_path / "out.mkv") as reader:
        frames = [frame.rgb for frame in reader]
    for i, (frame, quad) in enumerate(zip(frames, decomposition.quads, strict=True)):
        rows, columns = np.nonzero((frame != draw(i)).any(-1))
        assert len(rows) and rows.min() >= quad[:, 1].min() - 1 and columns.max() <= quad[:, 0].max()


def test_what_does_not_fit_is_refused(tmp_path, decompositions, model):
    decomposition, other = decompositions
    with pytest.raises(DVAError, match="only one of them"):
        apply_switch(decomposition, model, other, background=True, noise_seed=1)
    with pytest.raises(DVAError, match="another video"):
        apply_switch(decomposition, model, motion=True)
    stranger = load_model(write_tiny(tmp_path / "stranger.safetensors", config=tiny_config(name="stranger")), device="cpu")
    with pytest.raises(DVAError, match="encoded with the model tiny"):
        apply_switch(decomposition, stranger, other, motion=True)
    from dataclasses import replace

    finer = replace(other, info=replace(other.info, steps=9))
    with pytest.raises(DVAError, match=r"2 steps of angle2c, power 1\.7 and with 9 steps of angle2c, power 1\.7"):
        apply_switch(decomposition, model, finer, background=True)
    apply_switch(decomposition, model, finer, identity=True, motion=True)


def test_an_identity_that_was_switched_and_saved_can_be_taken_back(tmp_path, decompositions, model):
    decomposition, other = decompositions
    apply_switch(decomposition, model, other, identity=True).save(tmp_path / "a.safetensors")
    loaded = Decomposition.load(tmp_path / "a.safetensors")
    back = loaded.without_edits()
    assert not back.is_edited and not loaded.is_switched
    np.testing.assert_array_equal(back.current_z_id, decomposition.z_id)
    np.testing.assert_array_equal(back.x_T[:], decomposition.x_T[:])


def test_what_a_saved_switch_replaced_does_not_come_back_by_another_switch(tmp_path, decompositions, model):
    decomposition, other = decompositions
    apply_switch(decomposition, model, other, motion=True).save(tmp_path / "a.safetensors")
    again = apply_switch(Decomposition.load(tmp_path / "a.safetensors"), model, other, background=True)
    with pytest.raises(DVAError, match="replaced its own"):
        again.without_edits()


def test_the_file_that_features_came_from_is_spared(tmp_path, decompositions, model):
    decomposition, other = decompositions
    decomposition.save(tmp_path / "decomposition.safetensors"), other.save(tmp_path / "other.safetensors")
    before = (tmp_path / "other.safetensors").read_bytes()
    decomposition, other = (Decomposition.load(tmp_path / f"{name}.safetensors") for name in ("decomposition", "other"))
    switched = apply_switch(apply_switch(decomposition, model, other, motion=True), model, other, background=True)
    with pytest.raises(DVAError, match="would overwrite"):
        switched.save(tmp_path / "other.safetensors")
    assert (tmp_path / "other.safetensors").read_bytes() == before
    switched.save(tmp_path / "decomposition.safetensors")  # its own may be replaced
    np.testing.assert_array_equal(Decomposition.load(tmp_path / "decomposition.safetensors").x_T[:], switched.x_T[:])


def test_a_seed_of_any_whole_kind_is_kept(decompositions, model):
    decomposition, _ = decompositions
    assert (
        apply_switch(decomposition, model, noise_seed=np.int64(2)).operations == apply_switch(decomposition, model, noise_seed=2).operations
    )
    with pytest.raises(DVAError, match="noise seed"):
        apply_switch(decomposition, model, noise_seed="2")
