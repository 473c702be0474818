"""What a kind of pair changes on the mean face."""

import numpy as np
import pytest
import torch
from conftest import need_shared

from dva_core.errors import DVAError, MissingFileError
from dva_core.faces.regions import MEAN_FACE
from dva_core.train.faces import read_faces
from dva_core.train.looks import BROWN, DENSEST, SIZE, even_hair, even_stubble, fit_looks, fit_shade, load_looks, place_at, retouched
from dva_core.train.pairs import candidates, change
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


def test_hair_is_never_lighter_than_the_skin_it_grows_on():
    """A beard of one brown, lighter than the darkest face."""
    faces = read_faces(need_shared("data/faces128"), ("faker",)).take(np.arange(0, 160, 4))
    middle = slice(int(0.45 * SIZE), int(0.55 * SIZE))

    def brown(kind, picture, landmarks, seed):
        changed = picture.copy()
        changed[middle, middle] = (80, 60, 50)
        return changed

    for kind, lightens in (("Wearing_Lipstick", True), ("Beard", False)):
        looks = fit_looks(faces, (kind,), candidates, brown, still)
        addition, factor = (part[:, middle, middle].mean((1, 2)) for part in np.split(looks.maps[0], 2))
        on_black, on_white = -1 + addition - factor, 1 + addition + factor
        assert (on_black.max() > -0.6) == lightens and (on_black >= -1.001).all()
        if not lightens:
            assert on_white[0] > on_white[2] and on_white.max() < 0.1  # brown on white


def test_shades_of_skin_draw_no_lines():
    landmarks, y = np.float32(MEAN_FACE), np.arange(SIZE)[:, None]
    before = np.full((4, SIZE, SIZE, 3), 150, np.uint8)
    lines = 1 - 0.15 * (np.abs(y - int(0.33 * SIZE)) < 3) - 0.1
    after = np.uint8(before * lines[None, :, :, None])
    for kind, drawn in (("Older", True), ("Younger", False)):
        shade = fit_shade(kind, before, after, landmarks)[0][:, SIZE // 2, 0]
        line = shade[int(0.33 * SIZE)] - shade[int(0.33 * SIZE) + 20]
        assert (line < -0.1) == drawn and shade[int(0.33 * SIZE) + 20] < -0.02


def test_hair_is_as_dense_everywhere_and_of_one_colour():
    rng = np.random.default_rng(0)
    opacity = np.zeros((SIZE, SIZE))
    opacity[200:320, 90:190], opacity[200:320, 190:290] = 0.4, 0.75  # thin on one side
    strands = 1 + 0.2 * np.sin(np.arange(SIZE) * 1.3)[:, None]
    slope = np.float32(-opacity * strands)[..., None] * np.float32(1 + rng.normal(0, 0.1, (SIZE, SIZE, 3)))
    addition, evened = even_hair(slope, 0.7)
    sides = -evened[220:300, 100:160].mean(), -evened[220:300, 220:280].mean()
    assert sides == pytest.approx((0.7, 0.7), abs=0.07)
    assert -evened.min() <= 1.05 * DENSEST and not evened[:150].any()
    own = (addition - evened)[220:300, 100:280] / -evened[220:300, 100:280, 1:2]
    np.testing.assert_allclose(own, np.broadcast_to(BROWN, own.shape), atol=1e-5)
    lines = [np.ptp(part[220:300, 100:160].mean((1, 2))) / abs(part[220:300, 100:160].mean()) for part in (slope, evened)]
    assert lines[1] > lines[0]  # strands are not blurred


def test_stubble_has_no_holes_and_soft_edges_and_leaves_the_lips():
    opacity = np.zeros((SIZE, SIZE), np.float32)
    opacity[200:320, 90:290] = 0.5
    opacity[200:320:9, 90:290:9] = 0.0
    skin = np.ones((SIZE, SIZE), np.float32)
    skin[250:270, 150:230] = 0
    _, slope = even_stubble(np.repeat(-opacity[..., None], 3, 2), skin)
    covered = -slope.mean(-1)
    assert covered[220:245, 110:140].min() > 0.75 * covered[220:245, 110:140].max() and not covered[252:268, 152:228].any()
    assert 0 < covered[194, 200] < covered[206, 200]


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
