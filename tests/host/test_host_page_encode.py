"""Encode Decomposed on the page: what it asks for follows from `face`, and people are chosen by click on it, without another node."""

from __future__ import annotations

import json

import pytest

from dva_core.decomposition import load_decomposition
from dva_core.decomposition.people import people_of

from .faces_panels import BOX, CARD, ENCODE, FACES, FIND, PICTURES, SAVE, box, pressed, set_face, with_nodes
from .graphs import STEPS
from .page import FOUND

NOTE = f"{FACES} .dva-note"


def queued(page) -> dict:
    """What would be queued for Encode, without the key of the faces: face, and people as an object where they are JSON."""
    (node,) = (node for node in page.prompt().values() if node["class_type"] == ENCODE)
    people = node["inputs"]["people"]
    if isinstance(people, str) and people.startswith("{"):
        people = {name: part for name, part in json.loads(people).items() if name != "survey"}
    return {"face": node["inputs"]["face"], "people": people}


def height(page) -> float:
    return page.do(f'() => app.graph.nodes.find(n => n.type === "{ENCODE}").size[1]')


def visible(page) -> list[str]:
    """Those widgets of Encode that depend on the others and are shown, or would be but for a link in their place (pages of 2026)."""
    return page.do(f"""() => app.graph.nodes.find(n => n.type === "{ENCODE}").widgets
        .filter(w => ["face_x", "face_y", "people", "dva_faces"].includes(w.name))
        .filter(w => !(w.visibility?.suppression.byExtension ?? w.hidden)).map(w => w.name)""")


@pytest.fixture
def encode(page, mode, crowd):
    """Encode Decomposed with model and video before it and a file behind it, its face as by default."""
    with_nodes(page, ENCODE, SAVE)
    page.do(f"""() => {{
        const set = (node, name, value) => {{ node.widgets.find(w => w.name === name).value = value; }};
        const encode = app.graph.nodes.find(n => n.type === "{ENCODE}");
        set(encode, "steps", {STEPS});
        set(encode, "max_frames", 3);
        encode.connect(0, app.graph.nodes.find(n => n.type === "{SAVE}"), 0);
    }}""")
    page.load(page.graph(), ENCODE)
    yield page
    page.tab.mouse.move(0, 0)
    assert not page.errors


@pytest.fixture
def chosen(encode):
    """The same with face set to chosen, and everybody found by the button of the node."""
    set_face(encode, "chosen")
    encode.tab.locator(FIND).click()
    encode.tab.locator(CARD).first.wait_for(timeout=FOUND)
    encode.tab.wait_for_function(PICTURES)
    encode.bring(FACES)
    return encode


def test_nothing_is_added_to_the_node_where_nobody_is_chosen(encode):
    name = "html" if encode.html else "canvas"
    before = height(encode)
    assert visible(encode) == ["people"] and encode.tab.locator(FACES).is_hidden() and queued(encode) == {"face": "largest", "people": ""}
    encode.picture(f"encode_largest_{name}")
    set_face(encode, "position")
    assert visible(encode) == ["face_x", "face_y", "people"]
    set_face(encode, "chosen")
    encode.tab.locator(FACES).wait_for()
    assert visible(encode) == ["dva_faces"] and "Find faces" in encode.tab.locator(NOTE).inner_text()
    encode.picture(f"encode_before_{name}")
    assert height(encode) - before < 120 and queued(encode) == {"face": "chosen", "people": ""}
    set_face(encode, "largest")
    assert visible(encode) == ["people"] and height(encode) <= before + 1


def test_people_are_found_chosen_and_encoded(chosen):
    """Found without anything being encoded, and what is clicked is what a run takes."""
    tab, name = chosen.tab, "html" if chosen.html else "canvas"
    folder = chosen.server.base / "output" / "dva"
    saved = set(folder.glob("*.safetensors"))
    assert tab.locator(CARD).count() == tab.locator(BOX).count() == 3 and pressed(chosen, BOX) == ["Person 1"]
    ran = chosen.last_run()
    assert [ran["prompt"][2][key]["class_type"] for key in ran["outputs"]] == ["DVAChooseFaces"]
    chosen.picture(f"encode_found_{name}")
    box(chosen, 3).click()
    tab.locator(f"{CARD} .dva-face").nth(1).click()
    tab.locator(f"{CARD} .dva-called").nth(1).fill("Anna")
    tab.keyboard.press("Enter")
    assert queued(chosen) == {"face": "chosen", "people": {"people": [2, 3], "names": {"2": "Anna"}}}
    chosen.picture(f"encode_chosen_{name}")
    chosen.run()
    (file,) = set(folder.glob("*.safetensors")) - saved
    assert [one.info.who for one in people_of(load_decomposition(file))] == ["Anna (2)", "3"]
    assert sorted(pressed(chosen, BOX)) == ["Person 2, Anna", "Person 3"]


def test_it_folds_and_all_is_there_after_loading(chosen):
    tab, fold = chosen.tab, chosen.tab.locator(f"{FACES} .dva-fold")
    box(chosen, 2).click()
    tall = height(chosen)
    fold.click()
    chosen.settle(300)
    assert tab.locator(f"{FACES} .dva-faces-body").is_hidden() and fold.get_attribute("aria-expanded") == "false"
    assert "1 of 3 chosen" in tab.locator(f"{FACES} .dva-summary").inner_text()
    assert chosen.html or height(chosen) < tall - 200
    chosen.picture(f"encode_folded_{'html' if chosen.html else 'canvas'}")
    saved = chosen.graph()
    chosen.renew()
    chosen.load(saved, ENCODE)
    tab.locator(f"{FACES} .dva-fold:not(:disabled)").wait_for()
    assert tab.locator(f"{FACES} .dva-faces-body").is_hidden() and queued(chosen) == {"face": "chosen", "people": {"people": [2]}}
    fold.click()
    tab.locator(CARD).first.wait_for()
    assert pressed(chosen, BOX) == ["Person 2"]
    fold.focus()
    tab.keyboard.press("Enter")
    assert tab.locator(f"{FACES} .dva-faces-body").is_hidden()


def test_another_face_is_not_overruled_by_who_was_chosen(chosen):
    box(chosen, 2).click()
    set_face(chosen, "largest")
    assert queued(chosen) == {"face": "largest", "people": ""}
    saved = chosen.graph()
    chosen.load(saved, ENCODE)
    set_face(chosen, "chosen")
    assert queued(chosen) == {"face": "chosen", "people": {"people": [2]}}
    chosen.until(lambda: pressed(chosen, BOX) == ["Person 2"])


def test_a_text_that_was_typed_is_shown_as_a_choice(chosen):
    set_face(chosen, "largest")
    for text, people in (("1, 3", ["Person 1", "Person 3"]), ("all", ["Person 1", "Person 2", "Person 3"])):
        chosen.set_value(ENCODE, "people", text)
        assert queued(chosen) == {"face": "largest", "people": text}, "it counts as it always did"
        set_face(chosen, "chosen")
        assert sorted(pressed(chosen, BOX)) == people and queued(chosen)["people"] == text
        set_face(chosen, "largest")
    set_face(chosen, "chosen")
    box(chosen, 3).click()
    assert queued(chosen)["people"] == {"people": [1, 2]}


def test_another_node_may_choose_instead(chosen):
    chosen.do(f"""() => {{
        const faces = LiteGraph.createNode("DVAChooseFaces");
        faces.pos = [1500, 100];
        app.graph.add(faces);
        const encode = app.graph.nodes.find(n => n.type === "{ENCODE}");
        faces.connect(0, encode, encode.inputs.findIndex(input => input.name === "people"));
    }}""")
    chosen.settle(300)
    assert visible(chosen) == ["people"] and isinstance(queued(chosen)["people"], list)
    chosen.picture(f"encode_linked_{'html' if chosen.html else 'canvas'}")
    chosen.do(f"""() => {{
        const encode = app.graph.nodes.find(n => n.type === "{ENCODE}");
        encode.disconnectInput(encode.inputs.findIndex(input => input.name === "people"));
    }}""")
    chosen.settle(300)
    assert visible(chosen) == ["dva_faces"]


def test_a_search_that_cannot_run_is_told_and_may_be_tried_again(encode):
    set_face(encode, "chosen")
    find, note = encode.tab.locator(FIND), encode.tab.locator(NOTE)
    cut = f"slot => app.graph.nodes.find(n => n.type === '{ENCODE}').disconnectInput(slot)"
    encode.do(cut, 1)
    find.click()
    encode.until(lambda: "Connect either a video or images" in note.inner_text())
    assert find.is_enabled()
    encode.do(cut, 0)
    find.evaluate("button => button.click()")  # the page's own message may lie over it
    encode.until(lambda: "Required input is missing: model" in note.inner_text())
    assert find.is_enabled()


def test_undo_takes_a_choice_back(chosen):
    chosen.note()
    box(chosen, 2).click()
    box(chosen, 3).click()
    assert queued(chosen)["people"] == {"people": [2, 3]}
    chosen.note()
    chosen.tab.keyboard.press("Control+z")
    chosen.until(lambda: queued(chosen)["people"] == {"people": [2]})
    chosen.until(lambda: pressed(chosen, BOX) == ["Person 2"])
    assert visible(chosen) == ["dva_faces"] and chosen.tab.locator(CARD).count() == 3
