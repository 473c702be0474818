"""Regions of the face: they follow it, keep an edit to themselves, and are found by what the edit says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import tiny_config, write_tiny
from hypothesis import given
from hypothesis import strategies as st
from standin import stand_in, write_video

from dva_core.commands import main as cli
from dva_core.decomposition import Decomposition
from dva_core.edit import apply_attributes, apply_direction, apply_operations, apply_switch
from dva_core.edit.directions import Direction, add_directions, from_attribute, scale_direction
from dva_core.edit.scope import find_region, regions_of
from dva_core.errors import DVAError
from dva_core.faces.composite import soften
from dva_core.faces.finder import FaceFinder
from dva_core.faces.regions import MEAN_FACE, REGIONS, ROOM, draw_regions, hidden_share, limit_to_regions, limit_to_worn, turn_of
from dva_core.model.autoencoder import JAW
from dva_core.model.bundle import read_bundle, write_bundle
from dva_core.model.loader import load_model
from dva_core.networks.hull import hull_mask
from dva_core.pipeline import decode, encode
from dva_core.pipeline.masks import SoftMasks
from dva_core.pipeline.preview import stills

INNER = MEAN_FACE[JAW:]
SIZE = 64


def at(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The values of a map [S, S] at (x, y) in 0..1."""
    x, y = (np.clip(places * len(points), 0, len(points) - 1)).astype(int).T
    return points[y, x]


def test_how_much_of_a_face_is_hidden():
    """None of one that its whole mask shows, whatever the face; about half of one whose half is left out or kept."""
    narrow = (MEAN_FACE - 0.5) * (0.9, 1.0) + 0.5
    for face in (MEAN_FACE, narrow, (MEAN_FACE - 0.5) * (1.08, 0.97) + 0.5):
        mask = hull_mask(torch.from_numpy(face[None]), SIZE)[0, 0].numpy()
        left = mask * (np.arange(SIZE) < SIZE / 2)
        assert hidden_share(mask, face[JAW:]) < 0.03
        assert 0.4 < hidden_share(left, face[JAW:]) < 0.6 and 0.4 < hidden_share(mask, face[JAW:], left) < 0.6
        assert hidden_share(mask, face[JAW:], np.ones_like(mask)) == 1


def test_each_region_is_where_its_landmarks_are():
    lower = [*range(5, 12), 57]
    inside = {"eyes": range(36, 48), "brows": (18, 19, 20, 23, 24, 25), "nose": (29, 30, 33), "mouth": range(48, 68), "lower": lower}
    for name, points in inside.items():
        values = at(REGIONS[name].map, MEAN_FACE)[list(points)]
        assert values.min() > 0.35 and values.mean() > 0.6, name
    outside = {"eyes": (8, 30, 57), "mouth": (27, 30, 38, 8), "lower": (27, 38, 19), "forehead": (30, 38, 8), "skin": (38, 43, 62)}
    for name, points in outside.items():
        assert at(REGIONS[name].map, MEAN_FACE)[list(points)].max() < 0.45, name
    for region in REGIONS.values():  # as symmetrical as the face is
        np.testing.assert_allclose(region.map, region.map[:, ::-1], atol=0.12)
        assert region.map.min() >= 0 and region.map.max() > 0.9


@given(st.floats(-0.4, 0.4), st.floats(0.7, 1.2), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.sampled_from(list(REGIONS)))
def test_a_region_follows_the_face(angle, scale, dx, dy, name):
    """Turned, scaled and moved with the landmarks: the value at a place of the face stays."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def moved(places):
        return (places - 0.5) @ turn.T + 0.5 + (dx, dy)

    plain, laid = REGIONS[name].on(INNER, 128), REGIONS[name].on(moved(INNER), 128)
    places = np.stack(np.meshgrid(*2 * [np.linspace(0.2, 0.8, 25)]), -1).reshape(-1, 2)
    seen = ((moved(places) > 0.02) & (moved(places) < 0.98)).all(1)
    assert np.abs(at(plain, places) - at(laid, moved(places)))[seen].max() < 0.3


def test_a_beard_has_room_below_the_chin_and_nothing_else_has():
    mask = soften(hull_mask(torch.from_numpy(MEAN_FACE)[None], SIZE)[0].numpy())
    chin = MEAN_FACE[8]
    below = np.array([chin + (0, 0.4 * ROOM)])
    grown = {name: limit_to_regions([region], INNER, mask, mask) for name, region in REGIONS.items()}
    assert at(grown["lower"], below) > 2 * at(mask, below) > 0
    for name, here in grown.items():
        assert here.max() <= 1 and not here[[0, -1]].any() and not here[:, [0, -1]].any()
        outside = (here > mask + 0.02).sum()
        assert (outside > 0) == (name == "lower"), name
    both = limit_to_regions([REGIONS["eyes"], REGIONS["mouth"]], INNER, mask, mask)
    np.testing.assert_allclose(both, np.maximum(grown["eyes"], grown["mouth"]), atol=1e-6)


def nose_moved(by: float) -> np.ndarray:
    """Inner landmarks of a head that turns its nose to the right by this much of the eyes' distance."""
    points = INNER.copy()
    points[13, 0] += by * (points[25:31, 0].mean() - points[19:25, 0].mean())
    return points


def test_of_the_far_side_of_a_turned_head_only_what_is_seen_counts():
    visible = np.zeros((SIZE, SIZE), np.float32)
    visible[8:-8, 8 : int(0.62 * SIZE)] = 1  # the landmarks lie beyond the face on the right
    whole = np.pad(np.ones((SIZE - 16, SIZE - 16), np.float32), 8)
    beyond, near = np.array([[0.7, 0.78]]), np.array([[0.3, 0.78]])
    for by, here in ((0.0, (1, 1)), (0.25, (0, 1)), (-0.25, (1, 1))):
        points = nose_moved(by)
        assert float(turn_of(points)) == pytest.approx(by, abs=0.02)
        limited = limit_to_regions([REGIONS["lower"]], points, visible, whole)
        assert at(limited, beyond)[0] == pytest.approx(here[0], abs=0.25) and at(limited, near)[0] > 0.7


def test_glasses_are_over_hair_but_their_temples_are_under_it():
    mask = soften(hull_mask(torch.from_numpy(MEAN_FACE)[None], SIZE)[0].numpy())
    bare, hair = np.ones_like(mask), mask * (np.abs(np.linspace(0, 1, SIZE) - 0.5) < 0.2)
    nothing = np.zeros_like(mask)
    eyes = [REGIONS["eyes"]]
    rims, temples = np.array([[0.72, 0.48], [0.28, 0.48]]), np.array([[0.83, 0.48], [0.17, 0.48]])
    assert at(limit_to_worn(eyes, INNER, nothing, hair), rims).min() > 0.85
    assert at(limit_to_worn(eyes, INNER, nothing, bare), temples).min() > 0.7
    assert at(limit_to_worn(eyes, INNER, nothing, hair), temples).max() < 0.2


def test_the_rim_of_a_face_is_not_a_hand_before_the_eyes():
    """What the parser takes for an edge of hair beside an eye does not cut glasses; a hand over the eye does."""
    front, mask = np.zeros((SIZE, SIZE), np.float32), np.ones((SIZE, SIZE), np.float32)
    edge = front.copy()
    edge[:, int(0.3 * SIZE) : int(0.34 * SIZE)] = 1
    hand = front.copy()
    hand[:, : int(0.45 * SIZE)] = 1
    place = np.array([[0.32, 0.48]])
    limited = [at(limit_to_worn([REGIONS["eyes"]], INNER, one, mask), place)[0] for one in (front, edge, hand)]
    assert limited[1] > 0.9 * limited[0] > 10 * limited[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("regions")


ENTRIES = [{**entry, "region": region} for entry, region in zip(tiny_config()["attributes"], ("eyes", None, "mouth"))]
TOP = draw_regions()["forehead"].map


@pytest.fixture(scope="module")
def model(folder):
    """Its attributes have regions; it brings a map called "eyes" of its own, which is that of the forehead."""
    config = tiny_config(attributes=ENTRIES, regions=["eyes"])
    maps = {"regions.maps": torch.from_numpy(TOP)[None].float(), "regions.landmarks": torch.from_numpy(MEAN_FACE).float()}
    return load_model(write_tiny(folder / "tiny.safetensors", config=config, **maps), device="cpu")


@pytest.fixture(scope="module")
def decomposition(folder, model):
    found, mask = stand_in(model), hull_mask(torch.from_numpy(MEAN_FACE)[None], 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaceFinder, "of", classmethod(lambda cls, *_: found))
        motion = torch.from_numpy(INNER.reshape(1, -1)).float()
        patch.setattr(
            model,
            "end_crops",
            lambda size, z_id, points: (z_id, motion.expand(len(z_id), -1), mask.expand(len(z_id), -1, -1, -1)),
        )
        return encode(write_video(folder / "a.mkv", 3), model, steps=4, clamp=False)


def test_the_edit_says_where_it_lives(decomposition, model, monkeypatch):
    own, mouth = find_region(model, "eyes"), REGIONS["mouth"]
    np.testing.assert_allclose(own.map, TOP, atol=1e-3)
    np.testing.assert_allclose(own.landmarks, MEAN_FACE, atol=1e-3)

    def maps(edited, region=None):
        return [found.map.round(2).tolist() for found in regions_of(edited, model, region)]

    young, smile = (apply_attributes(decomposition, model, {name: 1.0}) for name in ("Young", "Smiling"))
    assert maps(decomposition) == [] and maps(young) == [own.map.round(2).tolist()] and maps(smile) == [mouth.map.round(2).tolist()]
    assert len(maps(apply_attributes(young, model, {"Smiling": -1.0}))) == 2
    also, whole = apply_attributes(young, model, {"Male": 1.0}), apply_attributes(decomposition, model, {"Male": 1.0})
    assert maps(whole) == [] and [(one.whole, one.worn) for one in regions_of(also, model)] == [(True, False), (False, False)]
    monkeypatch.setattr(type(model), "draws", True)
    assert [one.worn for one in regions_of(also, model)] == [False, True] and not regions_of(also, model, "eyes")[0].worn
    assert maps(apply_attributes(young, model, {"Male": 0.0})) == maps(young)  # changes nothing
    assert maps(apply_attributes(decomposition, model, {"Young": {"0": 0, "2": 1}})) == maps(young)
    assert maps(young, "off") == [] and maps(young, "mouth") == maps(smile)
    assert regions_of(apply_switch(young, model, noise_seed=1), model)[0].whole
    with pytest.raises(DVAError, match=r"no region 'ears'.*eyes, brows"):
        maps(young, "ears")


def test_a_direction_keeps_its_region(folder, decomposition, model):
    young = from_attribute(model, "Young")
    own = replace(young, region="lower", made={"how": "pictures"})
    for same in (Direction.load(own.save(folder / "own.safetensors")), Direction.from_json(own.to_json()), scale_direction(own, 2.0)):
        assert same.region == "lower" and np.array_equal(same.vector, own.vector * (2 if same.name != own.name else 1))
    assert young.region == "eyes" and add_directions([own, own]).region == "lower" and add_directions([own, young]).region is None
    assert "region" not in replace(own, region=None).to_json()  # as before there were any
    edited = apply_direction(decomposition, model, own, 1.0)
    edited.save(folder / "edited.safetensors")
    for one in (edited, Decomposition.load(folder / "edited.safetensors"), apply_operations(decomposition, model, edited.operations)):
        (found,) = regions_of(one, model)
        assert found.map is REGIONS["lower"].map
    record = {key: value for key, value in own.to_json().items() if key != "region"}
    assert regions_of(apply_direction(decomposition, model, record, 1.0), model) == []


@pytest.mark.parametrize("detail", ["transfer", "model"])
def test_only_the_region_of_a_video_and_of_a_still_changes(folder, decomposition, model, detail):
    edited, crops = apply_attributes(decomposition, model, {"Male": 3.0}), {}
    for region in ("mouth", "off"):
        pairs = []
        decode(
            edited,
            model,
            folder / f"{region}-{detail}.mkv",
            codec="ffv1",
            detail=detail,
            region=region,
            watch=lambda i, row, a, b, crop, pairs=pairs: pairs.append(np.abs(a.rgb.astype(int) - b.rgb).sum(2)),
        )
        crops[region] = np.array(pairs)
    assert crops["mouth"].any() and (crops["mouth"] > 0).sum() < 0.4 * (crops["off"] > 0).sum()
    still = stills([edited], model, 1, region="mouth", detail=detail)
    changed = np.abs(still.edited[0].astype(int) - still.original).sum(2) > 0
    room = SoftMasks(decomposition, [REGIONS["mouth"]])[1] > 0
    assert changed.any() and not (changed & ~room).any()


def test_what_a_bundle_says_of_regions_must_fit(folder):
    with pytest.raises(DVAError, match="list of regions"):
        write_tiny(folder / "bad.safetensors", config=tiny_config(regions="eyes"))
    with pytest.raises(DVAError, match=r"lacks the tensor regions\.maps"):
        tensors = {key: value for key, value in read_bundle(folder / "tiny.safetensors").tensors.items() if not key.startswith("regions")}
        write_bundle(folder / "bad.safetensors", tensors, tiny_config(regions=["eyes"]), licence="MIT", source="a test")


def test_on_the_command_line(folder, decomposition, model, capsys):
    apply_attributes(decomposition, model, {"Male": 3.0}).save(folder / "male.safetensors")
    call = ["preview", str(folder / "male.safetensors"), "-o", str(folder / "p.png"), "--model", str(folder / "tiny.safetensors")]
    assert cli.main([*call, "--device", "cpu", "--region", "mouth", "--tone", "keep"]) == 0
    assert cli.main([*call, "--device", "cpu", "--region", "ears"]) == 2
    assert "no region 'ears'" in capsys.readouterr().err
