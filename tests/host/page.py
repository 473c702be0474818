"""ComfyUI's page in a headless Chromium, as the tests use it: load a graph, find a node's panel, see what would be queued."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .comfy_server import ROOT, Server

OUT = ROOT / "tests" / "output"
FLAGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# the node types are there, and the graph that the page opens by itself
READY = """window.app?.extensionManager && window.app.graph && document.querySelector('canvas') && window.app.canvas?.graph
    && LiteGraph.registered_node_types.DVALoadModel && app.extensionManager.workflow?.activeWorkflow?.changeTracker"""
HTML_NODES = "Comfy.VueNodes.Enabled"
# what the page is about to drop is an error where a script of the pack uses it itself, and not what it calls
DEPRECATIONS = """() => {
    LiteGraph.alwaysRepeatWarnings = true;
    LiteGraph.onDeprecationWarning = [message => {
        const called = new Error().stack.split("\\n").slice(3, 5).join(" ");
        if (called.includes("diffusion-video-autoencoder")) console.error(`${message} ${called}`);
    }];
}"""
MESSAGE = ".p-dialog"  # of the page itself
LONG, FOUND = 120_000, 300_000  # milliseconds that nothing on the page takes, and that no search for faces takes, on a busy machine
COUNT_REQUESTS = """
    window.dvaRequests = window.dvaAsked = 0;
    const fetch = window.fetch;
    window.fetch = async (what, ...rest) => {
        const ours = new URL(what.url ?? what, location.href).origin === location.origin;
        window.dvaRequests += ours;
        window.dvaAsked += ours;
        try { return await fetch(what, ...rest); } finally { window.dvaRequests -= ours; }
    };
"""
SETTLE = """async milliseconds => {
    const pause = time => new Promise(done => setTimeout(done, time)), frame = () => new Promise(done => requestAnimationFrame(done));
    const calm = async () => { // two frames in which nothing was asked of the server, and nothing to wait for before
        for (let asked, round = 0; asked !== window.dvaAsked && round < 50; round++) {
            asked = window.dvaAsked;
            for (let waited = 0; window.dvaRequests > 0 && waited < 60_000; waited += 20) await pause(20);
            await frame();
            await frame();
        }
    };
    await pause(0);
    await calm();
    if (!milliseconds) return;
    await pause(milliseconds);
    await calm();
}"""
# a node out of sight grows for the picture of its video only when links are drawn, which would be a step of its own to undo
NOTED = """() => {
    const isBare = node => node.type === "DVALoadVideo" && !node.widgets.some(({name}) => name === "video-preview");
    if (!LiteGraph.vueNodesMode && app.graph.nodes.some(isBare)) return false;
    app.canvas.draw(true, true);
    const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
    if (tracker.captureCanvasState) tracker.captureCanvasState();
    else tracker.checkState();
    const same = tracker.constructor.graphEqual ?? (() => true);
    return same(tracker.activeState, JSON.parse(JSON.stringify(app.graph.serialize())));
}"""
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.Validation.Workflows": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,  # drawing it takes a tenth of the page's time
    HTML_NODES: False,
}


def find_chromium() -> str | None:
    """$CHROMIUM, or a Chromium on the path."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab of the page. `errors` are what scripts of this pack threw or logged since it was opened."""

    def __init__(self, tab: Any, server: Server) -> None:
        self.tab, self.server, self.html = tab, server, False
        self.errors: list[str] = []
        tab.on("pageerror", lambda error: self._note(f"{error}\n{error.stack or ''}"))
        tab.on(
            "console", lambda message: self._note(f"{message.text} {message.location.get('url', '')}") if message.type == "error" else None
        )
        tab.set_default_timeout(LONG)
        tab.add_init_script(COUNT_REQUESTS)

    def _note(self, text: str) -> None:
        if text.startswith("Failed to load resource") and "/dva/attributes" in text:
            return  # the browser's own line; the panel says what the server answered
        if "diffusion-video-autoencoder" in text or "dva" in text.lower() or "Message compilation" in text:
            self.errors.append(text[:800])

    def open(self) -> Page:
        self.tab.goto(self.server.url)
        self.tab.wait_for_function(READY, timeout=FOUND)
        self.do(DEPRECATIONS)
        self.settle(500)
        self.front_end = tuple(int(part) for part in self.do("() => window.__COMFYUI_FRONTEND_VERSION__").split(".")[:2])
        return self

    def renew(self) -> None:
        """Opened anew, with nothing of the graphs before: neither shown nor kept as drafts."""
        self.do(
            "() => { try { app.graph.clear(); } catch { /* it cannot even be cleared */ } localStorage.clear(); sessionStorage.clear(); }"
        )
        self.tab.goto("about:blank")
        self.errors.clear()
        self.open()

    def use_html_nodes(self, wanted: bool) -> None:
        self.html = wanted
        self.do("([name, value]) => app.extensionManager.setting.set(name, value)", [HTML_NODES, wanted])
        self.settle(300)

    def do(self, script: str, argument: Any = None) -> Any:
        return self.tab.evaluate(script, argument)

    # -- graphs --------------------------------------------------------------------------------------------------

    def load(self, graph: dict[str, Any], look_at: str = "") -> None:
        """Puts a saved graph on the page, with the (first) node of a class at the top left, unscaled."""
        self.put(graph)
        if look_at:
            self.look_at(look_at)
        else:
            self.settle(300)

    def put(self, graph: dict[str, Any]) -> None:
        """As load, without waiting for more than the page itself does."""
        self.dismiss()
        detour = self.html and self.front_end < (1, 30)  # its first HTML nodes went on showing the graph before
        if detour:
            self.use_html_nodes(False)
        self.do("graph => app.loadGraphData(graph, true, true, app.extensionManager.workflow.activeWorkflow)", graph)
        if detour:
            self.use_html_nodes(True)

    def look_at(self, kind: str) -> None:
        self.do(
            """kind => {
                const [x, y] = app.graph.nodes.find(node => node.type === kind).pos;
                Object.assign(app.canvas.ds, {scale: 1, offset: [140 - x, 160 - y]});
                app.canvas.setDirty(true, true);
            }""",
            kind,
        )
        self.settle(300)

    def bring(self, selector: str) -> None:
        """Moves the canvas until an element is at the top left."""
        self.settle()
        box = self.tab.locator(selector).first.bounding_box()
        move = "([x, y]) => { app.canvas.ds.offset[0] += x; app.canvas.ds.offset[1] += y; app.canvas.setDirty(true, true); }"
        self.do(move, [200 - box["x"], 160 - box["y"]])
        self.settle(300)

    def graph(self) -> dict[str, Any]:
        """As it would be saved."""
        return self.do("() => JSON.parse(JSON.stringify(app.graph.serialize()))")

    def prompt(self) -> dict[str, Any]:
        """As it would be queued, without titles."""
        output = self.do("async () => (await app.graphToPrompt()).output")
        return {key: {"class_type": node["class_type"], "inputs": node["inputs"]} for key, node in output.items()}

    def id_of(self, kind: str) -> int:
        return self.do("kind => app.graph.nodes.find(node => node.type === kind).id", kind)

    def value(self, kind: str, widget: str) -> Any:
        return self.do(
            "([kind, name]) => app.graph.nodes.find(n => n.type === kind).widgets.find(w => w.name === name).value", [kind, widget]
        )

    def set_value(self, kind: str, widget: str, value: Any) -> None:
        script = "([kind, name, value]) => { app.graph.nodes.find(n => n.type === kind).widgets.find(w => w.name === name).value = value; }"
        self.do(script, [kind, widget, value])

    @contextmanager
    def caught_prompts(self) -> Iterator[list[dict[str, Any]]]:
        """What the page sends to /prompt meanwhile; the server does not get it."""
        sent: list[dict[str, Any]] = []

        def catch(route: Any) -> None:
            sent.append(json.loads(route.request.post_data))
            route.fulfill(json={"prompt_id": f"caught-{len(sent)}", "number": 0, "node_errors": {}})

        self.tab.route("**/api/prompt", catch)
        try:
            yield sent
        finally:
            self.tab.unroute("**/api/prompt", catch)

    # -- waiting -------------------------------------------------------------------------------------------------

    def settle(self, milliseconds: int = 0) -> None:
        """Waits for what the page has under way: its answers, its frames, its timers of up to so many milliseconds by its own clock."""
        self.tab.evaluate(SETTLE, milliseconds)

    def until(self, holds: Callable[[], Any], seconds: float = LONG / 1000) -> None:
        """Waits until something holds; AssertionError where it does not."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"not within {seconds:.0f} s"
            self.tab.wait_for_timeout(50)

    def note(self) -> None:
        """The page's undo takes note of the graph as it is, as it does by itself a little later."""
        self.until(lambda: self.do(NOTED))

    def dismiss(self) -> None:
        """Closes the page's own messages, if there are any."""

        def gone() -> bool:
            if shown := self.tab.locator(MESSAGE).count():
                self.tab.keyboard.press("Escape")
                self.settle(100)
            return not shown

        self.until(gone)

    def run(self, **values: Any) -> None:
        """Queues the graph from the page, with these values in all widgets of such names, and waits until it has ended."""
        for name, value in values.items():
            self.do(
                "([name, value]) => app.graph.nodes.forEach(n => n.widgets?.forEach(w => { if (w.name === name) w.value = value; }))",
                [name, value],
            )
        self.do("""() => {
            const ends = [];
            for (const event of ["execution_success", "execution_error"])
                app.api.addEventListener(event, ({detail}) => ends.push({event, id: detail.prompt_id, said: detail.exception_message}));
            window.dvaEnded = () => ends.find(({id}) => id === window.dvaQueued); // others may still be ending
            window.dvaQueued = null;
            app.api.queuePrompt = async (...order) => {
                delete app.api.queuePrompt;
                const answer = await app.api.queuePrompt(...order);
                window.dvaQueued = answer.prompt_id;
                return answer;
            };
            app.queuePrompt(0);
        }""")
        self.tab.wait_for_function("window.dvaEnded()", timeout=3 * LONG)
        ended = self.do("() => window.dvaEnded()")
        assert ended["event"] == "execution_success", ended

    def last_run(self) -> dict[str, Any]:
        """The server's history of what it has run last, once it runs nothing any more."""
        self.until(lambda: not any(self.server.get("/queue").values()))
        (ran,) = self.server.get("/history?max_items=1").values()
        return ran

    # -- the mouse -----------------------------------------------------------------------------------------------

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """From one place inside an element to another, as parts of its width and height."""
        self.settle()
        box = self.tab.locator(selector).first.bounding_box()
        (x0, y0), (x1, y1) = ((box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in (start, end))
        self.tab.mouse.move(x0, y0)
        self.tab.mouse.down()
        for part in (0.3, 0.7, 1):
            self.tab.mouse.move(x0 + (x1 - x0) * part, y0 + (y1 - y0) * part)
        self.tab.mouse.up()

    def picture(self, name: str) -> Path:
        """A screenshot in the tests' output folder."""
        OUT.mkdir(parents=True, exist_ok=True)
        path = OUT / f"page_{name}.png"
        self.tab.screenshot(path=path)
        return path


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A headless Chromium; skipped, with the reason, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page tests need Playwright: pip install playwright")
    chromium = find_chromium()
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path
        if chromium is None and not Path(own).is_file():
            pytest.skip("no Chromium was found: install one (apt-get install chromium), or set CHROMIUM to its path")
        running = driver.chromium.launch(executable_path=chromium or own, args=FLAGS.split())
        yield running
        running.close()


@pytest.fixture(scope="package")
def page(browser, server, videos) -> Iterator[Page]:
    """The page of the one server, in English, with nodes drawn on the canvas."""
    for name, value in SETTINGS.items():
        server.request(f"/settings/{name}", value)
    tab = browser.new_page(viewport={"width": 1500, "height": 900})
    yield Page(tab, server).open()
    tab.close()


@pytest.fixture(scope="module", params=["canvas", "html"])
def mode(page, request) -> str:
    """Each test once with nodes drawn on the canvas, and once with nodes built of HTML ("Nodes 2.0")."""
    page.use_html_nodes(request.param == "html")
    return request.param
