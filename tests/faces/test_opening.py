"""What is drawn where an edit opens a mouth or closes eyes."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.edit.shapes import SHAPES
from dva_core.faces.opening import SMILE, TEETH, TONGUE, draw_motion, gaps, part_lips
from dva_core.faces.regions import MEAN_FACE

FACE = MEAN_FACE[17:].astype(np.float64)
SIZE = 200


def with_gap(face: np.ndarray, gap: float) -> np.ndarray:
    """The face with the lips so far apart, in widths of the mouth."""
    points = face.copy()
    width = points[47, 0] - points[43, 0]
    points[44:47, 1] = points[45, 1]
    points[48:51, 1] = points[45, 1] + gap * width
    return points


def test_nothing_is_drawn_where_nothing_opens_or_closes():
    face = with_gap(FACE, 0.1)
    assert draw_motion(face, face, SIZE) is None
    assert draw_motion(face, with_gap(face, 0.12), SIZE) is None
    assert draw_motion(face, face + (0.02, 0.03), SIZE) is None
    assert draw_motion(with_gap(FACE, 0.5), face, SIZE) is None  # a mouth that closes


def test_a_mouth_that_opens_is_dark_with_teeth():
    face, after = with_gap(FACE, 0.1), with_gap(FACE, 0.5)
    drawn = draw_motion(face, after, SIZE)
    shown = 0.8 + drawn[:3] + drawn[3:] * 0.8  # on skin
    x = int(after[[43, 47], 0].mean() * SIZE)
    top, bottom = (int(after[row, 1] * SIZE) for row in (45, 49))
    column = (shown[:, :, x].mean(0) + 1) * 127.5
    hollow, teeth = column[round(top + 0.45 * (bottom - top))], column[top : top + (bottom - top) // 3].max()
    assert hollow < 45 and 100 < teeth < np.mean(TEETH)
    assert column[top - 8] > 220 and column[bottom + 8] > 220  # nothing beyond the lips
    half = draw_motion(face, after, SIZE, light=0.5)
    np.testing.assert_array_equal(half[3:], drawn[3:])
    np.testing.assert_allclose(half[:3] - half[3:], (drawn[:3] - drawn[3:]) / 2, atol=1e-6)


def test_a_tongue_lies_in_the_lower_half():
    face, after = with_gap(FACE, 0.1), with_gap(FACE, 0.6)
    drawn = draw_motion(face, after, SIZE)
    colour = (drawn[:3] - drawn[3:]) * 127.5
    x = int(after[[43, 47], 0].mean() * SIZE)
    top, bottom = (int(after[row, 1] * SIZE) for row in (45, 49))
    middle, low = (colour[:, round(top + share * (bottom - top)), x] for share in (0.5, 0.92))
    assert low[0] > 1.5 * low[1] and low[0] > 2 * middle[0] and low[0] == pytest.approx(TONGUE[0], rel=0.2)


def test_the_lips_of_a_wide_smile_part_over_teeth():
    face = with_gap(FACE, 0.1)
    smile = part_lips(face, 1.0)
    assert gaps(smile[None])[0] > gaps(face[None])[0] + 0.08
    corners = smile[[31, 37]] - face[[31, 37]]
    assert corners[0, 0] < 0 < corners[1, 0] and (corners[:, 1] < 0).all()
    np.testing.assert_array_equal(part_lips(face, 0.0), face)
    np.testing.assert_array_equal(smile[:31], face[:31])  # nothing but the mouth
    drawn = draw_motion(face, smile, SIZE, smile=True)
    x, y = smile[[44, 45, 46, 48, 49, 50]].mean(0) * SIZE
    teeth = (drawn[:3] - drawn[3:])[:, int(y), int(x) - 8 : int(x) + 9] * 127.5
    assert teeth.mean() > 0.8 * np.mean(SMILE) and teeth.max() <= max(SMILE)
    assert (drawn[3:, int(y), int(x)] < -0.95).all()


def test_what_is_drawn_is_in_the_colour_of_the_light():
    face, after = with_gap(FACE, 0.1), with_gap(FACE, 0.5)
    white, warm = (draw_motion(face, after, SIZE, light=light) for light in (1.0, np.array([1.0, 0.8, 0.5])))
    np.testing.assert_allclose(warm[:3] - warm[3:], (white[:3] - white[3:]) * np.reshape([1.0, 0.8, 0.5], (3, 1, 1)), atol=1e-6)


def test_what_was_open_is_seen_itself():
    after = with_gap(FACE, 0.6)
    x = int(after[[43, 47], 0].mean() * SIZE)
    top, bottom = (int(after[row, 1] * SIZE) for row in (45, 49))
    drawn = draw_motion(with_gap(FACE, 0.35), after, SIZE)
    upper, lower = (-drawn[3:, round(top + share * (bottom - top)), x].mean() for share in (0.15, 0.8))
    assert upper < 0.1 and lower > 0.95
    assert (drawn[1:3] - drawn[4:]).max() < 2 * max(TONGUE[1:]) / 255 + 0.01  # and no teeth beside the own ones
    assert draw_motion(with_gap(FACE, 0.5), with_gap(FACE, 0.52), SIZE) is None


@pytest.mark.parametrize(("name", "dark"), [("Closed_Eyes", (True, True)), ("Wink_Right", (False, True))])
def test_closed_eyes_have_lashes(name, dark):
    shift = SHAPES[name].move(FACE)
    drawn, half = draw_motion(FACE, FACE + shift, SIZE), draw_motion(FACE, FACE + 0.4 * shift, SIZE)
    assert half is None
    for rows, seen in zip((range(19, 25), range(25, 31)), dark):
        x, y = np.int32((FACE + shift)[list(rows)].mean(0) * SIZE)
        assert (drawn[3:, y - 8 : y + 8, x - 4 : x + 4].min() < -0.5) == seen
    assert not drawn[3:, int(0.66 * SIZE) :].any()


def test_gaps_are_in_widths_of_the_mouth():
    faces = np.stack([with_gap(FACE, 0.0), with_gap(FACE, 0.3), with_gap(FACE, 0.3) * 0.4])
    np.testing.assert_allclose(gaps(faces), [0, 0.3, 0.3], atol=1e-9)
    assert np.isfinite(gaps(np.zeros((1, 51, 2)))).all()
