"""Edits of the motion that move the frame's own pixels instead of being decoded."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import load_drawing

from dva_core.decomposition import load_decomposition
from dva_core.edit import apply_attributes, apply_direction, apply_switch
from dva_core.edit.directions import Direction, encoder_fingerprint
from dva_core.edit.expression import apply_expression
from dva_core.edit.shapes import shape_step
from dva_core.faces.regions import MEAN_FACE
from dva_core.pipeline.drawing import Drawer, only_drawn
from dva_core.pipeline.moves import landmarks_of, moves_of, moving, without_moves
from dva_core.pipeline.preview import stills

from .conftest import five_frames, frames_of

FACE = MEAN_FACE[17:].astype(np.float32).ravel()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_drawing(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def decomposition(tmp_path_factory, model):
    """Five frames whose landmarks are those of the mean face."""
    one = five_frames(tmp_path_factory.mktemp("video"), model)
    one.store.write("z_motion", 0, np.tile(FACE, (5, 1)))
    return one


def step(model, down: float = 0.08) -> Direction:
    """A mouth that opens."""
    shift = np.zeros((51, 2), np.float32)
    shift[[*range(38, 43), 48, 49, 50], 1] = down
    return Direction(shift, "motion", "lower lip", encoder_fingerprint(model, "motion"), made={"how": "test"})


def at(picture: np.ndarray, quad: np.ndarray, x: float, y: float, reach: float = 0.03) -> np.ndarray:
    """The pixels about a place of the face square, in 0..1."""
    side = np.linalg.norm(quad[1] - quad[0])
    (left, top), half = quad.min(0), reach * side
    x, y = left + x * side, top + y * side
    return picture[round(y - half) : round(y + half), round(x - half) : round(x + half)].astype(int)


def test_nothing_is_decoded_and_the_place_of_the_step_changes(tmp_path, decomposition, model, monkeypatch):
    evaluations, predict = [], model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda x, *rest: evaluations.append(len(x)) or predict(x, *rest))
    moved = apply_direction(decomposition, model, step(model))
    seen = frames_of(moved, model, tmp_path / "a.mkv")
    assert len(seen) == 5 and not evaluations
    for row, (before, after) in enumerate(seen):
        quad = decomposition.quads[row]
        mouth, brow = (FACE.reshape(51, 2)[rows].mean(0) for rows in ([45, 49], [2, 7]))
        hollow = at(after, quad, mouth[0], mouth[1] + 0.05)
        assert np.abs(hollow - at(before, quad, mouth[0], mouth[1] + 0.05)).mean() > 10
        assert hollow.mean(-1).min() < 60  # above the tongue
        np.testing.assert_allclose(at(after, quad, *brow), at(before, quad, *brow), atol=2)
    still = stills([moved, decomposition], model, 2, steps=1)
    assert (still.edited[0] != still.original).mean() > 0.03 and not evaluations
    np.testing.assert_array_equal(still.edited[1], still.original)


def test_the_models_own_expressions_that_it_does_not_draw_move_too(decomposition, model):
    smiling = apply_attributes(decomposition, model, {"Smiling": 0.5})
    moves = moves_of(smiling, model)
    np.testing.assert_allclose(moves.at(np.arange(5)), smiling.current_z_motion(range(5)) - decomposition.z_motion[:], atol=1e-6)
    still = without_moves(smiling, moves)
    np.testing.assert_allclose(still.current_z_motion(range(5)), decomposition.z_motion[:], atol=1e-6)
    assert only_drawn(still, model, range(5)).all() and not only_drawn(smiling, model, range(5)).any()


def test_steps_over_time_move_frames_in_turn(decomposition, model):
    once = apply_direction(decomposition, model, step(model), {"0s": 0, "0.08s": 0, "0.12s": 1.0})
    moves = moves_of(once, model)
    assert moving(moves, range(5)).tolist() == [False] * 3 + [True] * 2
    drawings = Drawer(once, model, 24).finish(range(5), (), False)
    assert [drawing is not None for drawing in drawings] == moving(moves, range(5)).tolist()
    twice = apply_direction(once, model, step(model, -0.08), {"0s": 0, "0.08s": 0, "0.12s": 1.0})
    assert np.abs(moves_of(twice, model).at(np.arange(5))).max() < 1e-6


def test_what_is_drawn_lies_on_the_moved_face(tmp_path, decomposition, model):
    both = apply_attributes(apply_direction(decomposition, model, step(model)), model, {"Young": 3.0})
    alone = apply_attributes(decomposition, model, {"Young": 3.0})
    for (_, drawn), (before, after) in zip(frames_of(alone, model, tmp_path / "a.mkv"), frames_of(both, model, tmp_path / "b.mkv")):
        quad = decomposition.quads[0]
        np.testing.assert_allclose(at(after, quad, 0.5, 0.59), at(drawn, quad, 0.5, 0.59), atol=3)  # the black square
        assert np.abs(at(after, quad, 0.5, 0.59) - at(before, quad, 0.5, 0.59)).mean() > 50


def test_with_an_edit_that_is_decoded_pixels_move_once(decomposition, model):
    direction = np.zeros(model.identity_dim, np.float32)
    direction[3] = 1e-3  # so little that it changes no pixel, but more than rounding
    other = Direction(direction * 300, "identity", "other", encoder_fingerprint(model, "identity"))
    moved = apply_direction(decomposition, model, step(model))
    decoded = apply_direction(moved, model, other)
    assert not only_drawn(Drawer(decoded, model, 24).still, model, [0]).any()
    drawing = Drawer(decoded, model, 24).finish([0], (), True)[0]
    assert drawing.rest == 1 and Drawer(moved, model, 24).finish([0], (), False)[0].rest == 0
    alone, both, only_other = (
        stills([one], model, 1).edited[0].astype(int) for one in (moved, decoded, apply_direction(decomposition, model, other))
    )
    original = stills([decomposition], model, 1).original.astype(int)
    assert np.abs(both - alone - (only_other - original)).mean() < 0.5 * np.abs(alone - original).mean()


def test_what_is_not_moved(tmp_path, decomposition, model, monkeypatch):
    moved = apply_direction(decomposition, model, step(model))
    assert moves_of(decomposition, model) is None and moves_of(apply_direction(decomposition, model, step(model), 0.0), model) is not None
    assert moves_of(apply_switch(moved, model, decomposition, motion=True), model) is None  # another's motion is decoded
    assert Drawer(moved, model, 0).moves is None
    evaluations, predict = [], model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda x, *rest: evaluations.append(len(x)) or predict(x, *rest))
    frames_of(moved, model, tmp_path / "b.mkv", detail="model")  # the decoded crop itself, as in the paper
    assert evaluations
    monkeypatch.setattr(type(model), "retouches", False)
    assert moves_of(moved, model) is None


def test_a_file_gives_the_same(tmp_path, decomposition, model):
    moved = apply_expression(apply_direction(decomposition, model, step(model), 0.5), model, "Closed_Eyes", {"0s": 0, "0.2s": 1})
    moved.save(tmp_path / "moved.safetensors")
    loaded = load_decomposition(tmp_path / "moved.safetensors")
    np.testing.assert_allclose(moves_of(loaded, model).at(np.arange(5)), moves_of(moved, model).at(np.arange(5)), atol=1e-6)
    first, second = (stills([one], model, 4).edited[0] for one in (moved, loaded))
    np.testing.assert_array_equal(first, second)
    expected = decomposition.z_motion[:][4].astype(np.float64) + 0.5 * step(model).vector
    eyes = shape_step("Closed_Eyes")
    assert landmarks_of(moves_of(loaded, model).at(np.arange(5)))[4, 20, 1] > 0
    assert np.abs(moved.current_z_motion([4])[0] - expected).max() <= np.abs(eyes).max() + 1e-6
