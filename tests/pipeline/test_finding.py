"""The faces that are meant: one call, whatever settings say who that is."""

import inspect

import pytest

from dva_core.decomposition.info import source_hash
from dva_core.errors import DVAError
from dva_core.pipeline import encode, people
from dva_core.pipeline.cache import encode_cached
from dva_core.pipeline.finding import as_choice, find_faces
from dva_core.pipeline.people import survey_key, survey_people
from dva_core.pipeline.settings import EncodeSettings
from dva_core.video.frames import Frames

pytestmark = pytest.mark.usefixtures("finder_of_two")


@pytest.mark.parametrize("settings", [EncodeSettings(), EncodeSettings(face="largest"), EncodeSettings(face=("largest",))])
def test_one_face_without_more_ado(two, model, settings):
    with Frames(two) as frames:
        (one,) = find_faces(frames, model, two, settings)
    assert one.number == 0 and one.track.quads.shape == (8, 4, 2)


@pytest.mark.parametrize(("face", "numbers"), [("all", [1, 2]), (2, [2]), ((1, 2), [1, 2]), ("2", [2]), ({"people": [2]}, [2])])
def test_people_as_callers_write_them_need_no_resolved_settings(two, model, face, numbers):
    with Frames(two) as frames:
        assert [one.number for one in find_faces(frames, model, two, EncodeSettings(face=face))] == numbers


@pytest.mark.parametrize("run", [encode, encode_cached])
def test_a_survey_may_be_known_by_another_hash(run, two, model, tmp_path, monkeypatch):
    key = survey_key(two, model, sha256="pictures")
    survey_people(two, model, folder=tmp_path, key=key)
    monkeypatch.setattr(people, "find_people", None)  # would fail
    place = {"folder": tmp_path / "cache"} if run is encode_cached else {}
    face = {"people": [2], "survey": key}
    with run(two, model, face=face, steps=1, surveys=tmp_path, survey_hash="pictures", **place) as found:
        assert found.info.person == 2 and found.info.sha256 == source_hash(two)
    with pytest.raises(DVAError, match="chosen in another video"):
        run(two, model, face={"people": [1], "survey": survey_key(two, model)}, steps=1, surveys=tmp_path, survey_hash="pictures", **place)


def test_what_is_handed_through_is_named():
    kinds = [parameter.kind for parameter in inspect.signature(find_faces).parameters.values()]
    assert kinds[4:] == [inspect.Parameter.KEYWORD_ONLY] * len(kinds[4:]) and len(kinds) > 4


@pytest.mark.parametrize("face", [None, 3.5, {}.keys(), b"1", [], {1, 2}, {"people": object()}, {"people": []}])
def test_what_is_no_choice_gets_a_sentence(face):
    with pytest.raises(DVAError, match=r"^[^\n]*$"):
        as_choice(face)
