"""People and expressions made from pictures: warps carry points, morphs blend, changes move the labels along."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from faces.drawn import centroid

from dva_core.faces.align import MIRROR68
from dva_core.train.augment import reframe, relight, soften
from dva_core.train.synthesis import ExpressionModel, anchors, morph, normalise, warp

SIZE = 128


def blobs(points: np.ndarray, size: int = SIZE) -> np.ndarray:
    """uint8 [size, size, 3] with one soft spot a point."""
    axis = np.arange(size) + 0.5
    x, y = np.meshgrid(axis, axis)
    spots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in points)
    return np.repeat((np.clip(spots, 0, 1) * 255).astype(np.uint8)[..., None], 3, 2)


def test_warp_moves_a_spot_to_its_target_and_holds_the_border():
    source, target = np.array([[64.0, 60.0], [40, 80], [90, 84]]), np.array([[69.0, 66.0], [40, 80], [90, 84]])
    moved = warp(blobs(source[:1]), source, target)
    assert np.abs(centroid(moved) - target[0]).max() < 0.4
    border = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert np.array_equal(warp(border, source, source), border)
    assert len(anchors(SIZE)) == 12


def test_morph_of_a_face_with_itself_is_that_face(shared):
    from dva_core.train.faces import read_faces

    faces = read_faces(shared("data/faces128"))
    one = faces.pictures[3], faces.landmarks[3], faces.points5[3]
    picture, landmarks, points5 = morph(one, one, 0.4)
    assert np.abs(picture.astype(int) - one[0]).max() <= 1
    assert np.allclose(landmarks, one[1]) and np.allclose(points5, one[2])


def test_held_out_people_are_in_no_blend(shared, monkeypatch):
    from dva_core.train import synthesis
    from dva_core.train.faces import read_faces

    faces = read_faces(shared("data/faces128")).take(np.arange(60))
    assert 3 < faces.held_out.sum() < 30
    pairs = []

    def blended(first, second, share):
        pairs.append((first, second))
        return first

    class Teachers:
        def embed(self, pictures, points5):
            return np.zeros((len(pictures), 128), np.float32)

    monkeypatch.setattr(synthesis, "morph", blended)
    variants = synthesis.make_variants(faces, Teachers(), frames=1, morphs=200)
    parts = [face[0] for pair in pairs for face in pair]
    blends = {int(np.flatnonzero((faces.pictures == part).all((1, 2, 3)))[0]) for part in parts}
    assert len(pairs) == 200 and blends <= set(np.flatnonzero(~faces.held_out).tolist()) and len(blends) > 20
    assert (variants.original[60:] == -1).all() and (variants.original[:60] == np.arange(60)).all()


def test_expressions_leave_jaw_ends_and_nose_in_place(shared):
    from dva_core.train.faces import read_faces

    faces = read_faces(shared("data/faces128"))
    model = ExpressionModel.fit(faces.landmarks[:200])
    moved = model.sample(faces.landmarks[0], np.random.default_rng(0), 1.0)
    assert np.allclose(moved[27:36], faces.landmarks[0][27:36], atol=1e-3)
    assert np.abs(moved[48:68] - faces.landmarks[0][48:68]).max() > 0.3


def test_normalise_is_undone_by_what_it_returns():
    landmarks = np.random.default_rng(1).uniform(20, 100, (68, 2))
    landmarks[36:42] -= 20
    relative, scale, rotation, centre = normalise(landmarks)
    assert np.allclose(relative * scale @ rotation.T + centre, landmarks)
    assert np.allclose(relative[36:42].mean(0)[1], 0, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_reframe_moves_points_with_the_picture(seed):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(6, 68, 2, generator=generator) * 0.4 + 0.3
    index = 30  # the nose tip is its own mirror image
    assert MIRROR68[index] == index
    pictures = np.stack([blobs(p[index : index + 1].numpy() * SIZE) for p in points])
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    moved, where = reframe(images, points, generator, turn=10, zoom=0.1, shift=0.05)
    for picture, point in zip(moved, where):
        centre = centroid(((picture + 1) * 127.5).permute(1, 2, 0).numpy())
        assert np.abs(centre - point[index].numpy() * SIZE).max() < 0.3


def test_light_and_softness_stay_in_range_and_depend_on_the_seed_alone():
    images = torch.rand(4, 3, 32, 32) * 2 - 1

    def changed(seed):
        generator = torch.Generator().manual_seed(seed)
        return soften(relight(images, generator), generator, share=1.0)

    assert changed(0).abs().max() <= 1
    assert torch.equal(changed(0), changed(0)) and not torch.equal(changed(0), changed(1))
