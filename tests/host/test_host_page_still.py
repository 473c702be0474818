"""Before and after on Preview Edit: pressed and let go, after a real run."""

from __future__ import annotations

import json

import pytest

from .graphs import STEPS, page_of

PREVIEW, STILL = "DVAPreviewEdit", ".dva-still.dva-ready"
VISIBLE = f"""() => Object.fromEntries([...document.querySelectorAll("{STILL} img, {STILL} .dva-tag")].map(
    element => [element.className, getComputedStyle(element).visibility === "visible"]))"""
SHOWN = {
    side: {f"dva-{name}": name == "after" or side == "before" for name in ("before", "after")}
    | {f"dva-tag dva-tag-{name}": name == side for name in ("before", "after")}
    for side in ("before", "after")
}
LOADED = f'() => [...document.querySelectorAll("{STILL} img")].every(picture => picture.complete && picture.naturalWidth)'


@pytest.fixture(scope="module")
def ran(page, mode):
    """The first example with a Preview Edit instead of what decodes it, run; tests leave it as it is."""
    graph = json.loads(page_of("edit_by_attribute").read_text(encoding="utf-8"))
    for node in graph["nodes"]:
        node["pos"] = [2 * node["pos"][0], node["pos"][1]]
    page.load(graph)
    page.do(f"""() => {{
        const of = kind => app.graph.nodes.find(n => n.type === kind);
        const preview = LiteGraph.createNode("{PREVIEW}");
        preview.pos = [...of("DVADecodeDDIM").pos];
        app.graph.add(preview);
        of("DVAEditIdentityClassifier").connect(0, preview, 0);
        of("DVALoadModel").connect(0, preview, 1);
        for (const kind of ["SaveVideo", "DVADecodeDDIM"]) if (of(kind)) app.graph.remove(of(kind));
    }}""")
    page.load(page.graph(), PREVIEW)
    page.run(steps=STEPS)
    page.tab.locator(STILL).wait_for()
    page.tab.wait_for_function(LOADED)
    page.bring(STILL)
    return page


@pytest.fixture
def still(ran):
    ran.tab.mouse.move(5, 5)
    ran.tab.keyboard.press("Escape")  # closes a menu that the test before may have left
    ran.settle(300)
    yield ran
    assert not ran.errors


def shown(page) -> dict[str, bool]:
    """What is visible, once what was done with mouse or keys has had its effect."""
    page.settle()
    return page.do(VISIBLE)


def middle(page, selector: str) -> tuple[float, float]:
    box = page.tab.locator(f"{STILL} {selector}").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("place", [".dva-stage", ".dva-compare"])
def test_pressed_it_shows_the_frame_before(still, place):
    mouse, button = still.tab.mouse, still.tab.locator(f"{STILL} .dva-compare")
    name = f"{'html' if still.html else 'canvas'}"
    assert shown(still) == SHOWN["after"] and button.get_attribute("aria-pressed") == "false"
    still.picture(f"still_after_{name}")
    at = middle(still, place)
    before = still.do("() => [...app.graph.nodes.find(n => n.type === 'DVAPreviewEdit').pos]")
    mouse.move(*at)
    mouse.down()
    assert shown(still) == SHOWN["before"] and button.get_attribute("aria-pressed") == "true"
    still.picture(f"still_before_{name}")
    mouse.move(at[0] + 3, at[1] + 3)
    assert shown(still) == SHOWN["before"], "a finger or a mouse is never quite still"
    mouse.up()
    assert shown(still) == SHOWN["after"] and button.get_attribute("aria-pressed") == "false"
    mouse.down()
    mouse.move(5, 5)
    assert shown(still) == SHOWN["after"], "the pointer has left it"
    mouse.up()
    mouse.move(*at)
    mouse.down(button="right")
    assert shown(still) == SHOWN["after"]
    mouse.up(button="right")
    mouse.click(1200, 600)  # closes the menu that the page may have opened
    assert still.do("() => [...app.graph.nodes.find(n => n.type === 'DVAPreviewEdit').pos]") == before, "the node was dragged"


@pytest.mark.parametrize("key", ["Space", "Enter"])
def test_by_key(still, key):
    button, keyboard = still.tab.locator(f"{STILL} .dva-compare"), still.tab.keyboard
    assert button.get_attribute("aria-label") == button.get_attribute("title") == button.text_content() != "compare"
    button.focus()
    keyboard.down(key)
    assert shown(still) == SHOWN["before"]
    keyboard.up(key)
    assert shown(still) == SHOWN["after"]
    keyboard.down(key)
    button.blur()
    assert shown(still) == SHOWN["after"]
    keyboard.up(key)


def test_the_pages_own_picture_gives_way_and_comes_back(still):
    """It is not shown beside ours; without a picture of before it is left to the page."""
    box = still.tab.locator(f"{STILL} .dva-stage").bounding_box()
    assert abs(box["width"] - box["height"]) < 0.1 * box["width"], "a square picture"
    assert still.tab.locator(f"{STILL} .dva-after").get_attribute("src") != still.tab.locator(f"{STILL} .dva-before").get_attribute("src")
    own = f"""() => {{
        const node = app.graph.nodes.find(n => n.type === "{PREVIEW}");
        const inHtml = [...document.querySelectorAll(`[data-node-id="${{node.id}}"] .lg-node-content img`)].some(e => e.offsetParent);
        return LiteGraph.vueNodesMode ? inHtml : Boolean(node.imgs?.length);
    }}"""
    still.settle(1200)
    still.until(lambda: not still.do(own))
    told = f"""output => {{
        const node = app.graph.nodes.find(n => n.type === "{PREVIEW}");
        app.nodeOutputs[node.id] = output;
        node.onExecuted(output);
        app.canvas.setDirty(true, true);
    }}"""
    output = still.do(f"() => ({{...app.nodeOutputs[app.graph.nodes.find(n => n.type === '{PREVIEW}').id]}})")
    still.do(told, {name: value for name, value in output.items() if name != "dva_before"})
    still.tab.locator(STILL).wait_for(state="detached")
    still.tab.wait_for_function(own)
    still.do(told, output)
    still.tab.locator(STILL).wait_for()
