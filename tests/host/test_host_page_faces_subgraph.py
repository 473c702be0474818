"""Choose Faces, and the faces on Encode Decomposed, inside a subgraph: found, chosen and run there; a subgraph may be used twice."""

from __future__ import annotations

import json

import pytest

from .faces_panels import BOX, CARD, ENCODE, FACES, FIND, KIND, PICTURES, SAVE, box, pressed, set_face, with_nodes
from .page import FOUND
from .subgraphs import NODES, into_subgraph, look_inside


def look(page, kind: str) -> None:
    """Into the subgraph with the node of that class, and presses its button."""
    look_inside(page, kind)
    page.tab.locator(FACES).wait_for()
    page.tab.locator(FIND).click()
    page.tab.locator(CARD).first.wait_for(timeout=FOUND)
    page.tab.wait_for_function(PICTURES)
    page.bring(FACES)


def queued(page, kind: str) -> dict[str, dict]:
    """The inputs of the nodes of a class, by the server's id."""
    return {key: node["inputs"] for key, node in page.prompt().items() if node["class_type"] == kind}


def around(page) -> int:
    """The id of the (first) subgraph node on the outermost graph."""
    return page.do("() => app.graph.nodes.find(n => n.subgraph).id")


@pytest.fixture
def outside(page, mode, crowd):
    """The page, left at its outermost graph."""
    if page.html and page.front_end < (1, 30):
        pytest.skip("the first HTML nodes do not show what is inside a subgraph")
    yield page
    page.do("() => app.canvas.setGraph(app.graph)")
    page.tab.mouse.move(0, 0)
    assert not page.errors


@pytest.mark.parametrize("kinds", [(KIND,), (KIND, "DVALoadVideo"), (KIND, "DVALoadVideo", "DVALoadModel")], ids=len)
def test_choose_faces_inside(outside, kinds):
    with_nodes(outside, KIND)
    outside.load(outside.graph(), KIND)
    into_subgraph(outside, *kinds)
    look(outside, KIND)
    assert outside.tab.locator(BOX).count() == 3 and pressed(outside, BOX) == ["Person 1"]
    box(outside, 3).click()
    ((key, inputs),) = queued(outside, KIND).items()
    assert key.startswith(f"{around(outside)}:") and json.loads(inputs["choice"])["people"] == [3]
    outside.picture(f"faces_subgraph_{'html' if outside.html else 'canvas'}")
    saved = outside.graph()
    if len(kinds) == 1:  # for all of them it would take longer than the rest
        outside.renew()
    outside.load(saved)
    look_inside(outside, KIND)
    outside.tab.locator(CARD).first.wait_for()
    outside.until(lambda: pressed(outside, BOX) == ["Person 3"])
    ((_, again),) = queued(outside, KIND).items()
    assert json.loads(again["choice"])["people"] == [3]


def test_who_is_chosen_inside_is_told_outside(outside):
    """By a node outside that shows the text; the faces stay what they were when a run has ended."""
    with_nodes(outside, KIND, "PreviewAny")
    outside.do(f"() => {{ {NODES} found('{KIND}').node.connect(0, found('PreviewAny').node, 0); }}")
    outside.load(outside.graph(), KIND)
    into_subgraph(outside, KIND)
    look(outside, KIND)
    box(outside, 2).click()
    outside.run()
    ran = outside.last_run()
    shown = next(key for key, node in ran["prompt"][2].items() if node["class_type"] == "PreviewAny")
    assert json.loads(ran["outputs"][shown]["text"][0])["people"] == [2]
    assert pressed(outside, BOX) == ["Person 2"]


def test_a_subgraph_that_is_used_twice(outside):
    """One choice for both, and one search in each."""
    with_nodes(outside, KIND)
    outside.load(outside.graph(), KIND)
    into_subgraph(outside, KIND)
    outside.do("""() => {
        const node = app.graph.nodes.find(n => n.subgraph);
        const twin = node.clone();
        app.graph.add(twin);
        node.inputs.forEach((input, slot) => {
            const source = input.link == null ? null : app.graph.getNodeById(app.graph.links.get(input.link).origin_id);
            source?.connect(0, twin, slot);
        });
        if (twin.subgraph !== node.subgraph) throw new Error("not the same subgraph");
    }""")
    look(outside, KIND)
    box(outside, 2).click()
    nodes = queued(outside, KIND)
    assert len(nodes) == 2 and {json.loads(inputs["choice"])["people"][0] for inputs in nodes.values()} == {2}


@pytest.mark.parametrize("kinds", [(ENCODE,), (ENCODE, "DVALoadVideo", SAVE)], ids=len)
def test_encode_inside(outside, kinds):
    """Its button finds people without an encoding."""
    with_nodes(outside, ENCODE, SAVE)
    outside.do(f"() => {{ {NODES} found('{ENCODE}').node.connect(0, found('{SAVE}').node, 0); }}")
    set_face(outside, "chosen")
    outside.load(outside.graph(), ENCODE)
    into_subgraph(outside, *kinds)
    look(outside, ENCODE)
    ran = outside.last_run()
    assert [ran["prompt"][2][key]["class_type"] for key in ran["outputs"]] == [KIND]
    box(outside, 2).click()
    ((key, inputs),) = queued(outside, ENCODE).items()
    assert key.startswith(f"{around(outside)}:") and inputs["face"] == "chosen" and json.loads(inputs["people"])["people"] == [2]
    outside.picture(f"encode_subgraph_{'html' if outside.html else 'canvas'}")
