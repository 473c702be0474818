"""Never the wrong person: two people who cross, stay, leave, pass in front; on painted frames."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.faces.track import FOUND, INTERPOLATED, MISSING

from .painted import ANNA, BERT, WIDTH, PaintedDetector, centres, embed_fn, flat, follow


def alike(crops: np.ndarray) -> np.ndarray:
    """Two people who resemble each other by more than the usual limit; any other colour is nobody."""
    vectors = embed_fn(crops)
    return vectors @ np.array([[1.0, 0.0], [0.6, 0.8]]) + np.array([0, 0.01]) * (vectors.sum(1) == 0)[:, None]


def crossing(front: int, steps: int = 40, speed: float = 6.0) -> list[np.ndarray]:
    """Anna goes to the right and Bert to the left; one of them passes in front."""
    people = [(ANNA, 40 + speed * n, 90, 40) for n in range(steps)], [(BERT, 280 - speed * n, 92, 40) for n in range(steps)]
    return [flat(*(pair if front == BERT else pair[::-1])) for pair in zip(*people)]


@pytest.mark.parametrize("front", [ANNA, BERT])
def test_two_people_who_cross_are_not_taken_for_each_other(front):
    """Also where the second comes to the position at which the first was chosen."""
    track = follow(crossing(front), choice=("position", 40 / WIDTH, 0.5), embed_fn=alike)
    there = track.state != MISSING
    np.testing.assert_allclose(centres(track)[there, 0], (40 + 6.0 * np.arange(40))[there], atol=4)
    assert track.seen(12)["others"] == [[0, 36]]  # Bert, in front too; the last look at the whole frame was that of frame 36
    assert there[:14].all() and there[-10:].all() and (there.all() or front == BERT)


def test_somebody_who_passes_in_front_is_not_painted():
    """Few frames: as many as would be filled were nobody there."""
    pictures = [flat((ANNA, 160, 90, 40), *([(BERT, 400 - 20 * n, 90, 44)] if n < 24 else [])) for n in range(40)]
    track = follow(pictures, choice=("position", 0.5, 0.5), embed_fn=alike)
    hidden = [n for n, rgb in enumerate(pictures) if (rgb == [255, 0, ANNA]).all(-1).sum() < 200]
    assert len(hidden) <= 4 and (track.state[hidden] == MISSING).all()
    assert (track.state[:10] == FOUND).all() and (track.state[16:] == FOUND).all()
    assert not track.starts[[n for n in range(40) if track.state[n] == MISSING]].any() and len(track.segments()) == 2
    assert track.starts[track.segments()[1][0]]  # nothing is softened over the gap


@pytest.mark.parametrize("other", [True, False])
def test_a_head_turned_away_is_not_painted_where_others_are_there(other):
    def picture(n):
        rgb = flat((ANNA, 100, 90, 60), *([(BERT, 220, 90, 50)] if other else []))
        rgb[(rgb == [255, 0, ANNA]).all(-1)] = [40, 30, 30] if 20 <= n < 26 else [255, 0, ANNA]
        return rgb

    track = follow([picture(n) for n in range(40)], embed_fn=embed_fn)
    assert (track.state[20:26] == (MISSING if other else INTERPOLATED)).all() and (np.delete(track.state, range(20, 26)) == FOUND).all()


@pytest.mark.parametrize("away", [6, 30])
def test_one_leaves_and_the_other_who_stays_is_not_taken_however_alike(away):
    """Next to each other and of one size; the one who comes back is known again."""
    pictures = [flat(*([(ANNA, 110, 90, 50)] if not 20 <= n < 20 + away else []), (BERT, 168, 90, 50)) for n in range(60)]
    track = follow(pictures, choice=("position", 110 / WIDTH, 0.5), embed_fn=alike)
    assert (track.state[20 : 20 + away] == MISSING).all() and (np.delete(track.state, range(20, 20 + away)) == FOUND).all()
    assert centres(track)[np.isfinite(centres(track)[:, 0]), 0].max() < 120


def test_what_was_painted_of_the_wrong_person_is_taken_back():
    """The picture of the face does not change and so does not tell; the look at the whole frame does."""

    def embedded(crops):
        return alike(np.where((crops == [255, 0, ANNA + 4]).all(-1)[..., None], [255, 0, BERT], crops))

    class Detector(PaintedDetector):
        def detect(self, rgb):
            return super().detect(np.where((rgb == [255, 0, ANNA + 4]).all(-1)[..., None], [255, 0, ANNA], rgb).astype(np.uint8))

    def picture(n):
        who = (ANNA, 100, 90, 50), (BERT, 240, 90, 50)
        rgb = flat(*who)
        if n >= 30:  # somebody who looks like Anna to the eye, and who was seen before as Bert
            rgb[(rgb == [255, 0, ANNA]).all(-1)] = [255, 0, ANNA + 4]
        return rgb

    track = follow([picture(n) for n in range(60)], Detector(), choice=("position", 100 / WIDTH, 0.5), embed_fn=embedded)
    assert (track.state[:24] == FOUND).all() and (track.state[30:] == MISSING).all()
    assert track.seen(12)["others"] == [[0, 59]]


def test_a_mirror_is_not_somebody_else():
    """The same face twice: whoever looks like the person followed as much as that person does says nothing."""

    class Both(PaintedDetector):
        def detect(self, rgb):
            sides = rgb[:, : WIDTH // 2], rgb[:, WIDTH // 2 :]
            found = [face for side in sides[: 1 + (rgb.shape[1] == WIDTH)] for face in super(Both, self).detect(np.ascontiguousarray(side))]
            return found if rgb.shape[1] == WIDTH else super().detect(rgb)

    pictures = [flat((ANNA, 80, 90, 60), (ANNA, 240, 90, 40)) if not 20 <= n < 40 else flat((ANNA, 240, 90, 40)) for n in range(60)]
    assert (follow(pictures, Both(), embed_fn=alike).state[-15:] == FOUND).all()
