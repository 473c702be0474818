"""Several people on the command line: --face, --person, and the command people."""

import json

import cv2
import numpy as np
import pytest
from standin import write_two
from video_helpers import pictures

from dva_core.decomposition import Decomposition, People, load_decomposition

from .answers import YOUNG, refused

FFV1 = ("--codec", "ffv1")


pytestmark = pytest.mark.usefixtures("finder_of_two")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_two(tmp_path_factory.mktemp("video") / "two.mkv", 5, alone=(4,))


@pytest.fixture
def both(call, video):
    names = '{"people": "all", "names": {"1": "Anna"}}'
    assert call("encode", video, "-o", "both.safetensors", "--face", names, "--steps", 1)[0] == 0
    return "both.safetensors"


def test_everybody_in_one_command(call, video):
    code, out, _ = call("edit", video, "-o", "a.mkv", *FFV1, "--face", "all", "--steps", 2, *YOUNG, "--sheet", "s.png", "--json")
    told = json.loads(out)
    assert code == 0 and told["faces"] == 9 and set(told["track"]) == set(told["operations"]) == {"1", "2"}
    assert (
        told["people"]["1"]["edited"] == [[0, 4]]
        and set(told["people"]) == {"1", "2"}
        and (pictures("a.mkv")[4] != pictures(video)[4]).any()
    )
    one = call("edit", video, "-o", "b.mkv", *FFV1, "--face", "1", "--steps", 1, *YOUNG, "--sheet", "t.png")
    assert one[0] == 0 and cv2.imread("s.png").shape[0] == 2 * cv2.imread("t.png").shape[0]


def test_encode_says_who_was_seen_when(call, video):
    code, _, err = call("encode", video, "-o", "both.safetensors", "--face", "1,2", "--steps", 1)
    assert code == 0 and "1: 5 of 5 frames have the face" in err and "2: 4 of 5 frames have the face" in err


def test_an_edit_for_each(call, both, video):
    edits = ("--person", "Anna", *YOUNG, "--person", "2", "--attribute", "Smiling", "--scale", "0.5")
    code, out, _ = call("edit", both, "-o", "edited.safetensors", *edits, "--json")
    assert code == 0 and {n: list(one[0]["scales"]) for n, one in json.loads(out)["operations"].items()} == {
        "1": ["Young"],
        "2": ["Smiling"],
    }
    assert call("edit", both, "-o", "first.safetensors", "--person", "1", *YOUNG)[0] == 0
    assert (
        call("edit", "first.safetensors", "-o", "second.safetensors", "--person", "2", "--attribute", "Smiling", "--scale", "0.5")[0] == 0
    )
    assert (
        call("decode", "edited.safetensors", "-o", "a.mkv", *FFV1)[0] == call("decode", "second.safetensors", "-o", "b.mkv", *FFV1)[0] == 0
    )
    assert all(np.array_equal(*pair) for pair in zip(pictures("a.mkv"), pictures("b.mkv")))
    half = pictures(video)[0].shape[1] // 2
    code, out, _ = call("edit", both, "-o", "c.mkv", *FFV1, "--person", "2", *YOUNG, "--json")
    assert code == 0 and json.loads(out)["people"]["1"]["edited"] == []
    assert all((a[:, :half] == b[:, :half]).all() for a, b in zip(pictures("c.mkv"), pictures(video)))


def test_lists_splits_combines_and_names(call, both):
    code, out, _ = call("people", both, "--json")
    assert code == 0 and [(one["person"], one["name"], one["faces"]) for one in json.loads(out)["people"]] == [(1, "Anna", 5), (2, "", 4)]
    assert call("people", both, "--person", "anna", "-o", "anna.safetensors")[0] == 0
    assert call("people", both, "--person", "2", "--name", "2=Bert", "-o", "bert.safetensors")[0] == 0
    assert type(load_decomposition("anna.safetensors")) is Decomposition
    assert call("edit", "bert.safetensors", "-o", "edited.safetensors", *YOUNG, "--person", "Bert")[0] == 0
    code, out, _ = call("people", "anna.safetensors", "edited.safetensors", "-o", "again.safetensors")
    assert code == 0 and "Bert (2): 4 of 5 frames have the face" in out and "1 edits" in out
    again = load_decomposition("again.safetensors")
    assert isinstance(again, People) and [one.info.person_name for one in again] == ["Anna", "Bert"] and again[1].is_edited


def test_a_number_that_is_not_in_the_video(call, video):
    code, _, err = call("edit", video, "-o", "a.mkv", *YOUNG, "--face", "9", "--steps", "1")
    assert code == 2 and err.splitlines()[1:] == [
        "There is no person 9 in this video, in which people 1 and 2 were found; choose among these."
    ]


def test_what_looks_at_one_person_says_so(call, both):
    for command in (
        ("sheet", both, "-o", "s.png", "--attribute", "Young"),
        ("preview", both, "-o", "p.png"),
        ("expression", both, "--frames", 0, 2, "-o", "smile.safetensors"),
    ):
        refused(call(*command), "looks at one person, and there are Anna (1) and 2")
        assert call(*command, "--person", "Anna")[0] == 0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("edit", "both.safetensors", "-o", "a.mkv", *YOUNG, "--person", "3"), "There is no person 3 in this decomposition"),
        (("edit", "both.safetensors", "-o", "a.mkv", *YOUNG, "--person", "1,,2"), "Cannot choose people by"),
        (("edit", "both.safetensors", "-o", "a.mkv", *YOUNG, "--person", "1", "--person", "2"), "There are 2 --person, 1 --attribute"),
        (("edit", "VIDEO", "-o", "a.mkv", *YOUNG, "--person", "2"), "add --face all"),
        (("edit", "VIDEO", "-o", "a.mkv", *YOUNG, "--face", "1", "--person", "2"), "is not among the people of --face 1"),
        (("edit", "VIDEO", "-o", "a.mkv", *YOUNG, "--face", "1,x"), "Cannot choose people by '1,x'"),
        (("sheet", "VIDEO", "-o", "s.png", "--person", "2"), "add --face all"),
        (("people", "both.safetensors", "--person", "Bert"), "There is no person Bert"),
        (("people", "both.safetensors", "both.safetensors"), "Person 1 is there twice"),
        (("people", "both.safetensors", "--name", "Bert"), "has no number"),
        (("people", "both.safetensors", "--name", "1=2"), "A person cannot be called"),
        (("people", "VIDEO"), "is not a safetensors file"),
        (("people", "both.safetensors", "-o", "both.safetensors"), "would overwrite"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(call, both, video, command, says):
    refused(call(*(video if word == "VIDEO" else word for word in command)), says)
