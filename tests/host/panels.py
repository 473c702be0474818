"""Graphs on the page, and the panel of Edit Identity (Classifier) there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .graphs import EXAMPLES, HERE, page_of

EDIT, LOADER = "DVAEditIdentityClassifier", "DVALoadModel"
FILES = [*sorted(EXAMPLES.glob("*.json")), *sorted((HERE / "saved").glob("*.json"))]
PANEL = ".dva-panel:not(.dva-faces)"  # that of the attributes


def saved_graph(path: Any) -> dict[str, Any]:
    graph = json.loads(path.read_text(encoding="utf-8"))
    return graph.get("page", graph)


def first_example() -> dict[str, Any]:
    """The first example's graph, its edit {"Male": -0.5}: a number that a key moves to another."""
    graph = saved_graph(page_of("edit_by_attribute"))
    (edit,) = (node for node in graph["nodes"] if node["type"] == EDIT)
    edit["widgets_values"] = ['{"Male": -0.5}' if isinstance(v, str) and v.startswith("{") else v for v in edit["widgets_values"]]
    return graph


def spread(graph: dict[str, Any]) -> dict[str, Any]:
    """`graph` with its nodes further apart: the first HTML nodes are wider than those it was laid out for."""
    for node in graph["nodes"]:
        node["pos"] = [2 * node["pos"][0], node["pos"][1]]
    return graph


def row(name: str) -> str:
    return f'{PANEL} .dva-row[data-name="{name}"]'


def scales(page) -> dict[str, Any]:
    return json.loads(page.value(EDIT, "attributes"))


def shown_rows(page) -> list[str]:
    return page.tab.locator(f"{PANEL} .dva-row").evaluate_all("rows => rows.filter(r => r.offsetParent).map(r => r.dataset.name)")


def add_preview(page) -> str:
    """Puts a Preview Edit behind the edit node; its id."""
    return page.do(f"""() => {{
        const edit = app.graph.nodes.find(n => n.type === "{EDIT}");
        const shown = LiteGraph.createNode("DVAPreviewEdit");
        app.graph.add(shown);
        edit.connect(0, shown, 0);
        edit.getInputNode(1).connect(0, shown, 1);
        return String(shown.id);
    }}""")


@pytest.fixture
def panel(page, mode):
    """The page with the first example's edit node, {"Male": -0.5}, in view."""
    page.load(spread(first_example()), EDIT)
    page.tab.locator(row("Male")).wait_for(state="attached")
    page.settle()
    yield page
    assert not page.errors
