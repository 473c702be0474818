"""Drawings: deterministic, kept to their place, moving with the face; one contact sheet a kind in tests/output."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import ROOT

from dva_core.errors import DVAError
from dva_core.faces.align import MIRROR68
from dva_core.train import drawings
from dva_core.train.drawings.head import FRONTAL, Head
from dva_core.train.faces import read_faces

FACES = ROOT.parent / "shared/data/faces128"
OUTPUT = ROOT / "tests" / "output"

# centre and half axes of where a kind may change anything, in face units (middle of the eyes 0, their distance 1)
PLACES = {
    "Eyeglasses": (0, 0.05, 1.7, 0.75), "Sunglasses": (0, 0.05, 1.7, 0.8), "Bushy_Eyebrows": (0, -0.3, 1.25, 0.4),
    "Beard": (0, 1.1, 1.75, 1.6), "Goatee": (0, 1.4, 0.9, 0.95), "Mustache": (0, 1.0, 0.95, 0.5), "5_o_Clock_Shadow": (0, 1.1, 1.75, 1.5),
    "Wearing_Lipstick": (0, 1.15, 0.6, 0.35), "Heavy_Makeup": (0, 0.6, 1.5, 1.5), "Freckles": (0, 0.5, 1.4, 1.5),
    "Older_Skin": (0, 0.4, 1.5, 1.9), "Gray_Hair": (0, 0, 2.6, 2.8),
}  # fmt: skip


def face(size: int = 128, turn: float = 0.0, skin=(205, 160, 135)) -> tuple[np.ndarray, np.ndarray]:
    """A plain head with hair, eyes, brows and lips, and its landmarks; `turn` in radians to the right."""
    unit = size / 4
    depth = 0.35 - 0.5 * (FRONTAL[:, 0] / 1.1) ** 2 - 0.1 * np.abs(FRONTAL[:, 1] - 0.5)
    depth[30] += 0.25
    x = FRONTAL[:, 0] * np.cos(turn) + depth * np.sin(turn)
    points = np.c_[x, FRONTAL[:, 1]] * unit + (size / 2, size * 0.47)
    picture = np.full((size, size, 3), (90, 120, 150), np.uint8)
    middle = points[27]
    cv2.ellipse(picture, (int(middle[0]), int(middle[1] - 0.1 * unit)), (int(1.3 * unit), int(1.5 * unit)), 0, 0, 360, (60, 45, 35), -1)
    crown = middle + np.c_[np.cos(np.linspace(0, np.pi, 20)), -np.sin(np.linspace(0, np.pi, 20))] * (1.0 * unit, 0.95 * unit)
    cv2.fillPoly(picture, [np.int32(np.r_[points[:17], crown])], skin)
    for low, high, colour in ((36, 42, (240, 240, 240)), (42, 48, (240, 240, 240)), (48, 60, (170, 90, 90))):
        cv2.fillPoly(picture, [np.int32(points[low:high])], colour)
    for low, high in ((17, 22), (22, 27)):
        cv2.polylines(picture, [np.int32(points[low:high] + (0, 0.06 * unit))], False, (60, 45, 35), max(int(0.09 * unit), 1))
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    return np.uint8(np.clip(cv2.GaussianBlur(picture, (0, 0), size / 160) + noise, 0, 255)), points


def centre(mask: np.ndarray) -> np.ndarray:
    return np.array([(grid * mask).sum() for grid in np.indices(mask.shape)]) / mask.sum()


def look(kind: str, seed: int = 1) -> dict:
    return drawings.style(kind, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", drawings.KINDS)
@pytest.mark.parametrize("size", [64, 128, 256])
def test_drawing_keeps_shape_and_what_the_mask_leaves_alone(kind, size):
    picture, points = face(size)
    before = picture.copy()
    drawing = drawings.draw(kind, picture, points, look(kind))
    assert drawing.picture.dtype == np.uint8 and drawing.picture.shape == (size, size, 3)
    assert drawing.mask.dtype == np.float32 and drawing.mask.shape == (size, size)
    assert drawing.mask.min() >= 0 and drawing.mask.max() <= 1
    assert (drawing.picture[drawing.mask == 0] == picture[drawing.mask == 0]).all()
    assert (picture == before).all(), "the picture given is not written to"
    again = drawings.draw(kind, picture, points, look(kind))
    assert (again.picture == drawing.picture).all() and (again.mask == drawing.mask).all()


@pytest.mark.parametrize("kind", drawings.KINDS)
@pytest.mark.parametrize("turn", [-0.6, 0.0, 0.6])
def test_a_kind_changes_its_place_and_nothing_far_from_it(kind, turn):
    picture, points = face(turn=turn)
    head = Head(picture, points)
    x, y, wide, high = PLACES[kind]
    rows, columns = np.indices(picture.shape[:2])
    middle = head.project(np.array([(x, y, 0.2)]))[0]
    far = np.hypot((columns - middle[0]) / wide, (rows - middle[1]) / high) > 32
    for seed in range(4):
        drawing = drawings.draw(kind, picture, points, look(kind, seed))
        change = np.abs(drawing.picture.astype(int) - picture).max(-1)
        assert change[far].max(initial=0) <= 2, f"seed {seed}"
        assert (change > 12).sum() > 0.04 * head.unit**2, f"seed {seed}: hardly anything is seen"


@pytest.mark.parametrize("kind", drawings.KINDS)
def test_a_drawing_moves_with_the_face(kind):
    picture, points = face()
    first = drawings.draw(kind, picture, points, look(kind))
    step = np.array([5, -3])
    moved = drawings.draw(kind, np.roll(picture, step[::-1], (0, 1)), points + step, look(kind))
    inner = np.s_[12:-12, 12:-12]
    assert np.abs(np.roll(moved.mask, -step[::-1], (0, 1)) - first.mask)[inner].mean() < 0.01
    mirrored_points = np.c_[127 - points[:, 0], points[:, 1]][MIRROR68]
    mirrored = drawings.draw(kind, np.ascontiguousarray(picture[:, ::-1]), mirrored_points, look(kind))
    a, b = (cv2.GaussianBlur(mask, (0, 0), 3).ravel() for mask in (np.ascontiguousarray(mirrored.mask[:, ::-1]), first.mask))
    assert np.corrcoef(a, b)[0, 1] > 0.9
    assert np.linalg.norm(centre(mirrored.mask[:, ::-1]) - centre(first.mask)) < 2.5


def test_looks_differ_and_are_plain_numbers():
    for kind in drawings.KINDS:
        first, second = look(kind, 1), look(kind, 2)
        assert first == look(kind, 1) and first != second
        for value in first.values():
            assert isinstance(value, (int, float)) or all(isinstance(v, (int, float)) for v in value)


def test_hair_of_a_beard_is_darker_than_the_skin_whatever_its_tone():
    for skin in ((235, 200, 180), (110, 75, 55), (60, 42, 34)):
        picture, points = face(skin=skin)
        drawing = drawings.draw("Beard", picture, points, {**look("Beard"), "tone": 3, "own": 0.1, "shade": 1.15})
        chin = drawing.mask > 0.7
        assert chin.sum() > 200 and drawing.picture[chin].mean() < 0.75 * picture[chin].mean()


def test_bad_input_is_named():
    picture, points = face()
    with pytest.raises(DVAError, match="'Moustache' cannot be drawn: choose one of Eyeglasses"):
        drawings.draw("Moustache", picture, points, {})
    with pytest.raises(DVAError, match="cannot be drawn"):
        drawings.style("hat", np.random.default_rng(0))
    with pytest.raises(DVAError, match="68 finite landmarks"):
        drawings.draw("Beard", picture, points[:5], look("Beard"))
    with pytest.raises(DVAError, match="square uint8"):
        drawings.draw("Beard", picture[:100], points, look("Beard"))
    with pytest.raises(DVAError, match="one place"):
        drawings.draw("Beard", picture, points * 0 + 5, look("Beard"))


@pytest.mark.skipif(not FACES.is_dir(), reason="needs the faces")
@pytest.mark.parametrize("kind", drawings.KINDS)
def test_contact_sheet(kind):
    """Ten faces before and after: turned heads, dark and light skin, women and men. To be looked at."""
    faces = read_faces(FACES)
    bare = np.nan_to_num(faces.labels[:, [faces.names.index(n) for n in ("Eyeglasses", "Sunglasses", "Wearing_Hat")]]).sum(1) == 0
    male = faces.labels[:, faces.names.index("Male")] == 1
    young = faces.labels[:, faces.names.index("Young")] == 1
    marks = faces.landmarks
    yaw = (marks[:, 30, 0] - marks[:, 36:48, 0].mean(1)) / np.ptp(marks[:, 36:48, 0], axis=1)
    tone = np.array([picture[int(y), int(x)].mean() for picture, (x, y) in zip(faces.pictures, marks[:, 30])])
    groups = (yaw < -0.14, yaw > 0.14, (tone < 90) & male, (tone < 90) & ~male, (tone > 130) & ~male & (np.abs(yaw) < 0.1) & young)
    rng = np.random.default_rng(11)
    rows = np.concatenate([rng.choice(np.flatnonzero(group & bare), 2, replace=False) for group in groups])
    drawn = [drawings.draw(kind, faces.pictures[row], marks[row], look(kind, int(row))) for row in rows]
    pairs = [np.hstack([faces.pictures[row], drawing.picture]) for row, drawing in zip(rows, drawn)]
    OUTPUT.mkdir(exist_ok=True)
    sheet = np.vstack([np.hstack(pairs[i : i + 2]) for i in range(0, 10, 2)])
    cv2.imwrite(str(OUTPUT / f"drawing_{kind}.png"), sheet[..., ::-1])
    assert sum(drawing.mask.max() > 0.3 for drawing in drawn) >= 8
