"""Subgraphs on the page: nodes are put into one, and looked at there."""

from __future__ import annotations

NODES = """
    const everywhere = (graph, path = []) => graph.nodes.flatMap(node =>
        [{node, id: [...path, node.id].join(":")}, ...(node.subgraph ? everywhere(node.subgraph, [...path, node.id]) : [])]);
    const found = kind => everywhere(app.graph).find(({node}) => node.type === kind);
"""


def into_subgraph(page, *kinds: str) -> None:
    """Makes a subgraph of the nodes of these classes in the graph that is shown."""
    page.do(
        "kinds => { app.canvas.graph.convertToSubgraph(new Set(app.canvas.graph.nodes.filter(n => kinds.includes(n.type)))); }", list(kinds)
    )
    page.settle()


def look_inside(page, kind: str) -> None:
    """Shows the graph that has a node of that class."""
    page.do(
        f"""kind => {{ {NODES}
            const {{node}} = found(kind);
            app.canvas.setGraph(node.graph);
            Object.assign(app.canvas.ds, {{scale: 1, offset: [140 - node.pos[0], 160 - node.pos[1]]}});
            app.canvas.setDirty(true, true);
        }}""",
        kind,
    )
    page.settle(300)
