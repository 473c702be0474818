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
    with graph.caught_prompts() as sent:
        live.click()
        graph.until(lambda: sent)
        graph.settle(500)
        graph.do("() => app.api.dispatchEvent(new CustomEvent('execution_interrupted', {detail: {}}))")
    target = graph.do(f"() => {{ {NODES} return found('{PREVIEW}').id; }}")
    assert [body["partial_execution_targets"] for body in sent] == [[target]] and target in sent[0]["prompt"]
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
