"""Saved graphs with damage: whatever is in the file, no script of the pack throws, and the page goes on."""

from __future__ import annotations

import json
import os
import random

from .damage import damaged
from .panels import FILES, saved_graph, shown_rows
from .panels import first_example as sound_example

COUNT = int(os.environ.get("DVA_FUZZ", 25))
LOAD = """async graph => {
    try { await app.loadGraphData(graph, true, true, app.extensionManager.workflow.activeWorkflow); } catch { /* of the page itself */ }
    await new Promise(next => requestAnimationFrame(() => requestAnimationFrame(next)));
}"""


def test_damaged_graphs_open_or_not_but_nothing_of_the_pack_throws(page):
    """The page is renewed afterwards: it cannot save what is left of some damaged graphs, and so opens no other."""
    try:
        load_damaged(page)
    finally:
        page.renew()
    page.load(sound_example(), "DVAEditIdentityClassifier")
    page.tab.locator(".dva-panel .dva-row").first.wait_for()
    assert shown_rows(page) and not page.errors


def load_damaged(page) -> None:
    rng, texts = random.Random(COUNT), [json.dumps(saved_graph(path)) for path in FILES]
    kinds = sorted({node["type"] for text in texts for node in json.loads(text)["nodes"] if node["type"].startswith("DVA")})
    for number in range(COUNT):
        graph = damaged(texts[number % len(texts)], rng, kinds)
        if not isinstance(graph, dict):
            continue
        page.errors.clear()
        page.do(LOAD, graph)
        thrown = [error for error in page.errors if "/extensions/" in error]
        assert not thrown, (thrown[0], json.dumps(graph)[:1000])
