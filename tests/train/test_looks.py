"""What a kind of pair changes on the mean face."""

import numpy as np
import pytest
import torch
from conftest import need_shared

from dva_core.errors import DVAError, MissingFileError
from dva_core.faces.regions import MEAN_FACE
from dva_core.train.faces import read_faces
from dva_core.train.looks import SIZE, fit_looks, fit_shade, load_looks, place_at, retouched
from dva_core.train.pairs import DRAWN, candidates, change, draw_layer
from dva_core.train.retouches import fit_retouches


def still(kind, landmarks):
    """A kind that moves nothing."""
    return landmarks


def test_landmarks_come_to_lie_where_they_should():
    generator = torch.Generator().manual_seed(0)
    points = 0.3 + 0.4 * torch.rand(1, 68, 2, generator=generator)
    where = points * 0.9 + 0.08
    picture = torch.zeros(1, 1, 128, 128)
    x, y = (points[0, 30] * 128).long().tolist()
    picture[..., y - 1 : y + 2, x - 1 : x + 2] = 1
    moved = place_at(picture, points, where, 128)[0, 0]
    at = (torch.arange(128) + 0.5) / 128
    centre = torch.stack([(moved * at).sum(), (moved * at[:, None]).sum()]) / moved.sum()
    torch.testing.assert_close(centre, where[0, 30], rtol=0, atol=1.5 / 128)


def test_glasses_are_as_sharp_on_the_mean_face_as_they_are_drawn():
    faces = read_faces(need_shared("data/faces128"), ("faker",)).take(np.arange(0, 160, 4))
    looks = fit_looks(faces, ("Eyeglasses",), candidates, lambda *face: change(*face, None)[0], still)
    assert looks.maps.shape == (1, 6, SIZE, SIZE) and looks.landmarks.shape == (68, 2)
    addition, factor = looks.maps[0, :3].mean(0), looks.maps[0, 3:].mean(0)
    rims = factor < -0.8  # opaque
    assert 0.005 < rims.mean() < 0.05
    assert (np.abs(factor) < 0.02).mean() > 0.8  # nothing is changed elsewhere
    assert (addition[rims] / -factor[rims]).max() < -0.5  # dark
    assert np.abs(np.diff(factor, axis=0)).max() > 0.5  # from one pixel of the mean face to the next


def test_what_is_drawn_on_the_mean_face_itself_needs_no_pictures():
    faces = read_faces(need_shared("data/faces128"), ("faker",)).take(np.arange(8))
    on_mean = [kind for kind in DRAWN if draw_layer(kind, np.float32(MEAN_FACE)) is not None]
    assert {"Eyeglasses", "Sunglasses", "Beard", "5_o_Clock_Shadow", "Bushy_Eyebrows"} <= set(on_mean) < set(DRAWN)
    looks = fit_looks(faces, ("Beard",), candidates, change, still, draw_layer)
    addition, factor = draw_layer("Beard", looks.landmarks)
    np.testing.assert_allclose(looks.maps[0], np.moveaxis(np.concatenate([addition, factor], -1), -1, 0), atol=1e-6)


def test_what_is_moved_is_not_drawn_too(monkeypatch):
    """A change that moves a face and darkens its cheeks: the retouch has the one, the map only the other."""
    monkeypatch.setattr("dva_core.train.retouches.SMOOTHING", {})
    faces = read_faces(need_shared("data/faces128"), ("faker",)).take(np.arange(0, 160, 4))

    def wider(kind, landmarks):
        middle = landmarks[:, :1].mean(0)
        return np.column_stack([landmarks[:, 0] + 0.06 * (landmarks[:, 0] - middle), landmarks[:, 1]])

    def make(kind, picture, landmarks, seed, dark=0.8):
        size = len(picture)
        retouch = fit_retouches(landmarks / size, ("Male",), wider)[0]
        return np.uint8(dark * retouched(picture, retouch))

    looks = fit_looks(faces, ("Male",), candidates, make, wider)
    middle = slice(int(0.35 * SIZE), int(0.65 * SIZE))
    shade = looks.maps[0, :, middle, middle]
    assert np.abs(np.percentile(shade, [5, 95]) - -0.2).max() < 0.05  # the same everywhere: no second outline of eyes and nose
    without = fit_looks(faces, ("Male",), candidates, make, still).maps[0, :, middle, middle]
    assert np.ptp(np.percentile(without, [5, 95])) > 2 * np.ptp(np.percentile(shade, [5, 95]))


def test_shades_of_skin_draw_no_lines():
    landmarks, y = np.float32(MEAN_FACE), np.arange(SIZE)[:, None]
    before = np.full((4, SIZE, SIZE, 3), 150, np.uint8)
    lines = 1 - 0.15 * (np.abs(y - int(0.33 * SIZE)) < 3) - 0.1
    after = np.uint8(before * lines[None, :, :, None])
    for kind, drawn in (("Older", True), ("Younger", False)):
        shades = fit_shade(kind, before, after, landmarks)[0][:, SIZE // 2]
        shade, fold = shades.mean(-1), shades[int(0.33 * SIZE)]
        assert (fold[0] > fold[1] > fold[2]) == drawn  # a fold lets red through
        line = shade[int(0.33 * SIZE)] - shade[int(0.33 * SIZE) + 20]
        assert (line < -0.1) == drawn and shade[int(0.33 * SIZE) + 20] < -0.02


def test_looks_come_back_from_their_file(tmp_path):
    faces = read_faces(need_shared("data/faces128"), ("faker",)).take(np.arange(8))
    looks = fit_looks(faces, ("Freckles", "Beard"), candidates, lambda kind, picture, *_: picture, still)
    assert np.abs(looks.maps).max() < 1e-6
    looks.save(tmp_path / "looks.npz")
    assert all(np.array_equal(value, getattr(load_looks(tmp_path), name)) for name, value in vars(looks).items())
    (tmp_path / "looks.npz").write_bytes(b"PK")
    with pytest.raises(DVAError, match="damaged"):
        load_looks(tmp_path)
    with pytest.raises(MissingFileError, match="train pairs"):
        load_looks(tmp_path / "elsewhere")
