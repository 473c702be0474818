"""One face through a video: gaps, cuts, jumps, short shots, who is meant; on painted frames with a stand-in detector."""

from __future__ import annotations

import numpy as np
import pytest

from dva_core.errors import DVAError
from dva_core.faces.track import FOUND, INTERPOLATED, MISSING, track_faces
from dva_core.faces.types import Face

from .painted import ANNA, BERT, HEIGHT, WIDTH, Frame, PaintedDetector, centres, embed_fn, flat, follow, landmarker, painted, points5


def test_a_moving_face_is_found_in_every_frame():
    detector = PaintedDetector()
    track = follow([painted((ANNA, 60 + 3 * n, 90, 40)) for n in range(50)], detector)
    assert track.report() == {
        "frames": 50, "found": 50, "interpolated": 0, "missing": 0, "segments": 1, "scene_cuts": 0, "other_faces_seen": 0,
    }  # fmt: skip
    assert track.landmarks.dtype == np.float32 and track.quads.dtype == np.float64 and track.state.dtype == np.uint8
    np.testing.assert_allclose(np.diff(centres(track)[8:-8, 0]), 3, atol=0.2)
    assert np.median(detector.pixels) < 0.5 * HEIGHT * WIDTH  # it looked around the last place only


def test_a_followed_face_is_looked_for_at_its_size():
    extents = []

    class Sized(PaintedDetector):
        def detect_sized(self, rgb, extent):
            extents.append(extent)
            return self.detect(rgb)

    assert follow([painted((ANNA, 60 + 3 * n, 90, 2 * (20 + n))) for n in range(12)], Sized()).report()["found"] == 12
    assert extents == [2.0 * (20 + n) for n in range(11)]  # in each frame but the first, as large as in the one before


def test_a_short_gap_is_interpolated():
    pictures = [painted((ANNA, 100 + 2 * n, 90, 40)) if not 20 <= n < 26 else painted() for n in range(40)]
    track = follow(pictures)
    assert (track.state[20:26] == INTERPOLATED).all() and (np.delete(track.state, range(20, 26)) == FOUND).all()
    full = follow([painted((ANNA, 100 + 2 * n, 90, 40)) for n in range(40)])
    np.testing.assert_allclose(track.landmarks, full.landmarks, atol=0.6)
    assert track.segments() == [(0, 40)] and (track.scores[20:26] == 0).all()


def test_a_long_gap_and_the_ends_stay_missing():
    there = [n in range(5, 20) or n in range(40, 55) for n in range(60)]
    track = follow([painted((ANNA, 100 if n < 30 else 130, 90, 40)) if ok else painted() for n, ok in enumerate(there)])
    assert np.array_equal(track.state == FOUND, there) and (track.state != INTERPOLATED).all()
    assert track.segments() == [(5, 20), (40, 55)]
    assert np.isnan(track.quads[~np.array(there)]).all() and np.isnan(track.landmarks[~np.array(there)]).all()
    assert np.ptp(centres(track)[5:20], axis=0).max() < 1e-6 and np.ptp(centres(track)[40:55], axis=0).max() < 1e-6  # no glide


def test_max_gap_is_the_longest_gap_filled():
    pictures = [painted() if 10 <= n < 15 else painted((ANNA, 100, 90, 40)) for n in range(30)]
    assert follow(pictures, max_gap=5).report()["interpolated"] == 5
    assert follow(pictures, max_gap=4).report()["missing"] == 5


def test_a_cut_ends_the_segment_and_the_square_does_not_glide():
    pictures = [painted((ANNA, 100, 90, 40)) for _ in range(15)] + [painted((ANNA, 112, 95, 44), scene=1) for _ in range(15)]
    track = follow(pictures)
    assert track.segments() == [(0, 15), (15, 30)] and track.scene_cuts == (15,)
    assert np.ptp(centres(track)[:15], axis=0).max() < 1e-6 and np.ptp(centres(track)[15:], axis=0).max() < 1e-6


def test_a_gap_is_not_filled_across_a_cut():
    pictures = [painted((ANNA, 100, 90, 40)) for _ in range(15)] + [painted()] * 2
    pictures += [painted(scene=1)] * 2 + [painted((ANNA, 100, 90, 40), scene=1) for _ in range(15)]
    track = follow(pictures)
    assert (track.state[15:19] == MISSING).all() and track.segments() == [(0, 15), (19, 34)]


def test_a_leap_of_the_only_face_starts_a_new_segment_at_once():
    track = follow([painted((ANNA, 60 if n < 15 else 240, 90, 40)) for n in range(30)])
    assert track.segments() == [(0, 15), (15, 30)] and track.report()["missing"] == 0


def test_the_largest_at_a_place_or_by_reference():
    pictures = [painted((ANNA, 70, 90, 40), (BERT, 240, 90, 60)) for _ in range(20)]
    assert centres(follow(pictures))[:, 0].min() > 200
    assert follow(pictures).other_faces_seen == 1
    assert centres(follow(pictures, choice=("position", 0.2, 0.5)))[:, 0].max() < 100
    assert centres(follow(pictures, choice=("reference", np.array([1.0, 0.0]), embed_fn)))[:, 0].max() < 100


def test_another_person_is_not_taken_for_a_lost_one():
    pictures = [painted((ANNA, 70, 90, 60), (BERT, 240, 90, 40)) for _ in range(20)]
    pictures += [painted((BERT, 240, 90, 40)) for _ in range(30)] + [painted((ANNA, 150, 90, 60), (BERT, 240, 90, 40)) for _ in range(20)]
    track = follow(pictures, embed_fn=embed_fn)
    assert track.segments() == [(0, 20), (50, 70)] and (track.state[20:50] == MISSING).all()
    without = follow(pictures)  # who it is cannot be told: never within the gap, the rule's choice after it
    assert (without.state[20:33] == MISSING).all() and without.state[40] == FOUND


def test_another_person_at_the_same_place_much_later_is_not_taken_either():
    pictures = [painted((ANNA, 100, 90, 60))] * 10 + [painted()] * 20 + [painted((BERT, 100, 90, 60))] * 5
    assert follow(pictures, embed_fn=embed_fn).segments() == [(0, 10)]


def test_the_same_person_after_a_cut():
    pictures = [painted((ANNA, 100, 90, 60)) for _ in range(15)] + [painted((BERT, 100, 90, 60), scene=1) for _ in range(15)]
    pictures += [painted((ANNA, 200, 90, 40), (BERT, 80, 90, 60), scene=2) for _ in range(15)]
    track = follow(pictures, embed_fn=embed_fn)
    assert track.segments() == [(0, 15), (30, 45)] and centres(track)[35, 0] > 180
    assert follow(pictures).report()["found"] == 45


def test_the_track_says_who_was_seen_when():
    def picture(n):
        anna, bert = [(ANNA, 70, 90, 60)] * (not 20 <= n < 40), [(BERT, 240, 90, 40)] * (12 <= n < 50)
        return painted(*anna, *bert)

    track = follow([picture(n) for n in range(60)], embed_fn=embed_fn)
    assert track.seen(12) == {
        "seen": [[0, 19], [40, 59]],
        "others": [[12, 48]],
    }  # those are looked for now and then
    assert follow([painted()] * 3).seen() == {"seen": [], "others": []}


def test_two_faces_that_meet_are_told_apart():
    pictures = [painted((BERT, 150, 92, 40), (ANNA, 60 + 6 * n, 90, 40)) for n in range(40)]
    track = follow(pictures, choice=("reference", np.array([1.0, 0.0]), embed_fn))
    assert centres(track)[-3, 0] > 260


def test_a_position_means_the_face_that_comes_there_not_the_one_that_is_elsewhere():
    pictures = [painted((ANNA, 60, 90, 40), *([(BERT, 240, 90, 40)] if n >= 20 else [])) for n in range(60)]
    track = follow(pictures, choice=("position", 0.75, 0.5), embed_fn=embed_fn)
    assert centres(track)[24:, 0].min() > 200 and (track.state[:20] == MISSING).all() and (track.state[24:] == FOUND).all()
    nobody_there = follow(pictures[:20], choice=("position", 0.75, 0.5))
    assert nobody_there.report()["found"] == 20  # the nearest will do


def test_the_largest_may_come_a_moment_later():
    pictures = [painted((ANNA, 60, 40, 30), *([(BERT, 200, 100, 70)] if n >= 6 else [])) for n in range(60)]
    track = follow(pictures, embed_fn=embed_fn)
    assert centres(track)[12:, 0].min() > 180 and (track.state[:6] == MISSING).all() and (track.state[12:] == FOUND).all()


def test_a_close_up_of_somebody_else_later_or_after_a_cut_does_not_take_over():
    late = [painted((ANNA, 60, 40, 30), *([(BERT, 200, 100, 70)] if n >= 130 else [])) for n in range(160)]
    assert centres(follow(late, embed_fn=embed_fn))[:, 0].max() < 100
    cut = [painted((ANNA, 60, 40, 30)) for _ in range(12)] + [painted((ANNA, 60, 40, 30), (BERT, 200, 100, 70), scene=1)] * 24
    assert centres(follow(cut, embed_fn=embed_fn))[:, 0].max() < 100


def test_somebody_else_in_the_very_same_place_is_not_the_one_followed():
    """A split screen: the rest of the frame does not change."""
    who = [ANNA] * 15 + [BERT] * 20 + [ANNA] * 15
    track = follow([flat((person, 100, 90, 60)) for person in who], embed_fn=embed_fn)
    assert track.scene_cuts == () and (track.state[15:35] == MISSING).all() and track.segments() == [(0, 15), (35, 50)]
    brief = follow([flat((BERT if n == 20 else ANNA, 100, 90, 60)) for n in range(40)], embed_fn=embed_fn)
    assert brief.state[20] == INTERPOLATED and brief.segments() == [(0, 40)]  # what a flash of light would be


def test_a_face_that_changes_before_anyone_is_known_begins_anew():
    track = follow([flat((ANNA if n < 3 else BERT, 100, 90, 60)) for n in range(20)], embed_fn=embed_fn)
    assert track.segments() == [(0, 3), (3, 20)]


def test_nobody_matches_the_reference():
    with pytest.raises(DVAError, match=r"best similarity 0\.00, 0\.40 needed"):
        follow([painted((BERT, 100, 90, 40)) for _ in range(5)], choice=("reference", np.array([1.0, 0.0]), embed_fn))


def test_a_false_alarm_of_one_frame_is_dropped():
    pictures = [painted()] * 5 + [painted((BERT, 40, 40, 30))] + [painted()] * 20 + [painted((ANNA, 200, 90, 40)) for _ in range(20)]
    track = follow(pictures, embed_fn=embed_fn)
    assert track.segments() == [(26, 46)] and track.state[5] == MISSING and np.isnan(track.quads[5]).all()


def test_one_frame_and_none():
    assert follow([painted((ANNA, 100, 90, 40))]).segments() == [(0, 1)]
    assert follow([painted()] * 3).report()["missing"] == 3
    empty = follow([])
    assert empty.segments() == [] and empty.quads.shape == (0, 4, 2) and empty.report()["frames"] == 0


def test_implausible_landmarks_count_as_not_found():
    track = track_faces([Frame(0, painted((ANNA, 100, 90, 40)))], PaintedDetector(), lambda rgb, face: landmarker(rgb, face) + [200, 0])
    assert track.report()["missing"] == 1


def test_progress_may_cancel():
    seen = []

    def progress(done):
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow([painted((ANNA, 100, 90, 40))] * 10, progress=progress)
    assert seen == [1, 2, 3]


def test_frames_are_streamed():
    alive = []

    class Once(Frame):
        def __init__(self, index):
            super().__init__(index, painted((ANNA, 100, 90, 40)))
            alive.append(index)

        def __del__(self):
            alive.remove(self.index)

    most = 0

    def progress(done):
        nonlocal most
        most = max(most, len(alive))

    track_faces((Once(n) for n in range(20)), PaintedDetector(), landmarker, progress=progress)
    assert most <= 2


class Unsteady(PaintedDetector):
    """Its look at the whole frame gives a larger box than its look at a face of known size, as a real one's does."""

    def detect(self, rgb):
        return [Face((f.box[0] - 16, f.box[1] - 20, f.box[2] + 16, f.box[3] + 20), f.score, points5(f.box)) for f in super().detect(rgb)]

    def detect_sized(self, rgb, extent):
        return [Face(f.box, f.score, points5(f.box)) for f in super().detect(rgb)]


def by_points(rgb: np.ndarray, face: Face) -> np.ndarray:
    """68 points in their places, whatever the box: what `Unsteady` finds is where its five points are."""
    eyes = face.points5[1] - face.points5[0]
    return landmarker(
        rgb, Face((*(face.points5[0] - eyes[0] * np.array([0.75, 1.0])), *(face.points5[0] + eyes[0] * np.array([1.75, 1.5]))), 1.0)
    )


@pytest.mark.parametrize("identity", [None, embed_fn])
def test_a_box_of_another_size_is_not_another_face(identity):
    pictures = [flat((ANNA, 100, 90, 60))] * 20
    track = track_faces([Frame(n, rgb) for n, rgb in enumerate(pictures)], Unsteady(), by_points, embed_fn=identity)
    assert track.segments() == [(0, 20)] and track.report()["found"] == 20


@pytest.mark.parametrize("first", [1, 2])
def test_first_frames_that_look_different_are_kept(first):
    """A light that goes on: the face is another picture, at the same place."""
    pictures = [flat((BERT if n < first else ANNA, 100, 90, 60)) for n in range(20)]
    for identity in (None, embed_fn):
        assert follow(pictures, embed_fn=identity).segments() == [(0, 20)]


@pytest.mark.parametrize("frames", [1, 2])
def test_short_shots_are_kept(frames):
    """A video of which every 14th frame is taken has shots of one frame."""
    shots = [painted((ANNA, 60 + 20 * n, 90, 40), scene=n) for n in range(6) for _ in range(frames)] + [
        painted((ANNA, 60, 90, 40), scene=9)
    ] * 9
    for identity in (None, embed_fn):
        assert (follow(shots, embed_fn=identity).state == FOUND).all()


def test_a_face_hidden_soon_after_the_start_is_kept_where_it_is_known_again():
    pictures = [painted((ANNA, 100, 90, 40))] * 2 + [painted()] * 20 + [painted((ANNA, 200, 90, 40))] * 20
    assert follow(pictures, embed_fn=embed_fn).segments() == [(0, 2), (22, 42)]
    assert follow(pictures).segments() == [(22, 42)]  # who it is cannot be told
