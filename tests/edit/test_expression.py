"""Expressions: one shift for all frames, of the landmarks that may move, within what faces do."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import drawing_config, drawing_tensors, tiny_config, write_tiny

from dva_core.commands import main as cli
from dva_core.edit import apply_attributes, apply_operations
from dva_core.edit.directions import Direction
from dva_core.edit.expression import (
    REGIONS,
    STILL,
    apply_expression,
    between_frames,
    components_of,
    expression_direction,
    main_components,
    project_shift,
    without_head_motion,
)
from dva_core.errors import DVAError
from dva_core.model.loader import load_model

from .decompositions import draw_decomposition

FACE = np.random.default_rng(5).uniform(0.3, 0.7, (51, 2))
SMILE = np.zeros((51, 2))
SMILE[[31, 37]] = [[-0.03, -0.02], [0.03, -0.02]]
BLINK = np.zeros((51, 2))
BLINK[[20, 21, 26, 27]] = [0, 0.01]


@pytest.fixture
def decomposition(model):
    """Eight frames (number 3 has no face): the head wanders, turns and nears; from frame 5 on it smiles; it blinks at times."""
    frames = [0, 1, 2, 4, 5, 6, 7]
    motion = []
    for i in frames:
        face = FACE + SMILE * (i >= 5) + BLINK * (i % 2)
        turn = 0.02 * np.sin(i)
        about = FACE[STILL].mean(0)
        face = about + (face - about) * (1 + 0.01 * i) @ np.array([[1, turn], [-turn, 1]])
        motion.append((face + (0.01 * i, -0.005 * i)).ravel())
    sizes = {"image_size": 16, "crop_size": 32, "motion_dim": 102}
    decomposition = draw_decomposition(frames, **sizes, model_fingerprint=model.fingerprint, model_name="tiny")
    decomposition.store.write("z_motion", 0, np.stack(motion))
    decomposition.store.write("z_id", 0, np.eye(16)[0])
    return decomposition


def test_two_frames_give_the_expression_without_the_heads_motion(decomposition):
    shift = between_frames(decomposition, 4, 6).reshape(51, 2)
    np.testing.assert_allclose(shift, SMILE, atol=4e-3)  # the frames differ by 2 % in size: a little of it is left
    assert np.abs(shift[:31]).max() < 1e-3
    raw = (decomposition.z_motion[5] - decomposition.z_motion[3]).reshape(51, 2)
    assert np.abs(raw[:31]).max() > 5e-3


@pytest.mark.parametrize("way", ["right", "down", "larger", "turned"])
def test_each_way_a_head_moves_is_taken_off(way):
    arm = FACE - FACE[STILL].mean(0)
    moved = {"right": np.tile((1.0, 0), (51, 1)), "down": np.tile((0, 1.0), (51, 1)), "larger": arm, "turned": arm[:, ::-1] * (-1, 1)}[way]
    left = without_head_motion((0.1 * moved + SMILE).ravel(), FACE.ravel()).reshape(51, 2)
    np.testing.assert_allclose(left, SMILE, atol=1e-12)


def test_one_shift_for_all_frames_at_the_chosen_landmarks(decomposition, model):
    edited = apply_expression(decomposition, model, frames=(4, 6), scale=0.5, regions=["mouth"])
    moved = (edited.current_z_motion(slice(None)) - decomposition.z_motion[:]).reshape(-1, 51, 2)
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], moved.shape), atol=1e-6)
    np.testing.assert_allclose(moved[0], 0.5 * SMILE, atol=3e-3)
    outside = [i for i in range(51) if i not in REGIONS["mouth"]]
    assert not moved[:, outside].any() and moved[:, list(REGIONS["mouth"])].any()
    np.testing.assert_array_equal(edited.current_z_id, decomposition.z_id)
    assert sorted(i for region in REGIONS.values() for i in region) == list(range(51))


def test_a_models_expression_is_the_attribute_itself(decomposition, model):
    whole = apply_expression(decomposition, model, "smiling", 0.4, project=False)
    np.testing.assert_allclose(
        whole.motion_shift, apply_attributes(decomposition, model, {"Smiling": 0.4}).motion_shift, rtol=1e-5, atol=1e-7
    )
    again = apply_operations(decomposition, model, whole.operations)
    np.testing.assert_array_equal(again.motion_shift, whole.motion_shift)
    np.testing.assert_allclose(
        apply_expression(decomposition, model, "Smiling", -0.4).motion_shift, -whole.motion_shift, rtol=1e-5, atol=1e-7
    )


def test_an_expression_that_the_model_draws_is_taken_as_it_is(tmp_path, decomposition):
    drawing = load_model(write_tiny(tmp_path / "drawing.safetensors", config=drawing_config(), **drawing_tensors()), device="cpu")
    whole = expression_direction(decomposition, drawing, "Smiling", project=False)
    limited = expression_direction(decomposition, drawing, "Smiling", regions=["mouth"])
    np.testing.assert_array_equal(limited.vector, whole.vector)
    assert limited.name == "Smiling" and limited.made["regions"] == [] and limited.made["projected"] is False


def test_an_expression_may_come_and_go(decomposition, model):
    edited = apply_expression(decomposition, model, "Smiling", {"0": 0, "4": 1})
    plain = apply_expression(decomposition, model, "Smiling", 0.5)
    np.testing.assert_allclose(edited.current_z_motion([2]), plain.current_z_motion([2]), atol=1e-6)
    np.testing.assert_allclose(edited.current_z_motion([0]), decomposition.z_motion[[0]], atol=1e-7)


def test_what_no_face_does_is_projected_away(decomposition, model):
    components = main_components(decomposition, model)
    np.testing.assert_allclose(components @ components.T, np.eye(len(components)), atol=1e-9)
    assert np.linalg.norm(project_shift(SMILE.ravel(), components)) > 0.9 * np.linalg.norm(SMILE)
    wild = np.zeros((51, 2))
    wild[14] = (0.2, 0)  # the nose's tip alone
    assert np.linalg.norm(project_shift(wild.ravel(), components)) < 0.3 * np.linalg.norm(wild)
    inside = components[0] * 0.1
    np.testing.assert_allclose(project_shift(inside, components), inside, atol=1e-9)


def test_a_bundle_may_bring_components(tmp_path, decomposition):
    rng = np.random.default_rng(1)
    rows = np.linalg.qr(rng.standard_normal((102, 2)))[0].T
    config = tiny_config(motion_components=2)
    import torch

    path = write_tiny(tmp_path / "with.safetensors", config=config, **{"attributes.motion.components": torch.from_numpy(rows).float()})
    model = load_model(path, device="cpu")
    direction = expression_direction(None, model, "Smiling")
    np.testing.assert_allclose(project_shift(direction.vector.astype(float), rows), direction.vector, atol=1e-5)
    plain = expression_direction(None, model, "Smiling", project=False)
    assert np.linalg.norm(direction.vector) < 0.7 * np.linalg.norm(plain.vector)


def test_components_are_those_that_vary_most_with_the_head_still():
    rng = np.random.default_rng(0)
    amounts = rng.standard_normal((200, 2)) * (1.0, 0.2)
    drift = rng.standard_normal((200, 1, 2))
    motion = (FACE + amounts[:, :1, None] * SMILE + amounts[:, 1:, None] * BLINK + drift).reshape(200, -1)
    components = components_of(motion, variance=0.999)
    assert len(components) == 2
    assert abs(components[0] @ SMILE.ravel()) > 0.99 * np.linalg.norm(SMILE)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "one of the two"),
        ({"expression": "Smiling", "frames": (1, 2)}, "one of the two"),
        ({"expression": "Young"}, "no expression but a trait"),
        ({"expression": "Yung"}, "'Yung' is no expression of this model; expressions are [^,]*\\.$"),
        ({"frames": (0, 3)}, "Frame 3 of the video has no face or does not exist; the nearest with one is"),
        ({"frames": (2, 2)}, "Both frames are number 2"),
        ({"expression": "Smiling", "regions": ["ears"]}, "no region 'ears'"),
        ({"expression": "Smiling", "scale": 99}, "makes no sense"),
    ],
)
def test_what_makes_no_sense_is_refused(decomposition, model, settings, says):
    with pytest.raises(DVAError, match=says):
        apply_expression(decomposition, model, **settings)


def test_the_command(tmp_path, model, capsys):
    bundle, out = write_tiny(tmp_path / "tiny.safetensors"), tmp_path / "smile.safetensors"
    call = ["expression", "--attribute", "Smiling", "--region", "mouth", "-o", str(out), "--model", str(bundle), "--device", "cpu"]
    assert cli.main(call) == 0
    direction = Direction.load(out)
    assert direction.space == "motion" and not direction.vector.reshape(51, 2)[:31].any() and direction.vector.any()
    assert cli.main([*call[:1], "--frames", "0", "5", *call[3:]]) == 2
    assert "Frames belong to a decomposition" in capsys.readouterr().err
