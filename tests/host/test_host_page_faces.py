"""Choose Faces on the page: faces are found, clicked, named and kept, by mouse and by key, in all shots and in one."""

from __future__ import annotations

import json

import pytest

from .faces_panels import BOX, CARD, FACES, FIND, KIND, PICTURES, box, pressed, with_nodes
from .graphs import SHOT
from .page import FOUND


@pytest.fixture
def empty(page, mode, crowd):
    """The node on an empty page, with the video before it."""
    with_nodes(page, KIND)
    page.load(page.graph(), KIND)
    page.tab.locator(FACES).wait_for()
    yield page
    assert not page.errors


@pytest.fixture
def faces(empty):
    """The same with the faces found by its button."""
    empty.tab.locator(FIND).click()
    empty.tab.locator(CARD).first.wait_for(timeout=FOUND)
    empty.tab.wait_for_function(PICTURES)
    empty.bring(FACES)
    return empty


def choice(page) -> dict:
    """As it would be queued, without the key of the faces."""
    (node,) = (node for node in page.prompt().values() if node["class_type"] == KIND)
    value = json.loads(node["inputs"]["choice"] or "{}")
    return {name: part for name, part in value.items() if name != "survey"}


def test_before_a_run_it_says_what_to_do(empty):
    assert "Find faces" in empty.tab.locator(f"{FACES} .dva-note").inner_text()
    assert empty.tab.locator(f"{FACES} .dva-faces-body").is_hidden() and choice(empty) == {}
    empty.picture(f"faces_before_{'html' if empty.html else 'canvas'}")


def test_a_click_chooses_a_name_is_kept_and_all_is_there_after_loading(faces):
    tab, name = faces.tab, "html" if faces.html else "canvas"
    assert tab.locator(CARD).count() == tab.locator(BOX).count() == 3
    assert choice(faces) == {} and pressed(faces, BOX) == ["Person 1"], "by default the person seen most"
    faces.picture(f"faces_found_{name}")
    box(faces, 3).click()
    assert choice(faces) == {"people": [3]} and pressed(faces, BOX) == ["Person 3"]
    tab.locator(f"{CARD} .dva-face").first.click()
    assert choice(faces) == {"people": [1, 3]}
    box(faces, 3).click()
    tab.locator(f"{CARD} .dva-called").nth(1).fill("Anna")
    tab.keyboard.press("Enter")
    box(faces, 2).click()
    assert choice(faces) == {"people": [1, 2], "names": {"2": "Anna"}} and pressed(faces, BOX) == ["Person 1", "Person 2, Anna"]
    faces.picture(f"faces_chosen_{name}")
    faces.run()
    saved = faces.graph()
    faces.renew()
    faces.load(saved, KIND)
    tab.locator(CARD).first.wait_for()
    assert choice(faces) == {"people": [1, 2], "names": {"2": "Anna"}} and sorted(pressed(faces, BOX)) == ["Person 1", "Person 2, Anna"]
    assert tab.locator(f"{CARD} .dva-called").nth(1).input_value() == "Anna"


def test_by_keyboard_alone(faces):
    tab, keys = faces.tab, faces.tab.keyboard
    tab.locator(f"{CARD} .dva-face").first.focus()
    keys.press("ArrowRight")
    keys.press("Space")
    assert choice(faces) == {"people": [2]}
    keys.press("3")
    assert choice(faces) == {"people": [2, 3]}
    keys.press("Tab")
    keys.type("Bert 2")
    keys.press("Enter")
    assert choice(faces) == {"people": [2, 3], "names": {"2": "Bert 2"}}, "a number in a name chooses nobody"
    tab.locator(f"{FACES} .dva-seek").focus()
    before = tab.locator(f"{FACES} .dva-time").inner_text()
    keys.press("ArrowRight")
    assert tab.locator(f"{FACES} .dva-time").inner_text() != before
    keys.press("Home")
    keys.press("Shift+ArrowRight")
    assert tab.locator(f"{FACES} .dva-time").inner_text() == f"frame {SHOT}/35 · shot 2/2"
    keys.press("Delete")
    assert tab.locator(FACES).count() == 1, "the key took the node away"


def test_another_choice_in_one_shot(faces):
    tab = faces.tab
    box(faces, 1).click()
    assert choice(faces) == {"people": [1]}
    seek = tab.locator(f"{FACES} .dva-seek").bounding_box()
    tab.mouse.click(seek["x"] + seek["width"] - 2, seek["y"] + seek["height"] / 2)
    faces.settle()
    assert "shot 2/2" in tab.locator(f"{FACES} .dva-time").inner_text() and tab.locator(BOX).count() == 2
    tab.locator(f"{FACES} .dva-this-shot").click()
    other = next(number for number in (2, 3) if box(faces, number).count())
    box(faces, other).click()
    meant = [*([1] if box(faces, 1).count() else []), other]
    assert choice(faces)["people"] == [1] and other in choice(faces)["shots"]["2"]
    assert len(pressed(faces, BOX)) == len(meant)
    faces.picture(f"faces_shot_{'html' if faces.html else 'canvas'}")
    tab.locator(f"{FACES} .dva-like-all").click()
    assert choice(faces) == {"people": [1]}


def test_what_is_wrong_is_told(faces):
    tab, note = faces.tab, faces.tab.locator(f"{FACES} .dva-note")
    box(faces, 1).click()
    box(faces, 1).click()
    assert "Nobody is chosen" in note.inner_text() and choice(faces) == {"people": []}
    tab.locator(f"{FACES} .dva-everyone").click()
    assert choice(faces) == {"people": "all"} and len(pressed(faces, BOX)) == 3 and note.is_hidden()
    tab.locator(f"{CARD} .dva-called").first.fill("7")
    tab.keyboard.press("Tab")
    assert "cannot be called 7" in note.inner_text() and choice(faces) == {"people": "all"}
    faces.set_value(KIND, "choice", "{[")
    faces.tab.locator(f"{FACES} .dva-text").wait_for()
    assert "no choice of faces" in note.inner_text() and box(faces, 1).is_disabled()
    faces.set_value(KIND, "choice", '{"people": [2], "survey": "another"}')
    faces.until(lambda: "another video" in note.inner_text())
    assert pressed(faces, BOX) == []
    box(faces, 1).click()
    assert choice(faces) == {"people": [1]}
    tab.locator(f"{FACES} .dva-reset-all").click()
    assert choice(faces) == {} and pressed(faces, BOX) == ["Person 1"]


def test_a_run_that_fails_lets_it_be_tried_again(empty):
    empty.do(f"() => app.graph.nodes.find(n => n.type === '{KIND}').disconnectInput(1)")
    find = empty.tab.locator(FIND)
    find.click()
    empty.until(lambda: "Connect either a video or images" in empty.tab.locator(f"{FACES} .dva-note").inner_text())
    assert find.is_enabled()
    assert empty.tab.locator(f"{FACES} .dva-faces-body").is_hidden()


def test_undo_takes_a_choice_back(faces):
    faces.note()
    box(faces, 2).click()
    box(faces, 3).click()
    assert choice(faces) == {"people": [2, 3]}
    faces.note()
    faces.tab.keyboard.press("Control+z")
    faces.until(lambda: choice(faces) == {"people": [2]})
    faces.until(lambda: pressed(faces, BOX) == ["Person 2"])
    assert faces.tab.locator(FACES).count() == 1 and faces.tab.locator(CARD).count() == 3
