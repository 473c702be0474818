"""Several people from video to decomposition to video: in one pass each, and to each what they would get alone."""

from dataclasses import replace

import numpy as np
import pytest
from standin import HEIGHT, LEFT, WIDTH, use_two, write_two, write_video
from video_helpers import pictures

from dva_core.decomposition import Decomposition, People, combine, load_decomposition, pick
from dva_core.edit import apply_attributes, apply_operations, apply_switch
from dva_core.edit.expression import apply_expression, expression_direction
from dva_core.edit.text import apply_text
from dva_core.errors import DVAError
from dva_core.evaluate.consistency import measure_edit
from dva_core.evaluate.judges import own_judge
from dva_core.faces.choice import PeopleChoice
from dva_core.pipeline import decode, decode_crops, encode
from dva_core.pipeline.cache import encode_cached
from dva_core.pipeline.layers import PlacedFace, paste_all
from dva_core.pipeline.preview import nearest_row, stills
from dva_core.video import Frame, VideoInfo
from dva_core.video.frames import Frames

STEPS = 2


pytestmark = pytest.mark.usefixtures("finder_of_two")


@pytest.fixture(scope="module")
def encoded(two, model):
    with pytest.MonkeyPatch.context() as patch:
        use_two(patch)
        return encode(two, model, face="all", steps=STEPS, batch_size=3)


def test_everybody_is_followed_with_arrays_of_their_own(encoded, two):
    assert isinstance(encoded, People) and [one.info.person for one in encoded] == [1, 2]  # number 1 is seen longer
    assert [one.frame_index.tolist() for one in encoded] == [list(range(8)), list(range(6))]
    assert [one.info.track["seen"] for one in encoded] == [[[0, 7]], [[0, 5]]]
    assert encoded[0].quads.mean((0, 1))[0] == pytest.approx(LEFT, abs=3) and encoded[0].quads[0, 0, 0] < encoded[1].quads[0, 0, 0]
    assert (np.diff(encoded[0].z_id - encoded[1].z_id) != 0).any() and encoded.faces == 14


def test_each_is_what_they_are_alone(encoded, model, two):
    for number, one in enumerate(encoded, 1):
        alone = encode(two, model, face=(number,), steps=STEPS, batch_size=3)
        assert type(alone) is Decomposition
        tracks = [{key: value for key, value in d.info.track.items() if key != "others"} for d in (alone, one)]
        assert tracks[0] == tracks[1] and replace(alone.info, track={}) == replace(one.info, track={})
        for name in one.store.specs:
            np.testing.assert_array_equal(alone.store.read(name), one.store.read(name), err_msg=name)


@pytest.mark.parametrize("face", ["all", "1,2", (2, 1), [1, 2], PeopleChoice(None), '{"people": [1, 2], "names": {"2": "Bert"}}'])
def test_ways_to_say_who(face, model, two):
    people = encode(two, model, face=face, steps=1)
    assert [one.info.person for one in people] == [1, 2] and people[1].info.person_name == ("Bert" if "Bert" in str(face) else "")


def test_the_video_is_read_no_more_often_for_two_than_for_one(model, two, monkeypatch):
    reads = []
    iterate = Frames.__iter__
    monkeypatch.setattr(Frames, "__iter__", lambda self: (reads.append(1), iterate(self))[1])
    encode(two, model, face=(1,), steps=1)
    one = len(reads)
    decomposition = encode(two, model, face="all", steps=1)
    assert len(reads) == 2 * one == 6  # a survey, the tracks, the crops
    decode(decomposition, model, two.with_name("again.mkv"), codec="ffv1")
    assert len(reads) == 7


@pytest.mark.parametrize("where", ["memory", "file", "scratch"])
def test_wherever_the_arrays_lie(where, encoded, model, two, tmp_path, monkeypatch):
    monkeypatch.setattr("dva_core.pipeline.store.IN_MEMORY", 0 if where == "scratch" else 1 << 30)
    path = tmp_path / "two.safetensors" if where == "file" else None
    with encode(two, model, face="all", steps=STEPS, batch_size=3, path=path) as people:
        loaded = load_decomposition(path) if path else people
        for one, other in zip(loaded, encoded):
            assert one.info == other.info and len(one.store.in_memory()) == (len(one.store.specs) if where == "memory" else 0)
            for name in one.store.specs:
                np.testing.assert_array_equal(one.store.read(name), other.store.read(name), err_msg=name)


def test_an_edit_for_each_in_one_pass(encoded, model, two, tmp_path):
    edits = {1: {"Young": -0.8}, 2: {"Young": 0.9}}
    both = apply_attributes(apply_attributes(encoded, model, edits[1], person=1), model, edits[2], person="2")
    report = decode(both, model, tmp_path / "both.mkv", codec="ffv1")
    assert report.edited == [[0, 7]] and report.faces == 14
    assert {number: one["edited"] for number, one in report.people.items()} == {1: [[0, 7]], 2: [[0, 5]]}
    before, after = pictures(two), pictures(tmp_path / "both.mkv")
    alone = np.array(before)
    for number, one in enumerate(both, 1):  # far apart: each looks as if nobody else were there
        decode(one, model, tmp_path / f"{number}.mkv", codec="ffv1")
        changed = pictures(tmp_path / f"{number}.mkv")
        there = (changed != before).any(-1)
        alone[there] = changed[there]
    np.testing.assert_array_equal(after, alone)


def test_one_edit_means_everybody_and_can_be_repeated(encoded, model):
    edited = apply_attributes(encoded, model, {"Young": -0.5})
    assert all(len(one.operations) == 1 for one in edited)
    again = apply_operations(encoded, model, edited[0].operations, person=2)
    assert not again[0].is_edited and again[1].operations == edited[1].operations
    np.testing.assert_array_equal(again[1].current_z_id, edited[1].current_z_id)
    assert all(one.is_switched for one in apply_switch(encoded, model, noise_seed=3))


def test_two_branches_meet_again(encoded, model, two, tmp_path):
    first, second = pick(encoded, 1)
    first, second = apply_attributes(first, model, {"Young": -0.8}), apply_attributes(second, model, {"Young": 0.9})
    decode(combine(second, first), model, tmp_path / "a.mkv", codec="ffv1")
    both = apply_attributes(apply_attributes(encoded, model, {"Young": -0.8}, person=1), model, {"Young": 0.9}, person=2)
    decode(both, model, tmp_path / "b.mkv", codec="ffv1")
    np.testing.assert_array_equal(pictures(tmp_path / "a.mkv"), pictures(tmp_path / "b.mkv"))


def test_nothing_edited_changes_nothing(encoded, model, two, tmp_path):
    report = decode(encoded, model, tmp_path / "a.mkv", codec="ffv1")
    assert not report.edited and not any(one["edited"] for one in report.people.values())
    np.testing.assert_array_equal(pictures(tmp_path / "a.mkv"), pictures(two))


def test_watch_and_progress_count_everybody(encoded, model, tmp_path):
    seen, events = [], []
    edited = apply_attributes(encoded, model, {"Young": -0.8})
    decode(
        edited, model, tmp_path / "a.mkv", codec="ffv1", watch=lambda *event: seen.append(event), progress=lambda *e: events.append(e[:3])
    )
    assert [rows for _, rows, *_ in seen] == [[i, i if i < 6 else None] for i in range(8)]
    assert seen[7][4][1] is None and seen[0][4][1].shape == (3, 16, 16)
    assert all(total == 14 and done <= 14 for _, done, total in events) and events[-1][1] == 14


def test_progress_of_encoding_rises_and_can_cancel(model, two):
    events = []
    encode(two, model, face="all", steps=1, progress=lambda *event: events.append(event[:3]))
    for phase, total in (("track", 8), ("encode", 14)):
        told = [event[1:] for event in events if event[0] == phase]
        assert told == sorted(told, key=lambda event: event[0]) and told[-1] == (total, total)

    def cancel(phase, done, *_):
        if phase == "encode" and done > 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(two, model, face="all", steps=1, progress=cancel)


def test_what_stays_in_front_is_of_the_frames(encoded, model, two, tmp_path):
    edited = apply_attributes(encoded, model, {"Young": -0.8})
    keep = np.zeros((HEIGHT, WIDTH), np.float32)
    keep[:, : WIDTH // 2] = 1
    decode(edited, model, tmp_path / "a.mkv", codec="ffv1", keep=keep)
    before, after = pictures(two), pictures(tmp_path / "a.mkv")
    assert (after[:, :, : WIDTH // 2] == before[:, :, : WIDTH // 2]).all() and (after[:6] != before[:6]).any()
    with pytest.raises(DVAError, match="of face crops, and here are 2 faces"):
        decode(edited, model, tmp_path / "b.mkv", codec="ffv1", keep=np.zeros((32, 32)))


def test_the_larger_face_is_in_front():
    """Two squares that overlap: where the nearer one's face is, nothing of the other edit is left, in whatever order they come."""
    rgb = np.full((40, 60, 3), 128, np.uint8)
    info = VideoInfo.for_images(60, 40, 25, 1)
    frame = Frame.from_rgb(rgb, 0, time_base=info.time_base)

    def face(x, size, change, mask):
        quad = np.array([[x, 2], [x, 2 + size], [x + size, 2 + size], [x + size, 2]], np.float64)
        rebuilt = np.zeros((3, 16, 16), np.float32)
        whole = np.ones((16, 16), np.float32)
        return PlacedFace(0, quad, rebuilt + change, rebuilt, mask * whole, whole, None, size)

    for limited in (1.0, 0.0):  # a mask limited to a region where there is nothing to see still hides what lies behind
        far, near = face(0, 30, 0.5, 1.0), face(20, 36, -0.5, limited)
        results = [paste_all(frame, faces, "transfer") for faces in ([far, near], [near, far])]
        np.testing.assert_array_equal(results[0][0].rgb, results[1][0].rgb)
        result, changed = results[0]
        assert changed[0] and (result.rgb[10, 5] > 140).all()
        inside = result.rgb[6:34, 24:54].astype(int)
        assert (inside < 120).all() if limited else (np.abs(inside - 128) <= 1).all()


def test_a_person_to_look_at(encoded, model, two, tmp_path):
    edited = apply_attributes(encoded, model, {"Young": -0.8}, person=2)
    decode(edited, model, tmp_path / "a.mkv", codec="ffv1")
    judge = own_judge(model)
    first, second = (measure_edit(edited, tmp_path / "a.mkv", judge, person=number) for number in (1, 2))
    assert first.face == 0 < second.face and first.outside == second.outside == 0  # the other's square is not outside
    assert stills([edited[1]], model, 0).edited[0].shape == (32, 32, 3)
    for ask in (
        lambda: measure_edit(edited, tmp_path / "a.mkv", judge),
        lambda: apply_text(edited, model, "face", "beard"),
        lambda: apply_expression(edited, model, frames=(0, 1)),
        lambda: expression_direction(edited, model, frames=(0, 1)),
        lambda: stills([edited], model, 0),
        lambda: nearest_row(edited, 0),
        lambda: decode_crops(edited, model),
    ):
        with pytest.raises(DVAError, match="looks at one person, and there are 1 and 2"):
            ask()
    with pytest.raises(DVAError, match="holds 2 people, 1 and 2"):
        apply_switch(edited, model, edited, identity=True)
    switched = apply_switch(edited, model, edited[0], identity=True, person=2)
    np.testing.assert_array_equal(switched[1].current_z_id, edited[0].current_z_id)


def test_the_cache_tells_choices_apart(model, two, tmp_path):
    both = encode_cached(two, model, tmp_path, face="all", steps=1)
    one = encode_cached(two, model, tmp_path, face="2", steps=1)
    again = encode_cached(two, model, tmp_path, face="all", steps=1)
    assert isinstance(again, People) and again[0].info == both[0].info and one.info.person == 2
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


@pytest.mark.parametrize(
    ("face", "word"),
    [
        ("3", r"There is no person 3 in this video, in which people 1 and 2 were found"),
        ((), "Nobody is chosen"),
        ("[]", "Cannot choose people by"),
        ('{"people": []}', "Nobody is chosen"),
        ('{"people": "all", "names": {"4": "Anna"}}', "There is no person 4"),
        ("{", "no JSON"),
        (",", "Cannot choose people"),
        ("0", "cannot be 0"),
    ],
)
def test_people_who_are_not_there(face, word, model, two):
    with pytest.raises(DVAError, match=word):
        encode(two, model, face=face, steps=1)


def test_a_video_of_nobody_and_of_one(model, tmp_path):
    with pytest.raises(DVAError, match="No face was found in the video"):
        encode(write_video(tmp_path / "a.mkv", 3, faceless=(0, 1, 2)), model, face="all", steps=1)
    one = write_two(tmp_path / "b.mkv", 3, alone=(0, 1, 2))
    with pytest.raises(DVAError, match="There is no person 2 in this video, in which only person 1 was found"):
        encode(one, model, face="2", steps=1)
    assert type(encode(one, model, face="all", steps=1)) is Decomposition


def test_who_leaves_and_comes_back_is_the_same_person(model, tmp_path):
    away = tuple(range(10, 40))
    people = encode(write_two(tmp_path / "a.mkv", 60, alone=away), model, face="all", steps=1)
    assert [one.info.track["seen"] for one in people] == [[[0, 59]], [[0, 9], [40, 59]]]


def test_one_detection_a_frame(finder_of_two, model, two):
    encode(two, model, face=(1,), steps=1)
    alone, finder_of_two.detector.looks = finder_of_two.detector.looks, 0
    encode(two, model, face="all", steps=1)
    assert finder_of_two.detector.looks <= 1.3 * alone
