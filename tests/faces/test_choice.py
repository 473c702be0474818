"""Who is meant: the JSON of a choice read, held against a survey, and refused in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dva_core.errors import DVAError
from dva_core.faces.choice import PeopleChoice, choose_people, parse_choice
from dva_core.faces.people import Person, Survey

SHOTS = ((0, 9), (10, 29), (30, 39))


def found(count: int) -> Survey:
    nothing = np.zeros((0, 4), np.float32)
    people = [
        Person(n, nothing[:, 0], nothing, nothing[:, 0], [[0, 39]], 1.0, 80.0, (1, 2, 3), np.eye(8)[n], np.zeros((4, 4, 3)), 0)
        for n in range(1, count + 1)
    ]
    return Survey(tuple(people), np.arange(0, 40, 10), SHOTS, 40)


def chosen(text: str, count: int = 3, key: str = ""):
    return [(one.number, one.name, one.spans) for one in choose_people(parse_choice(text), found(count), key)]


def test_who_is_chosen():
    assert chosen("") == chosen(" \n") == chosen("{}") == [(1, "", None)], "by default the person seen most"
    assert chosen('{"people": "all"}') == [(1, "", None), (2, "", None), (3, "", None)]
    assert chosen('{"people": [3, 1, 3], "names": {"3": " Anna "}}') == [(1, "", None), (3, "Anna", None)]
    assert chosen('{"people": ["2"], "survey": "ab"}', key="ab") == chosen('{"people": [2]}', key="ab") == [(2, "", None)]


def test_other_people_in_some_shots():
    assert chosen('{"people": [1], "shots": {"2": [2]}}') == [(1, "", [[0, 9], [30, 39]]), (2, "", [[10, 29]])]
    assert chosen('{"people": [1], "shots": {"1": [], "3": []}}') == [(1, "", [[10, 29]])]
    assert chosen('{"people": [], "shots": {"3": "all"}}', 2) == [(1, "", [[30, 39]]), (2, "", [[30, 39]])]
    one = choose_people(parse_choice('{"people": [1], "shots": {"2": []}}'), found(1))[0]
    assert [frame for frame in range(40) if one.is_meant(frame)] == [*range(10), *range(30, 40)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Anna", "is no JSON"),
        ('{"people": [1', "is no JSON"),
        ("[1, 2]", "no JSON object"),
        ("null", "no JSON object"),
        ('{"person": [1]}', "'person'"),
        ('{"people": []}', "Nobody is chosen"),
        ('{"people": [], "shots": {"1": []}}', "Nobody is chosen"),
        ('{"people": [1], "shots": {"1": [], "2": [], "3": []}}', "Nobody is chosen in any shot"),
        ('{"people": [4]}', "no person 4 in this video, in which people 1 to 3"),
        ('{"people": [1], "shots": {"2": [9]}}', "no person 9"),
        ('{"people": [1], "names": {"7": "Anna"}}', "no person 7"),
        ('{"people": [1], "shots": {"4": [1]}}', "no shot 4 in this video, which has 3"),
        ('{"people": [0]}', "number of a person cannot be 0"),
        ('{"people": [1.5]}', "cannot be 1.5"),
        ('{"people": [true]}', "cannot be True"),
        ('{"people": 1}', "cannot be 1"),
        ('{"people": "some"}', "cannot be 'some'"),
        ('{"names": ["Anna"]}', "names"),
        ('{"names": {"1": "7"}}', "cannot be called '7'"),
        ('{"names": {"1": "A, B"}}', "without commas"),
        ('{"names": {"1": "Anna", "2": "anna"}}', "Two people are called"),
        ('{"shots": [1]}', "shots"),
        ('{"survey": "x"}', "another video"),
    ],
)
def test_what_is_no_choice_is_told_in_one_sentence(text, says):
    with pytest.raises(DVAError) as error:
        chosen(text, key="y")
    message = str(error.value)
    assert says in message and message.endswith(".") and "\n" not in message and len(message) < 400


def test_a_video_with_one_person_or_none():
    with pytest.raises(DVAError, match="No face was found in the video"):
        chosen("", 0)
    with pytest.raises(DVAError, match="only person 1 was found"):
        chosen('{"people": [2]}', 1)


NUMBERS = st.one_of(st.none(), st.lists(st.integers(1, 9), unique=True).map(lambda numbers: tuple(sorted(numbers))))


@given(NUMBERS.filter(lambda people: people != ()), st.dictionaries(st.integers(1, 9), NUMBERS, max_size=4), st.sampled_from(["", "0ab"]))
def test_a_choice_is_read_as_it_was_written(people, shots, key):
    choice = PeopleChoice(people, {2: "Ännchen"}, shots, key)
    assert parse_choice(choice.to_json()) == choice


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["people", "names", "shots", "survey", "1", "x"]), inner),
    max_leaves=12,
)


@given(st.one_of(JSON.map(json.dumps), st.text()))
def test_whatever_is_written_there_is_a_choice_or_a_sentence(text):
    try:
        people = choose_people(parse_choice(text), found(3))
        assert people and len({one.number for one in people}) == len(people)
    except DVAError as error:
        assert str(error).endswith(".")
