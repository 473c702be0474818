"""One face through a video: gaps, cuts, jumps, two people; on painted frames with a stand-in detector, then on a real video."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from dva_core.errors import DVAError
from dva_core.faces import align
from dva_core.faces.finder import FaceFinder
from dva_core.faces.landmarker import CropLandmarker
from dva_core.faces.search import detect_around, detect_turned
from dva_core.faces.segments import spans
from dva_core.faces.track import FOUND, INTERPOLATED, MISSING, SceneCuts, track_faces
from dva_core.faces.types import Face
from dva_core.model.loader import load_model
from dva_core.video import open_video

HEIGHT, WIDTH = 180, 320
ANNA, BERT = 60, 180  # faces are rectangles of the colour (255, 0, who)


@dataclass
class Frame:
    index: int
    rgb: np.ndarray


def painted(*faces: tuple[int, float, float, float], scene: int = 0) -> np.ndarray:
    """A frame of a scene (its own grey pattern) with faces (who, centre x, centre y, size)."""
    small = np.random.default_rng(scene).integers(0, 255, (6, 10, 1), np.uint8)
    rgb = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)[..., None].repeat(3, 2)
    for who, x, y, size in faces:
        x0, y0, x1, y1 = (round(v) for v in (x - size / 2, y - size / 2, x + size / 2, y + size / 2))
        rgb[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = [255, 0, who]
    return rgb


def flat(*faces: tuple[int, float, float, float]) -> np.ndarray:
    """A frame of one grey with faces as different as black and white."""
    rgb = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for face in faces:
        there = (painted(face) == [255, 0, face[0]]).all(-1)
        rgb[there] = [255, 0, face[0]]
    return rgb


class PaintedDetector:
    """Finds the painted faces, and counts the pixels it was shown."""

    def __init__(self):
        self.pixels = []

    def detect(self, rgb: np.ndarray) -> list[Face]:
        self.pixels.append(rgb.shape[0] * rgb.shape[1])
        found = []
        for who in (ANNA, BERT):
            y, x = np.nonzero((rgb == [255, 0, who]).all(-1))
            if len(x) > 30:
                found.append(Face((float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)), 0.9))
        return found


def landmarker(rgb: np.ndarray, face: Face) -> np.ndarray:
    x0, y0, x1, y1 = face.box
    return np.array([x0, y0]) + face_points() * [x1 - x0, y1 - y0]


def face_points() -> np.ndarray:
    """68 points in 0..1 of a box, symmetric where it matters."""
    points = np.full((68, 2), 0.5)
    points[36:42], points[42:48] = [0.3, 0.4], [0.7, 0.4]
    points[48], points[54] = [0.35, 0.75], [0.65, 0.75]
    return points


def embed_fn(crops: np.ndarray) -> np.ndarray:
    """One axis a person, by the colour in the middle of the crop."""
    who = crops[:, 120:136, 120:136, 2].astype(float).mean((1, 2))
    return np.stack([np.abs(who - ANNA) < 30, np.abs(who - BERT) < 30], 1).astype(float)


def follow(pictures: list[np.ndarray], detector=None, **options):
    return track_faces((Frame(i, rgb) for i, rgb in enumerate(pictures)), detector or PaintedDetector(), landmarker, **options)


def centres(track) -> np.ndarray:
    return track.quads.mean(1)


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


def test_spans():
    assert spans([]) == [] and spans([3]) == [[3, 3]]
    assert spans([0, 1, 2, 5, 6, 9]) == [[0, 2], [5, 6], [9, 9]] and spans([0, 1, 2, 5, 6, 9], 3) == [[0, 9]]


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


def test_fast_motion_is_not_a_cut():
    scene, base = SceneCuts(), painted(scene=3)
    assert max(scene(np.roll(base, 4 * n, axis=1)) for n in range(20)) < 1
    assert scene(painted(scene=4)) >= 1


def test_a_scene_that_keeps_moving_wildly_is_not_cut_over_and_over():
    scene = SceneCuts()
    changes = [scene(np.full((36, 64, 3), 100 + 20 * (n % 2), np.uint8)) for n in range(20)]
    assert max(changes[5:]) < 1 <= changes[1]


# ---- never the wrong person


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


# ---- segments that are short, boxes that differ, heads that are turned


class Unsteady(PaintedDetector):
    """Its look at the whole frame gives a larger box than its look at a face of known size, as a real one's does."""

    def detect(self, rgb):
        return [Face((f.box[0] - 16, f.box[1] - 20, f.box[2] + 16, f.box[3] + 20), f.score, points5(f.box)) for f in super().detect(rgb)]

    def detect_sized(self, rgb, extent):
        return [Face(f.box, f.score, points5(f.box)) for f in super().detect(rgb)]


def points5(box) -> np.ndarray:
    points = landmarker(None, Face(box, 1.0))
    return np.stack([points[36], points[42], points[30], points[48], points[54]])


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


class Turnable(PaintedDetector):
    """Sees a face in every rectangle, and takes it for upright whichever way it is turned."""

    def detect(self, rgb):
        return [Face(face.box, face.score, points5(face.box)) for face in super().detect(rgb)]


class TurnableLandmarker:
    """Points from the five of the detector; sure of them where the rectangle's bright edge, its brow, is above them."""

    def __call__(self, rgb, face):
        left, right = face.points5[0], face.points5[1]
        x = right - left
        frame = np.stack([x, align.turn(x)])
        return (left + (face_points() - [0.3, 0.4]) @ frame / 0.4).astype(np.float32)

    def doubt(self, rgb, landmarks):
        quad = align.quad_from_landmarks(landmarks)
        column, row = (quad[0] + quad[3]) / 2 * 0.55 + quad.mean(0) * 0.45
        return 0.005 if rgb[int(row), int(column), 1] == 77 else 0.04


def with_brow(turns: int, faces: int = 1) -> np.ndarray:
    """Faces with a dark edge at their upper side, the frame turned clockwise by so many quarters."""
    rgb = flat((ANNA, 90, 90, 60))
    rgb[40:60, 60:120] = [90, 77, 90]
    return np.ascontiguousarray(np.rot90(rgb, -turns))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_head_that_lies_or_hangs_gets_a_square_that_is_turned_with_it(turns):
    frames = [Frame(n, with_brow(turns)) for n in range(30)]
    track = track_faces(frames, Turnable(), TurnableLandmarker(), embed_fn=lambda crops: np.ones((len(crops), 2)))
    assert (track.state == FOUND).all() and track.segments() == [(0, 30)]
    down = track.quads[:, 1] - track.quads[:, 0]
    expected = {0: (0, 1), 1: (-1, 0), 2: (0, -1), 3: (1, 0)}[turns]
    np.testing.assert_allclose(down / np.linalg.norm(down, axis=1)[:, None], np.broadcast_to(expected, (30, 2)), atol=1e-6)


@pytest.mark.parametrize("turned", [0.0, 40.0, 90.0, -135.0, 180.0])
def test_a_window_turned_with_the_face_finds_it_in_its_place(turned):
    class Corner:
        """Reports the brightest pixel as a face's centre."""

        def detect(self, rgb):
            y, x = np.unravel_index(rgb[..., 0].argmax(), rgb.shape[:2])
            at = np.array([x + 0.5, y + 0.5])
            return [Face((*(at - 10), *(at + 10)), 0.9, at + np.array([[0, 0], [10, 0], [0, 10], [-10, 0], [0, -10]], float))]

    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[70, 150] = 255
    (face,) = detect_around(Corner(), rgb, (120, 50, 170, 100), turned)
    np.testing.assert_allclose(face.centre, (150.5, 70.5), atol=1.0)
    right = face.points5[1] - face.points5[0]
    assert np.degrees(np.arctan2(right[1], right[0])) % 360 == pytest.approx(turned % 360)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 0.5, 2.5])
def test_faces_of_a_turned_frame_come_back_to_their_place(turns):
    rgb = painted((ANNA, 100, 60, 40))
    faces = detect_turned(PaintedDetector().detect, rgb, turns)
    expected = PaintedDetector().detect(rgb)[0]
    assert faces and (len(faces) == 1 or turns % 1)
    if turns % 1:
        np.testing.assert_allclose(max(faces, key=lambda face: face.area).centre, expected.centre, atol=1.5)
    else:
        assert faces[0].box == expected.box


@pytest.mark.parametrize("degrees", [45, 135])
def test_a_head_that_leans_by_an_eighth_is_found_and_followed(shared, degrees):
    finder = FaceFinder.of(load_model("starter", device="cpu"))
    turn = cv2.getRotationMatrix2D((180, 144), -degrees, 1) + [[0, 0, 50], [0, 0, 86]]
    with open_video(shared("data/clips/swiz3n.mpg"), length=0.2) as reader:
        frames = [Frame(n, cv2.warpAffine(frame.rgb, turn, (460, 460))) for n, frame in enumerate(reader)]
    track = track_faces(frames, finder.detector, finder.landmarker, embed_fn=finder.embed, same_person=finder.same_person)
    assert len(frames) == 5 and (track.state == FOUND).all()
    down = track.quads[:, 1] - track.quads[:, 0]
    assert np.abs(np.degrees(np.arctan2(-down[:, 0], down[:, 1])) - degrees).max() < 5


# ---- a real video


class Yunet:
    def __init__(self, path):
        self.path = str(path)

    def detect(self, rgb):
        height, width = rgb.shape[:2]
        k = 320 / max(height, width)
        image = np.ascontiguousarray(cv2.resize(rgb, (round(width * k), round(height * k)))[..., ::-1])
        rows = cv2.FaceDetectorYN.create(self.path, "", image.shape[1::-1], 0.7).detect(image)[1]
        rows = [] if rows is None else rows
        return [Face((r[0] / k, r[1] / k, (r[0] + r[2]) / k, (r[1] + r[3]) / k), float(r[14]), r[4:14].reshape(5, 2) / k) for r in rows]


def test_a_real_video_with_the_teachers(shared):
    av, ort = pytest.importorskip("av"), pytest.importorskip("onnxruntime")
    detector, model = Yunet(shared("data/teachers/yunet.onnx")), shared("data/teachers/landmark68.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    network = ort.InferenceSession(str(model), options)

    def points_fn(crops):  # the teacher wants a tight square: x 26..102, y 42..118 of 128
        tight = np.stack([cv2.resize(crop[42:118, 26:102], (112, 112)) for crop in crops]).astype(np.float32)
        return (network.run(None, {"rgb": tight.transpose(0, 3, 1, 2)})[0] * 76 + [26, 42]) / 128

    with av.open(str(shared("data/clips/swiz3n.mpg"))) as decomposition:
        pictures = [frame.to_ndarray(format="rgb24") for frame in decomposition.decode(video=0)]
    with np.load(shared("data/clips/annotations.npz")) as data:
        expected = data["swiz3n/landmarks68"]
    track = track_faces((Frame(n, rgb) for n, rgb in enumerate(pictures)), detector, CropLandmarker(points_fn))
    assert track.report()["found"] == track.report()["frames"] == 75 and track.segments() == [(0, 75)]
    assert np.linalg.norm(track.landmarks - expected, axis=-1).mean() < 2.5  # pixels, on a square 220 wide
    raw = align.quad_from_landmarks(track.landmarks)
    assert np.abs(np.diff(track.quads, 2, axis=0)).mean() < 0.25 * np.abs(np.diff(raw, 2, axis=0)).mean()
