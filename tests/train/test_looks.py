"""What a kind of pair changes on the mean face."""

import numpy as np
import pytest
import torch
from conftest import need_shared

from dva_core.errors import DVAError, MissingFileError
from dva_core.train.faces import read_faces
from dva_core.train.looks import SIZE, fit_looks, load_looks, place_at
from dva_core.train.pairs import candidates, change


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
    looks = fit_looks(faces, ("Eyeglasses",), candidates, lambda *face: change(*face, None)[0])
    assert looks.maps.shape == (1, 6, SIZE, SIZE) and looks.landmarks.shape == (68, 2)
    addition, factor = looks.maps[0, :3].mean(0), looks.maps[0, 3:].mean(0)
    rims = factor < -0.8  # opaque
    assert 0.005 < rims.mean() < 0.05
    assert (np.abs(factor) < 0.02).mean() > 0.8  # nothing is changed elsewhere
    assert (addition[rims] / -factor[rims]).max() < -0.5  # dark
    assert np.abs(np.diff(factor, axis=0)).max() > 0.5  # from one pixel of the mean face to the next


def test_looks_come_back_from_their_file(tmp_path):
    faces = read_faces(need_shared("data/faces128"), ("faker",)).take(np.arange(8))
    looks = fit_looks(faces, ("Freckles", "Beard"), candidates, lambda kind, picture, *_: picture)
    assert np.abs(looks.maps).max() < 1e-6
    looks.save(tmp_path / "looks.npz")
    assert all(np.array_equal(value, getattr(load_looks(tmp_path), name)) for name, value in vars(looks).items())
    (tmp_path / "looks.npz").write_bytes(b"PK")
    with pytest.raises(DVAError, match="damaged"):
        load_looks(tmp_path)
    with pytest.raises(MissingFileError, match="train pairs"):
        load_looks(tmp_path / "elsewhere")
