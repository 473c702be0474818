"""Surveys kept by content, with their pictures; the command `faces`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_people import ANNA, BERT, HEIGHT, WIDTH, draw_people

from dva_core.commands import main as cli
from dva_core.errors import DVAError
from dva_core.model.loader import load_model
from dva_core.pipeline import people
from dva_core.pipeline.people import picture_path, pictured_frames, portrait_path, survey_key, survey_people
from dva_core.video import VideoInfo, VideoWriter
from dva_core.video.frame import Frame
from dva_core.video.images import read_rgb


@pytest.fixture(scope="module")
def starter():
    return load_model("starter", device="cpu")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two people for a second, then one of them."""
    frames = draw_people(40, [(ANNA, lambda n: (120.0, True)), (BERT, lambda n: (330.0, True) if n < 25 else None)])
    path = tmp_path_factory.mktemp("video") / "two.mp4"
    with VideoWriter(path, VideoInfo.for_images(WIDTH, HEIGHT, 25, len(frames))) as writer:
        for frame in frames:
            writer.write(Frame.from_rgb(frame.rgb, frame.index))
    return path


def test_a_video_is_surveyed_once(two, starter, tmp_path, monkeypatch):
    first = survey_people(two, starter, folder=tmp_path / "kept")
    monkeypatch.setattr(people, "find_people", None)  # would fail
    copy = tmp_path / "another_name.mp4"
    copy.write_bytes(two.read_bytes())
    again = survey_people(copy, starter, folder=tmp_path / "kept")
    assert again.to_dict() == first.to_dict() and len(first.people) == 2
    for one, other in zip(first.people, again.people):
        assert np.array_equal(one.embedding, other.embedding) and np.array_equal(one.portrait, other.portrait)
    with pytest.raises(TypeError):
        survey_people(two, starter, start=0.4, folder=tmp_path / "kept")


def test_pictures_are_kept_with_it(two, starter, tmp_path):
    found = survey_people(two, starter, folder=tmp_path)
    place = tmp_path / survey_key(two, starter)
    assert pictured_frames(place) == found.samples.tolist() and found.busiest in pictured_frames(place)
    assert read_rgb(picture_path(place, found.busiest)).shape == (HEIGHT, WIDTH, 3)
    assert read_rgb(portrait_path(place, 2)).shape == found.people[1].portrait.shape
    assert [entry.name for entry in tmp_path.iterdir()] == [place.name], "nothing half-finished is left"


def test_what_was_kept_and_is_broken_is_made_anew(two, starter, tmp_path):
    whole = survey_people(two, starter, folder=tmp_path)
    file = tmp_path / survey_key(two, starter) / people.FILE
    file.write_bytes(file.read_bytes()[:-100])
    assert survey_people(two, starter, folder=tmp_path).to_dict() == whole.to_dict()
    assert people.load_survey(file.parent) is not None


def test_cancelled_it_leaves_nothing(two, starter, tmp_path):
    def stop(phase, done, total, preview=None):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey_people(two, starter, folder=tmp_path, progress=stop)
    assert not list(tmp_path.iterdir())


def test_of_a_long_video_so_many_pictures_only(two, starter, tmp_path, monkeypatch):
    monkeypatch.setattr(people, "MOST_PICTURES", 3)
    found = survey_people(two, starter, folder=tmp_path)
    kept = pictured_frames(tmp_path / survey_key(two, starter))
    assert len(kept) in (3, 4) and {0, int(found.samples[-1]), found.busiest} <= set(kept)


def test_a_folder_that_cannot_be(two, starter, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DVAError, match="cannot be kept"):
        survey_people(two, starter, folder=tmp_path / "file")


def test_the_command_lists_people_and_draws_them(two, tmp_path, capsys):
    assert cli.main(["faces", str(two), "-o", str(tmp_path / "sheet.png"), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["person", "seen", "size", "shots", "frames"] and [line[0] for line in lines[1:3]] == ["1", "2"]
    assert "100%" in lines[1] and "40 frames in 1 shot;" in lines[-1]
    sheet = read_rgb(tmp_path / "sheet.png")
    assert sheet.shape[1] == 960 and (sheet != 250).any(axis=(0, 2)).any()
    assert cli.main(["faces", str(two), "--json", "--device", "cpu", "--length", "0.4"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] == 10 and [person["number"] for person in told["people"]] == [1, 2] and len(told["people"][0]["embedding"]) == 128


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--rate", "25"], "frame rate of its own"), (["--start", "99"], "choose a start inside"), (["-o", "x.gif"], ".png")],
)
def test_the_command_refuses(two, options, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["faces", str(two), "--device", "cpu", *options]) == 2
    told = capsys.readouterr().err.strip()
    assert says.lower() in told.lower() and "\n" not in told
    assert not list(tmp_path.iterdir())
