"""The attribute panel and the previews where some of the nodes are inside a subgraph."""

from __future__ import annotations

import json

import pytest

from .panels import EDIT, LOADER, PANEL, add_preview, first_example, row, spread
from .subgraphs import NODES, into_subgraph, look_inside

PREVIEW = "DVAPreviewEdit"


def choose_model(page, name: str) -> None:
    """In the loader, wherever it is."""
    page.do(f"name => {{ {NODES} const [model] = found('{LOADER}').node.widgets; model.value = name; model.callback?.(name); }}", name)


@pytest.fixture
def graph(page, mode):
    """The first example, with a preview behind the edit and a model that is not the starter."""
    answer = {"attributes": [{"name": "Wrinkles", "space": "identity", "index": 0, "auc": 0.9, "range": [-2, 2]}]}
    page.tab.route("**/dva/attributes?model=other*", lambda route: route.fulfill(json=answer))
    page.load(spread(first_example()), EDIT)
    page.tab.locator(row("Male")).wait_for(state="attached")
    add_preview(page)
    yield page
    page.do("() => app.canvas.setGraph(app.graph)")
    assert not page.errors


INSIDE = {
    "edit": [(EDIT,)],
    "edit and preview": [(EDIT, PREVIEW)],
    "preview": [(PREVIEW,)],
    "loader": [(LOADER,)],
    "edit and loader": [(EDIT, LOADER)],
    "one in another": [(EDIT,), ("subgraph", PREVIEW)],
    "apart": [(EDIT,), (LOADER,), (PREVIEW,)],
}


def run_by(page, live) -> tuple[list[dict], str]:
    """Press the button that follows the sliders: the one prompt that is sent, of the preview alone, and the preview's id."""
    with page.caught_prompts() as sent:
        live.click()
        page.until(lambda: sent)
        page.settle(500)
        page.do("() => app.api.dispatchEvent(new CustomEvent('execution_interrupted', {detail: {}}))")
    target = page.do(f"() => {{ {NODES} return found('{PREVIEW}').id; }}")
    assert [body["partial_execution_targets"] for body in sent] == [[target]]
    return sent, target


@pytest.mark.parametrize("steps", INSIDE.values(), ids=INSIDE)
def test_the_model_is_found_and_the_preview_is_run(graph, steps):
    choose_model(graph, "other.safetensors")
    for kinds in steps:
        if "subgraph" in kinds:
            kinds = (*kinds, *graph.do("() => app.graph.nodes.filter(n => n.subgraph).map(n => n.type)"))
        into_subgraph(graph, *kinds)
    look_inside(graph, EDIT)
    graph.tab.locator(row("Wrinkles")).wait_for(state="attached")
    graph.tab.locator(PANEL).hover()
    live = graph.tab.locator(f"{PANEL} .dva-live")
    sent, target = run_by(graph, live)
    assert target in sent[0]["prompt"]
    edit = graph.do(f"() => {{ {NODES} return found('{EDIT}').id; }}")
    assert sent[0]["prompt"][target]["inputs"]["decomposition"] == [edit, 0]


def test_a_model_chosen_on_the_subgraph(graph):
    """The loader's widget is shown on the subgraph node: the value there counts."""
    into_subgraph(graph, EDIT, LOADER)
    look_inside(graph, EDIT)
    graph.do(f"""() => {{ {NODES}
        const {{node}} = found("{LOADER}");
        const input = node.inputs.findIndex(one => one.widget?.name === "model");
        const slot = node.graph.addInput("model", node.inputs[input].type);
        slot.connect(node.inputs[input], node);
        const around = everywhere(app.graph).find(({{node}}) => node.subgraph).node;
        around.widgets.find(widget => widget.name === "model").value = "other.safetensors";
    }}""")
    graph.tab.mouse.move(0, 0)
    graph.tab.locator(PANEL).hover()
    graph.tab.locator(row("Wrinkles")).wait_for(state="attached")


def test_a_model_that_is_not_visible_is_not_taken_for_the_starter(graph):
    """As where one subgraph is used with two models."""
    into_subgraph(graph, EDIT)
    graph.do(f"""() => {{
        const around = app.graph.nodes.find(n => n.subgraph);
        const [twin, other] = [around.clone(), LiteGraph.createNode("{LOADER}")];
        app.graph.add(twin);
        app.graph.add(other);
        other.widgets[0].value = "other.safetensors";
        const slot = twin.inputs.findIndex(input => input.type === "DVA_MODEL");
        other.connect(0, twin, slot);
        if (!around.subgraph || twin.subgraph !== around.subgraph) throw new Error("not the same subgraph");
    }}""")
    look_inside(graph, EDIT)
    note = graph.tab.locator(f"{PANEL} .dva-note")
    note.wait_for()
    assert "not visible" in note.text_content()
    assert graph.tab.locator(f"{PANEL} .dva-row").evaluate_all("rows => rows.map(r => r.dataset.name)") == ["Male"]
    graph.picture("panel_hidden_model")


def test_converting_leaves_no_error_behind(graph):
    """A panel that was about to be drawn is gone before it is."""
    graph.do(f"""() => {{
        const edit = app.graph.nodes.find(n => n.type === "{EDIT}");
        edit.onConnectionsChange?.();
        app.graph.convertToSubgraph(new Set([edit]));
    }}""")
    graph.settle(500)
    assert not graph.errors
    look_inside(graph, EDIT)
    graph.tab.locator(row("Young")).wait_for(state="attached")
    assert json.loads(graph.do(f"() => {{ {NODES} return found('{EDIT}').node.widgets[0].value; }}")) == {"Male": -0.5}


# -- the sliders on the subgraph node -------------------------------------------------------------------------------------

OUTSIDE, OUT = ".dva-outside", f"{PANEL}:not(.dva-outside) .dva-out"
KEEPS_VALUES = "() => 'createPromotedHostWidget' in app.graph.nodes.find(n => n.subgraph)"
LOOK = """() => {
    app.canvas.setGraph(app.graph);
    const [x, y] = app.graph.nodes.find(n => n.subgraph).pos;
    Object.assign(app.canvas.ds, {scale: 1, offset: [140 - x, 160 - y]});
    app.canvas.setDirty(true, true);
}"""


def look_outside(page) -> None:
    page.do(LOOK)
    page.settle(300)


def queued(page) -> dict[str, dict[str, float]]:
    """The strengths that would be queued, by the server's id of the edit."""
    return {key: json.loads(node["inputs"]["attributes"]) for key, node in page.prompt().items() if node["class_type"] == EDIT}


def press(page, name: str, key: str) -> None:
    """A key on a slider of the subgraph node."""
    slider = page.tab.locator(f'{OUTSIDE} .dva-row[data-name="{name}"] .dva-slider').first
    slider.scroll_into_view_if_needed()
    slider.press(key)
    page.settle()


@pytest.fixture
def inside(graph):
    """The page inside a subgraph of Edit and Decode, on a page whose subgraph nodes have values of their own."""
    into_subgraph(graph, EDIT, "DVADecodeDDIM")
    if not graph.do(KEEPS_VALUES):
        assert graph.tab.locator(f"{OUT}:visible").count() == 0
        pytest.skip("the subgraph nodes of this page have no values of their own")
    look_inside(graph, EDIT)
    graph.tab.locator(OUT).wait_for()
    return graph


def test_the_sliders_are_brought_out_and_back(inside):
    """What is set outside is what is queued, saved and loaded; taken back, it stays set."""
    name = "html" if inside.html else "canvas"
    inside.tab.locator(OUT).click()
    inside.settle(300)
    assert "on the subgraph node" in inside.tab.locator(f"{PANEL}:not({OUTSIDE}) .dva-note").text_content()
    inside.picture(f"panel_brought_out_inside_{name}")
    look_outside(inside)
    inside.tab.locator(OUTSIDE).wait_for()
    assert inside.do("() => app.graph.nodes.find(n => n.subgraph).widgets.filter(w => !w.hidden).map(w => w.type)") == ["dva_attributes"]
    press(inside, "Young", "ArrowLeft")
    press(inside, "Male", "ArrowRight")
    assert list(queued(inside).values()) == [{"Male": -0.45, "Young": -0.05}]
    inside.picture(f"panel_brought_out_{name}")
    assert inside.tab.locator(OUTSIDE).bounding_box()["width"] > 290, "no room for whole rows"
    saved = inside.graph()
    if not inside.html:  # once is enough: it takes long
        inside.renew()
    inside.load(saved)
    look_outside(inside)
    inside.tab.locator(f'{OUTSIDE} .dva-row[data-name="Young"]').wait_for()
    assert inside.tab.locator(f'{OUTSIDE} .dva-row[data-name="Young"] .dva-number').input_value() == "-0.05"
    assert list(queued(inside).values()) == [{"Male": -0.45, "Young": -0.05}]
    look_inside(inside, EDIT)
    inside.tab.locator(OUT).click()
    look_outside(inside)
    assert inside.tab.locator(f"{OUTSIDE}:visible").count() == 0 and list(queued(inside).values()) == [{"Male": -0.45, "Young": -0.05}]
    assert inside.do("() => app.graph.nodes.find(n => n.subgraph).size[1]") < 200, "it stays as high as with the sliders"


def test_the_page_promotes_the_panel_as_it_does_a_widget(inside):
    """By an input of the subgraph into the slot of what is to be promoted: the panel's is that of its text."""
    inside.do(f"""() => {{ {NODES}
        const {{node}} = found("{EDIT}");
        const slot = node.getSlotFromWidget(node.widgets.find(widget => widget.name === "dva_attributes"));
        node.graph.addInput("sliders", String(slot.type)).connect(slot, node);
    }}""")
    look_outside(inside)
    inside.tab.locator(OUTSIDE).wait_for()
    press(inside, "Young", "ArrowRight")
    assert list(queued(inside).values()) == [{"Male": -0.5, "Young": 0.05}]


def test_a_subgraph_used_twice_has_two_edits(inside):
    inside.tab.locator(OUT).click()
    look_outside(inside)
    inside.tab.locator(OUTSIDE).wait_for()
    inside.do("""() => {
        const node = app.graph.nodes.find(n => n.subgraph);
        const twin = node.clone();
        app.graph.add(twin);
        twin.pos = [node.pos[0], node.pos[1] + 5000];
        node.inputs.forEach((input, slot) => {
            const source = input.link == null ? null : app.graph.getNodeById(app.graph.links.get(input.link).origin_id);
            source?.connect(node.graph.links.get(input.link).origin_slot, twin, slot);
        });
    }""")
    look_outside(inside)
    press(inside, "Young", "ArrowRight")
    inside.load(inside.graph())
    assert sorted(len(scales) for scales in queued(inside).values()) == [1, 2]


def test_a_preview_outside_follows_the_sliders_outside(inside):
    """The model above and the preview behind are found from the subgraph node."""
    inside.tab.locator(OUT).click()
    look_outside(inside)
    live = inside.tab.locator(f"{OUTSIDE} .dva-live").first
    live.wait_for()
    choose_model(inside, "other.safetensors")
    inside.tab.locator(f'{OUTSIDE} .dva-row[data-name="Wrinkles"]').wait_for()
    run_by(inside, live)
