import json
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
from bundles import tiny_config, write_tiny

from dva_core.commands import demo_video as demo
from dva_core.commands import main as cli
from dva_core.errors import MissingDependencyError
from dva_core.faces.finder import FaceFinder
from dva_core.faces.types import Face
from dva_core.model.arrays import as_picture
from dva_core.model.bundle import SHIPPED
from dva_core.model.loader import load_model
from dva_core.pipeline.people import survey_people
from dva_core.pipeline.sheet import contact_sheet, moments
from dva_core.video import open_video

pytest.importorskip("skimage")


def test_the_head_moves_smoothly_and_the_background_stays():
    frames = np.stack(list(demo.frames(10))).astype(int)
    assert frames.shape == (10, 512, 512, 3)
    still = np.concatenate([frames[:, 280:].reshape(10, -1), frames[:, :, 390:].reshape(10, -1), frames[:, :, :65].reshape(10, -1)], axis=1)
    assert not np.ptp(still, axis=0).any()
    change = np.abs(np.diff(frames[:, 40:200, 150:310], axis=0)).mean((1, 2, 3))
    assert change.min() > 0.3 and change.max() < 12  # always moving, never jumping


def test_what_moves_is_what_the_numbers_say():
    picture = demo.portrait()
    rest = {"roll": 0.0, "yaw": 0.0, "nod": 0.0, "zoom": 1.0, "open": 0.0, "blink": 0.0}
    np.testing.assert_array_equal(demo.warp(picture, **rest), picture)

    def where(least=1, **changes):
        rows, columns = np.nonzero(np.abs(demo.warp(picture, **{**rest, **changes}).astype(int) - picture).max(-1) >= least)
        return rows.mean(), columns.mean(), rows.min(), rows.max()

    row, column, *_ = where(open=5.0)
    assert 140 < row < 185 and 195 < column < 250
    row, _, first, last = where(least=32, blink=0.75)
    assert 95 < row < 108 and first > 70 and last < 135
    assert where(blink=0.75)[2] > 45 and where(blink=0.75)[3] < 175  # a spline moves what is around by parts of a pixel
    assert where(roll=0.09)[3] <= 275


def test_the_twin_is_another_person_before_the_same_wall():
    frames = np.stack(list(demo.two_people(4))).astype(int)
    assert frames.shape == (4, demo.PAIR[1], demo.PAIR[0], 3)
    left, right = frames[:, :, : demo.PAIR[0] // 2], frames[:, :, : demo.PAIR[0] // 2 - 1 : -1]  # the twin mirrored back
    np.testing.assert_array_equal(left[:, :12, :40], right[:, :12, :40])
    hair, face, suit = ((slice(24, 50), slice(120, 200)), (slice(90, 160), slice(130, 185)), (slice(280, 320), slice(20, 80)))
    assert (left[0][hair].mean() - right[0][hair].mean()) > 30 and (left[0][suit].mean((0, 1)) - right[0][suit].mean((0, 1)))[0] > 60
    assert np.abs(left[0][face] - right[0][face]).mean() > 8
    assert all(np.abs(np.diff(half[:, 60:200, 80:230], axis=0)).mean() > 0.3 for half in (left, right))


@pytest.mark.skipif(not (SHIPPED / "starter.safetensors").is_file(), reason="needs the starter")
def test_the_example_of_two_people_shows_both_in_every_frame():
    """Its workflow means them by the numbers 1 and 2."""
    video = Path(__file__).resolve().parents[2] / "example_workflows" / "dva_example_two.mp4"
    survey = survey_people(video, load_model(device="cpu"))
    middles = sorted(float(person.boxes[:, [0, 2]].mean()) / survey.width for person in survey.people[:2])
    assert [person.number for person in survey.people[:2]] == [1, 2] and middles[0] < 0.35 and middles[1] > 0.65
    assert all(len(person.frames) == len(survey.samples) for person in survey.people[:2])


def test_the_sound_is_as_long_as_the_video(tmp_path):
    demo.write_sound(tmp_path / "a.wav", 1.92)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(1.92)
        values = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert 3000 < np.abs(values).max() < 32000


def test_the_video_has_frames_and_sound(tmp_path):
    for people, size in ((1, (512, 512)), (2, demo.PAIR)):
        path = demo.make_video(tmp_path / f"{people}.mp4", count=5, people=people)
        with open_video(path) as reader:
            assert reader.info.has_audio and reader.info.rate == 25 and (reader.info.width, reader.info.height) == size
            assert len(list(reader)) == 5


def test_without_scikit_image_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(MissingDependencyError, match="pip install scikit-image"):
        demo.portrait()


class KnowsThePortrait:
    def detect(self, rgb):
        eyes = demo.LANDMARKS[19:31].reshape(2, 6, 2).mean(1)
        points = np.array([*eyes, demo.NOSE, (205.0, 141.0), (243.0, 142.0)])
        return [Face((180.0, 70.0, 270.0, 185.0), 0.9, points)]


def points68(rgb, face):
    points = np.tile(np.asarray(face.centre), (68, 1))
    points[36:42], points[42:48], points[48], points[54] = face.points5[[0, 1, 3, 4]]
    return points


def test_the_command_writes_videos_and_a_sheet(tmp_path, monkeypatch, capsys):
    model = write_tiny(tmp_path / "tiny.safetensors")
    finder = FaceFinder(KnowsThePortrait(), points68, FaceFinder.of(load_model(model, device="cpu")).embed)
    monkeypatch.setattr(FaceFinder, "of", classmethod(lambda cls, *_: finder))
    monkeypatch.setattr(demo, "FRAMES", 3)
    monkeypatch.setattr(demo.make_video, "__defaults__", (3, 25))
    folder = tmp_path / "shown"
    assert cli.main(["demo", "-o", str(folder), "--steps", "2", "--model", str(model), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["male.mp4", "portrait.mp4", "sheet.png", "smiling.mp4", "young.mp4"]
    assert answer["files"] == [str(folder / name) for name in names] and answer["frames"] == 3
    with open_video(folder / "young.mp4") as reader:
        assert reader.info.has_audio and len(list(reader)) == 3
    assert cv2.imread(str(folder / "sheet.png")).shape[0] > 5 * 160  # original, rebuilt and three edits

    nothing = write_tiny(tmp_path / "none.safetensors", config=tiny_config(attributes=[]))
    assert cli.main(["demo", "-o", str(tmp_path / "other"), "--model", str(nothing)]) == 2
    assert not (tmp_path / "other").exists()


def test_a_contact_sheet_has_its_tiles_in_place():
    red, blue = np.zeros((20, 20, 3), np.uint8), np.zeros((80, 80, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    sheet = contact_sheet({"a": [red, blue], "b": [blue, red]}, ["0", "1"], tile=40)
    reds, blues = (np.argwhere((sheet == color).all(-1)) for color in ([255, 0, 0], [0, 0, 255]))
    assert len(reds) == len(blues) == 2 * 40 * 40
    assert reds.min(0)[0] == blues.min(0)[0] and reds.mean(0) == pytest.approx(blues.mean(0))
    assert moments(75, 6) == [0, 15, 30, 44, 59, 74] and moments(2, 6) == [0, 1] and moments(1) == [0] and moments(0) == []


def test_pictures_of_crops():
    crop = np.stack([np.full((2, 2), value) for value in (-1.5, 0.0, 1.0)])
    assert as_picture(crop)[0, 0].tolist() == [0, 128, 255]
