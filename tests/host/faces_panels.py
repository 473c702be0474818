"""The faces to choose from on the page: on Choose Faces, and on Encode Decomposed."""

from __future__ import annotations

FACES = ".dva-faces"
KIND, ENCODE, SAVE = "DVAChooseFaces", "DVAEncodeDecomposed", "DVASaveDecomposition"
BOX, CARD, FIND = (f"{FACES} .dva-{part}" for part in ("box", "card", "find"))
PICTURES = f"() => [...document.querySelectorAll('{FACES} img')].every(one => one.complete && one.naturalWidth)"  # are there
EMPTY = {"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0, "groups": [], "config": {}, "extra": {}}


def with_nodes(page, kind: str, *more: str) -> None:
    """An empty page with a node of this class, model and crowd.mp4 before it, and unconnected ones of other classes."""
    page.put(EMPTY)
    page.do(
        """kinds => {
            const add = (kind, x) => { const node = LiteGraph.createNode(kind); node.pos = [x, 100]; app.graph.add(node); return node; };
            const [model, video, node] = ["DVALoadModel", "DVALoadVideo", ...kinds].map((kind, index) => add(kind, 450 * index));
            video.widgets.find(w => w.name === "file").value = "crowd.mp4";
            model.connect(0, node, 0);
            video.connect(0, node, 1);
        }""",
        [kind, *more],
    )


def pressed(page, selector: str) -> list[str]:
    return page.tab.locator(f'{selector}[aria-pressed="true"]').evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")


def box(page, number: int):
    return page.tab.locator(f'{BOX}[aria-label^="Person {number}"]')


def set_face(page, value: str) -> None:
    """As the user does."""
    page.do(
        f"""value => {{
        const face = app.graph.nodes.find(n => n.type === "{ENCODE}").widgets.find(w => w.name === "face");
        face.value = value;
        face.callback?.(value);
    }}""",
        value,
    )
    page.settle(300)
