"""What an edit draws: in the frame as fine as it is, whatever the decoded crop shows of it."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bundles import drawing_config, drawing_tensors, load_drawing, write_tiny

from dva_core.edit import apply_attributes, apply_direction, apply_switch
from dva_core.edit.directions import Direction, encoder_fingerprint, from_attribute
from dva_core.faces.regions import MEAN_FACE
from dva_core.faces.tone import cast_of
from dva_core.model.loader import load_model
from dva_core.networks.texture import BOX
from dva_core.pipeline import decode
from dva_core.pipeline.drawing import Drawer, drawn_size, only_drawn, runs, steady_motion
from dva_core.pipeline.preview import stills
from dva_core.pipeline.solving import edited_face, own_face

from .conftest import five_frames, frames_of


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_drawing(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def decomposition(tmp_path_factory, model):
    return five_frames(tmp_path_factory.mktemp("video"), model)


@pytest.fixture(scope="module")
def retouching(tmp_path_factory):
    """A model whose "Young" moves the middle of the face by a tenth of the crop, and draws nothing; a decomposition of it."""
    config, folder = drawing_config(), tmp_path_factory.mktemp("retouch")
    tensors, maps = drawing_tensors(), torch.zeros(3, 24, 24)
    maps[0, 4:20, 4:20] = 0.1
    part = "noise_predictor"
    tensors[f"{part}.texture.patterns.weight"] = torch.zeros_like(tensors[f"{part}.texture.patterns.weight"])
    tensors[f"{part}.retouch.patterns.weight"] = torch.stack([maps.flatten(), torch.zeros(maps.numel())], 1)
    model = load_model(write_tiny(folder / "retouch.safetensors", config=config, **tensors), device="cpu")
    return model, five_frames(folder, model)


def edit(decomposition, model, amount: float, **others):
    """The edit that adds so much of the drawing, as the texture reads it."""
    by_one = change(apply_attributes(decomposition, model, {"Young": 0.01}), model) / 0.01
    return apply_attributes(decomposition, model, {"Young": amount / by_one, **others})


def other(decomposition, model, scale=1.0):
    """An edit of the identity that is not drawn."""
    drawn = from_attribute(model, "Young").vector
    step = np.eye(len(drawn))[3] - drawn * drawn[3] / (drawn @ drawn)
    direction = Direction(step, "identity", "other", encoder_fingerprint(model, "identity"))
    return apply_direction(decomposition, model, direction, scale)


def change(edited, model) -> float:
    """What an edit changes the reading by."""
    network, (after, before) = model.noise_predictor, (edited_face(edited, model, [0]), own_face(edited, model, [0]))
    readings = [network.texture.weights(face)[0, 0] / network.texture_rest.length(face) for face in (after, before)]
    return float((readings[0] - readings[1]) * network.texture_rest.length(before)) / 0.54


def middle(picture: np.ndarray, quad: np.ndarray, reach: float = 0.04) -> np.ndarray:
    """The middle of the texture in the face square, where the drawing is."""
    side = np.linalg.norm(quad[1] - quad[0])
    (x, y), half = quad.min(0) + side * (np.array(BOX[:2]) + BOX[2] / 2), reach * side
    return picture[round(y - half) : round(y + half), round(x - half) : round(x + half)]


def test_an_opaque_drawing_is_what_the_frame_shows(tmp_path, decomposition, model):
    drawn = edit(decomposition, model, 1.3)
    for number, (before, after) in enumerate(frames_of(drawn, model, tmp_path / "a.mkv")):
        quad = decomposition.quads[number]
        assert middle(before, quad).min() > 20 and middle(after, quad).max() <= 6
        assert np.array_equal(after[:10], before[:10])
    for number, (before, after) in enumerate(frames_of(other(drawn, model, 0.3), model, tmp_path / "b.mkv")):
        quad = decomposition.quads[number]
        assert middle(after, quad).max() <= 6
        assert (middle(after, quad, 0.2) != middle(before, quad, 0.2)).mean() > 0.5  # and what else is changed is changed beside it


def test_it_grows_with_the_scale_and_is_not_taken_away_from_a_face_without_it(tmp_path, decomposition, model):
    light = []
    for amount in (0.05, 0.35, 0.85, 1.1):
        before, after = frames_of(edit(decomposition, model, amount), model, tmp_path / "a.mkv")[2]
        light.append(middle(after, decomposition.quads[2]).mean() / middle(before, decomposition.quads[2]).mean())
    assert light[1:] == pytest.approx([0.75, 0.25, 0.0], abs=0.06)
    before, after = frames_of(edit(decomposition, model, -1.0), model, tmp_path / "b.mkv")[2]
    assert middle(after, decomposition.quads[2]).mean() > 0.5 * middle(before, decomposition.quads[2]).mean()


def test_a_still_shows_it_too(tmp_path, decomposition, model):
    drawn, size = edit(decomposition, model, 1.3), decomposition.crops.shape[1]
    shown = stills([drawn, decomposition], model, 3)
    whole = np.array([[0, 0], [0, size], [size, size], [size, 0]], np.float64)
    assert middle(shown.edited[0], whole).max() <= 6
    np.testing.assert_array_equal(shown.edited[1], shown.original)


def test_an_edit_that_is_only_drawn_is_not_decoded(tmp_path, decomposition, model, monkeypatch):
    evaluations, predict = [], model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda x, *rest: evaluations.append(len(x)) or predict(x, *rest))
    drawn, seen = edit(decomposition, model, 1.3), {}
    decode(drawn, model, tmp_path / "a.mkv", codec="ffv1", watch=lambda i, row, before, after, crop: seen.update({row: crop}))
    stills([drawn], model, 3, steps=1)
    assert not evaluations and set(seen) == set(range(5))
    changed = np.abs(seen[3] - decomposition.rebuilt[3]).max(0) > 0.01
    assert changed[7:12, 6:10].all() and not changed[:5].any()  # the crop has the drawing on it
    assert only_drawn(drawn, model, range(5)).all()
    for more in (other(drawn, model), apply_switch(drawn, model, decomposition, background=True)):
        assert not only_drawn(more, model, range(5)).any()
        stills([drawn, more], model, 3)
        assert evaluations.pop() == 1
        evaluations.clear()
    once = other(drawn, model, {"0s": 0, "0.05s": 0, "0.1s": 1.0})
    known = only_drawn(once, model, range(5))
    assert known[0] and not known[-1]


def test_the_decoded_crop_itself_is_pasted_as_it_is(tmp_path, decomposition, model, monkeypatch):
    def refuse(*inputs):
        raise AssertionError("nothing is to be drawn")

    monkeypatch.setattr(model, "drawings", refuse)
    drawn = edit(decomposition, model, 1.3)
    assert len(frames_of(drawn, model, tmp_path / "a.mkv", detail="model")) == 5
    stills([drawn], model, 3, detail="model")
    with pytest.raises(AssertionError, match="nothing is to be drawn"):
        stills([drawn], model, 3)


def test_a_drawing_is_as_fine_as_its_face_is_large(decomposition, model):
    size = drawn_size(decomposition)
    sides = np.linalg.norm(decomposition.quads[:, 1] - decomposition.quads[:, 0], axis=1)
    assert sides.max() <= size <= 1.5 * sides.max()
    faces = edited_face(edit(decomposition, model, 1.0), model, [0, 1]), own_face(decomposition, model, [0, 1])
    shown, fine, rest, retouch, parted = model.drawings(*faces, faces[0], 40)
    assert not parted.any()
    assert shown.shape == (2, 6, 16, 16) and retouch.shape == (2, 3, 16, 16) and fine.shape == (2, 6, 40, 40) and not rest.any()
    assert model.drawings(*faces, faces[0], 999)[1].shape == (2, 6, 64, 64)  # each texel once
    assert model.drawings(faces[1], faces[1], faces[1], 40) is None
    shown, _, rest, *_ = model.drawings(*faces, faces[0], 40, True)  # with other noise maps the crop is decoded and shows the drawing
    assert shown.any() and (rest == 1).all()
    smiling = edited_face(edit(decomposition, model, 1.0, Smiling=1.0), model, [0, 1])
    assert (model.drawings(smiling, faces[1], smiling, 40)[2] == 1).all()


def moving(motion: np.ndarray, segment: np.ndarray, rate: int):
    """As much of a decomposition as the smoothing needs."""
    return SimpleNamespace(segment=segment, info=SimpleNamespace(rate=Fraction(rate)), current_z_motion=lambda rows: motion[rows])


def test_drawings_follow_landmarks_that_are_smoothed_within_a_segment():
    segment = np.repeat([0, 1], [12, 8])
    motion = np.float32(np.random.default_rng(0).normal(size=(20, 102)) + 100 * segment[:, None])
    steady = steady_motion(moving(motion, segment, 25), range(20))
    assert steady[:12].max() < 10 and steady[12:].min() > 90  # not across the cut
    assert 0.3 < steady[:12].std() / motion[:12].std() < 0.75
    some = [steady_motion(moving(motion, segment, 25), rows) for rows in ([3, 4, 5], [11, 12, 7])]
    np.testing.assert_allclose(np.concatenate(some), steady[[3, 4, 5, 11, 12, 7]], rtol=1e-5, atol=1e-5)
    assert list(runs([3, 4, 11, 12, 13, 2], segment)) == [[3, 4], [11], [12, 13], [2]]
    np.testing.assert_allclose(steady_motion(moving(motion, segment, 1), [4])[0], motion[4], atol=1e-4)


def test_teeth_are_for_segments_whose_mouth_stays_closed(decomposition, model, monkeypatch):
    motion = np.tile(MEAN_FACE[17:].reshape(-1), (40, 1)).astype(np.float32)
    points = motion.reshape(40, 51, 2)
    width = points[0, 47, 0] - points[0, 43, 0]
    points[:, 44:47, 1] = points[:, 48:51, 1] = points[0, 45, 1]
    points[20:, 48:51, 1] += np.linspace(0, 0.5 * width, 20, dtype=np.float32)[:, None]  # someone talks
    points[3, 48:51, 1] += width  # a landmark that is wrong once
    some = SimpleNamespace(segment=np.repeat([0, 1], 20), z_motion=motion)
    drawer = Drawer(some, None, 8)
    assert [drawer.closed(row) for row in (0, 3, 20, 39)] == [1, 1, 0, 0]
    told = []
    monkeypatch.setattr(model, "drawings", lambda *inputs: told.append(inputs[-1]))
    faces = edited_face(decomposition, model, [0, 1]), own_face(decomposition, model, [0, 1])
    drawer = Drawer(decomposition, model, 8)
    drawer._closed[int(decomposition.segment[0])] = 0.25
    assert drawer.draw([0, 1], *faces) == () and told[0].tolist() == [0.25, 0.25]


def test_a_retouch_moves_the_pixels_of_the_frame(tmp_path, retouching):
    model, decomposition = retouching
    drawn = apply_attributes(decomposition, model, {"Young": 3.0})
    assert only_drawn(drawn, model, range(5)).all()
    for number, (before, after) in enumerate(frames_of(drawn, model, tmp_path / "a.mkv")):
        quad = decomposition.quads[number]
        shift = round(0.1 * np.linalg.norm(quad[1] - quad[0]))
        still, moved, expected = (middle(picture, quad, 0.2).astype(int) for picture in (before, after, before[:, shift:]))
        assert np.abs(moved - expected).mean() < 0.5 * np.abs(still - expected).mean()
    still = stills([drawn], model, 3)
    assert (still.edited[0] != still.original).mean() > 0.05


def test_a_drawing_is_as_bright_as_the_light_of_its_segment(decomposition, model, monkeypatch):
    white = torch.ones(2, 6, 8, 8) * torch.tensor([1.0] * 3 + [-1.0] * 3)[:, None, None]  # opaque
    monkeypatch.setattr(model, "drawings", lambda z_face, *_: (white, white, torch.zeros(2)))
    faces = edited_face(decomposition, model, [0, 1]), own_face(decomposition, model, [0, 1])
    drawer = Drawer(decomposition, model, 8)
    full = drawer.light(0)
    assert full is drawer.light(1) and full.min() > 0.3 and full.max() < 1.5
    drawer._lights[int(decomposition.segment[0])] = np.float32([0.25, 0.5, 0.25])
    addition, factor = drawer.draw([0, 1], *faces)[1].chunk(2, 1)
    assert (factor == -1).all() and (addition[:, [0, 2]] == -0.5).all() and (addition[:, 1] == 0).all()  # of the way from black to white


def test_the_light_of_a_segment_is_that_of_its_brightest_pixels():
    crops = np.full((30, 16, 16, 3), 20, np.uint8)  # a dim scene, then a fully lit one with a dark face
    crops[:, :, :8] = 76
    crops[20:, :, :8] = 230
    crops[10] = 255  # a flash
    motion = np.tile(np.float32(MEAN_FACE[17:]).ravel(), (30, 1))
    some = SimpleNamespace(segment=np.repeat([0, 1], [20, 10]), crops=crops, z_motion=motion)
    drawer = Drawer(some, None, 8)
    grey = cast_of(np.ones(3))  # grey skin is in bluish light
    for row, light in ((0, 76 / 190), (10, 76 / 190), (19, 76 / 190), (25, 1)):
        np.testing.assert_allclose(drawer.light(row), light * grey, rtol=1e-5)
    some.crops = np.zeros_like(crops)
    assert 0 < Drawer(some, None, 8).light(3).max() < 0.2
    some.crops = np.tile(np.uint8([220, 130, 60]), (30, 16, 16, 1))  # in warm light
    warm = Drawer(some, None, 8).light(3)
    assert warm[0] > 1.1 * warm[1] > 1.2 * warm[2]


def test_a_wide_smile_parts_the_lips_over_teeth(decomposition, model, monkeypatch):
    """The drawing lies where the lips are after it: what is drawn on them goes along, and teeth are over it."""
    nothing, retouch = torch.zeros(2, 6, 96, 96), torch.zeros(2, 3, 16, 16)
    retouch[:, 1] = 0.02  # all of the face goes up
    monkeypatch.setattr(model, "drawings", lambda *_: (nothing, nothing + 0.1, torch.zeros(2), retouch, torch.tensor([0.0, 1.0])))
    motion = np.tile(np.float32(MEAN_FACE[17:]).ravel(), (len(decomposition.z_motion), 1))
    drawer = Drawer(decomposition, model, 96)
    monkeypatch.setattr("dva_core.pipeline.drawing.steady_motion", lambda edited, rows: motion[list(rows)])
    faces = edited_face(decomposition, model, [0, 1]), own_face(decomposition, model, [0, 1])
    still, smiling = drawer.finish([0, 1], [part.numpy() for part in drawer.draw([0, 1], *faces)], False)
    assert np.abs(np.float32(still.fine) - np.float32(0.1)).max() < 0.05 and np.array_equal(still.retouch, np.float16(retouch[0]))
    x, y = (MEAN_FACE[[61, 62, 63, 65, 66, 67]].mean(0) - (0, 0.02)) * 96 + (0, 1)
    assert (smiling.fine[3:, int(y), int(x)] < -0.8).all() and (smiling.fine[3:, :48] > 0).all()
    assert smiling.retouch[1, 10, 10] == pytest.approx(0.02, abs=1e-3)  # elsewhere as before
    lower = int((MEAN_FACE[57, 1]) * smiling.retouch.shape[-1]), smiling.retouch.shape[-1] // 2
    assert smiling.retouch[1][lower] < 0.01  # the lower lip goes down


def test_half_precision_draws_the_same(decomposition, model):
    drawn = edit(decomposition, model, 1.3)
    half = load_model(model.path, device="cpu", dtype="bf16")
    assert only_drawn(drawn, half, range(5)).all()
    shown, expected = (stills([drawn], each, 3).edited[0].astype(int) for each in (half, model))
    assert np.abs(shown - expected).mean() < 1
