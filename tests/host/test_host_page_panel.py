"""The attribute panel among the page's other things: the wheel, undo, models that answer late, previews while a slider moves."""

from __future__ import annotations

import json

import pytest

from .graphs import page_of
from .panels import EDIT, LOADER, PANEL, add_preview, first_example, row, saved_graph, scales, shown_rows


def test_names_are_not_cut(panel):
    cut = "names => names.filter(name => name.offsetParent && name.scrollWidth > name.clientWidth).map(name => name.textContent)"
    assert panel.tab.locator(f"{PANEL} .dva-name").evaluate_all(cut) == []


def test_what_is_set_stands_first_and_in_sight(panel):
    assert shown_rows(panel)[0] == "Male"
    list_box, row_box = (panel.tab.locator(place).bounding_box() for place in (f"{PANEL} .dva-list", row("Male")))
    assert list_box["y"] <= row_box["y"] and row_box["y"] + row_box["height"] <= list_box["y"] + list_box["height"]
    panel.set_value(EDIT, "attributes", '{"Smiling": 0.3, "Young": -0.2}')
    panel.settle(300)
    assert shown_rows(panel)[:2] == ["Smiling", "Young"] and panel.tab.locator(f"{PANEL} .dva-row").count() == len(set(shown_rows(panel)))
    panel.tab.locator(f"{row('Young')} .dva-number").fill("0")
    panel.tab.keyboard.press("Tab")
    panel.settle(300)
    assert scales(panel) == {"Smiling": 0.3} and shown_rows(panel)[:2] == ["Smiling", "Young"], "a row ran away from under the pointer"


def test_the_wheel_scrolls_the_list_and_not_the_canvas(panel):
    """Without a click in the panel before."""
    scale = panel.do("() => [app.canvas.ds.scale, ...app.canvas.ds.offset]")
    panel.tab.locator(row("Sunglasses")).hover()
    panel.tab.mouse.wheel(0, 120)
    panel.until(lambda: panel.tab.locator(f"{PANEL} .dva-list").evaluate("list => list.scrollTop") > 50)
    panel.settle()
    assert panel.do("() => [app.canvas.ds.scale, ...app.canvas.ds.offset]") == scale


def test_the_panel_is_in_its_place_after_undo(panel):
    panel.note()
    panel.tab.locator(f"{row('Male')} .dva-slider").focus()
    panel.tab.keyboard.press("ArrowRight")
    panel.note()
    panel.tab.keyboard.press("Control+z")
    panel.until(lambda: scales(panel) == {"Male": -0.5})
    panel.settle(700)
    assert scales(panel) == {"Male": -0.5} and panel.tab.locator(PANEL).count() == 1
    if panel.html and panel.front_end >= (1, 49):  # before, the badge stood in the title
        assert panel.tab.locator(f'[data-testid="node-widgets"] {PANEL}').count() == 1, "it stands below the node's badge"


def test_a_late_answer_does_not_replace_the_rows_of_the_model_chosen_after(panel):
    waiting = []

    def answer(name):
        return {"attributes": [{"name": name, "space": "identity", "index": 0, "auc": 0.9, "range": [-1, 1]}]}

    slow, quick = (f"{name}_{'html' if panel.html else 'canvas'}.safetensors" for name in ("slow", "quick"))
    panel.tab.route(f"**/dva/attributes?model={slow}", lambda route: waiting.append(route))
    panel.tab.route(f"**/dva/attributes?model={quick}", lambda route: route.fulfill(json=answer("Wrinkles")))
    choose = f"""name => {{
        const model = app.graph.nodes.find(n => n.type === "{LOADER}").widgets[0];
        model.value = name;
        model.callback?.(name);
    }}"""
    panel.do(choose, slow)
    panel.until(lambda: waiting)
    panel.do(choose, quick)
    panel.tab.locator(row("Wrinkles")).wait_for(state="attached")
    for route in waiting:
        route.fulfill(json=answer("Dimples"))
    panel.settle(400)
    assert panel.tab.locator(row("Wrinkles")).count() == 1 and panel.tab.locator(row("Dimples")).count() == 0


def test_previews_follow_a_slider_once_one_was_run(panel):
    """Not before: the first may take the video apart."""
    target = add_preview(panel)
    ended = "id => app.api.dispatchEvent(new CustomEvent('executed', {detail: {node: id, prompt_id: 'caught-1', output: {}}}))"
    mouse, slider = panel.tab.mouse, f"{row('Male')} .dva-slider"
    with panel.caught_prompts() as sent:
        panel.tab.locator(PANEL).hover()
        panel.tab.locator(f"{PANEL} .dva-live").click()
        panel.until(lambda: len(sent) == 1)
        panel.settle(300)
        box = panel.tab.locator(slider).bounding_box()
        at = lambda part: (box["x"] + part * box["width"], box["y"] + box["height"] / 2)  # noqa: E731
        assert len(sent) == 1
        panel.do(ended, target)
        mouse.move(*at(0.5))
        mouse.down()
        for part in (0.55, 0.6, 0.65, 0.7):
            mouse.move(*at(part))
        panel.until(lambda: len(sent) == 2)
        panel.settle(300)
        assert len(sent) == 2, "one at a time while the slider is held"
        panel.do(ended, target)
        panel.until(lambda: len(sent) == 3)
        assert json.loads(sent[-1]["prompt"][str(panel.id_of(EDIT))]["inputs"]["attributes"])["Male"] == pytest.approx(0.4)
        count = len(sent)
        panel.do(ended, target)
        mouse.up()
        panel.settle(300)
        assert len(sent) == count == 3, "what was shown while it was dragged was run again"
        panel.do("() => app.api.dispatchEvent(new CustomEvent('execution_interrupted', {detail: {}}))")


def test_the_place_of_the_face_is_asked_of_those_who_say_it(page, mode):
    page.load(first_example())
    hidden = """() => app.graph.nodes.find(n => n.type === "DVAEncodeDecomposed").widgets
        .filter(w => w.name.startsWith("face_")).map(w => w.hidden)"""
    assert page.do(hidden) == [True, True]
    page.do("""() => {
        const face = app.graph.nodes.find(n => n.type === 'DVAEncodeDecomposed').widgets.find(w => w.name === 'face');
        face.value = 'position';
        face.callback?.('position');
    }""")
    assert page.do(hidden) == [False, False]
    page.load(page.graph())
    assert page.do(hidden) == [False, False]


@pytest.mark.parametrize(("name", "file"), [("edit_by_attribute", "dva_example.mp4"), ("two_people", "dva_example_two.mp4")])
def test_the_examples_video_is_put_in_place_when_one_is_opened(page, mode, name, file):
    graph = saved_graph(page_of(name))
    place = page.server.base / "input" / file
    kept = place.read_bytes()
    place.unlink()
    try:
        page.load(graph)
        page.until(lambda: place.is_file() and not list(place.parent.glob("*.partial")))
        page.settle(1000)
        place.write_bytes(b"the user's own")
        page.load(graph)
        page.settle(1000)
        assert place.read_bytes() == b"the user's own"
    finally:
        place.write_bytes(kept)
        page.errors.clear()  # the page had asked for the video before it was there
