"""The before/after player on Decode DDIM, after a real run; and what is shown where there is nothing to compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .graphs import FRAMES, STEPS, page_of

DECODE, ENCODE, PLAYER = "DVADecodeDDIM", "DVAEncodeDecomposed", ".dva-player.dva-ready"
STATE = """() => {
    const [before, after] = ["before", "after"].map(side => document.querySelector(`.dva-player video.dva-${side}`));
    return {before: before.currentTime, after: after.currentTime, ready: Math.min(before.readyState, after.readyState),
            paused: after.paused, width: after.videoWidth, src: after.getAttribute("src"), muted: [before.muted, after.muted]};
}"""

KEPT = f"() => app.nodeOutputs[app.graph.nodes.find(n => n.type === '{DECODE}').id]"

# whether the page itself shows the node's video
OWN_PREVIEW = f"""() => {{
    const node = app.graph.nodes.find(n => n.type === "{DECODE}");
    const onCanvas = node.widgets.some(w => w.name === "video-preview" && !w.hidden);
    const inHtml = [...document.querySelectorAll(`[data-node-id="${{node.id}}"] .video-preview`)].some(e => e.offsetParent);
    return LiteGraph.vueNodesMode ? inHtml : onCanvas;
}}"""


# pictures of a run that are still shown on the node
LEFT_OVER = f"""() => {{
    const node = app.graph.nodes.find(n => n.type === "{DECODE}");
    const pictures = [...document.querySelectorAll(`[data-node-id="${{node.id}}"] img[src^="blob:"]`)];
    const shown = pictures.filter(e => e.offsetParent).map(e => e.alt);
    return LiteGraph.vueNodesMode ? shown : node.imgs ?? [];
}}"""


@pytest.fixture
def player(page, mode):
    graph = json.loads(page_of("edit_by_attribute").read_text(encoding="utf-8"))
    for node in graph["nodes"]:
        node["pos"] = [2 * node["pos"][0], node["pos"][1]]
    page.load(graph, DECODE)
    page.run(steps=STEPS, max_images=4)
    page.tab.locator(PLAYER).wait_for()
    page.tab.wait_for_function(f"({STATE})().ready >= 2")
    page.bring(PLAYER)
    yield page
    assert not page.errors


def test_divider_time_and_release(player):
    tab = player.tab
    divider = tab.locator(f"{PLAYER} .dva-divider")
    assert divider.get_attribute("aria-valuenow") == "50"
    player.picture(f"player_{'html' if player.html else 'canvas'}")
    box = tab.locator(f"{PLAYER} .dva-stage").bounding_box()
    shape = player.do(
        "() => { const video = document.querySelector('.dva-player video.dva-after'); return video.videoWidth / video.videoHeight; }"
    )
    assert box["width"] / box["height"] == pytest.approx(shape, rel=0.02), "black bars beside the video, or above and below it"
    player.drag(f"{PLAYER} .dva-stage", (0.5, 0.4), (0.25, 0.4))
    assert abs(float(divider.get_attribute("aria-valuenow")) - 25) < 1
    clip_path = tab.locator("video.dva-after").evaluate("video => getComputedStyle(video).clipPath")
    assert clip_path.startswith("inset(") and "25" in clip_path.split("%")[0]
    divider.press("ArrowRight")
    assert abs(float(divider.get_attribute("aria-valuenow")) - 27) < 1
    divider.press("End")
    assert divider.get_attribute("aria-valuenow") == "100"
    tab.locator(f"{PLAYER} .dva-step").click()
    tab.locator(f"{PLAYER} .dva-step").click()
    divider.press(".")
    player.until(lambda: f"4/{FRAMES}" in tab.locator(f"{PLAYER} .dva-time").text_content())
    player.settle(300)
    state = player.do(STATE)
    assert state["before"] == state["after"] == pytest.approx(3.5 / 25) and state["width"] > 0
    assert f"4/{FRAMES}" in tab.locator(f"{PLAYER} .dva-time").text_content()
    tab.locator(f"{PLAYER} .dva-step-back").click()
    assert f"3/{FRAMES}" in tab.locator(f"{PLAYER} .dva-time").text_content()
    assert state["muted"] == [True, True]
    tab.locator(f"{PLAYER} .dva-mute").click()
    assert player.do(STATE)["muted"] == [True, False]
    tab.locator(f"{PLAYER} .dva-mute").click()
    tab.locator(f"{PLAYER} .dva-play").click()
    tab.wait_for_function(f"!({STATE})().paused")
    player.do("""() => {
        window.dvaAgain = false;
        document.querySelector(".dva-player video.dva-after").addEventListener("ended", () => { window.dvaAgain = true; }, {once: true});
    }""")
    tab.wait_for_function("window.dvaAgain")  # it begins again
    tab.locator(f"{PLAYER} .dva-play").click()
    state = player.do(STATE)
    assert state["paused"] and abs(state["before"] - state["after"]) < 0.5 / 25
    player.until(lambda: not player.do(OWN_PREVIEW))  # else it would be beside ours
    player.until(lambda: player.do(LEFT_OVER) == [])  # pictures of the run
    if not player.html:
        player.look_at(ENCODE)
        player.until(lambda: words_and_picture(player)[1:])
        (words, height), (picture, _) = words_and_picture(player)
        assert words + height <= picture, "the words of the run lie over its picture"
        player.picture("encode_after_a_run")


def words_and_picture(player) -> list[list[float]]:
    """Where they are on Encode Decomposed, and how high; only those that are there."""
    return player.do(f"""() => {{
        const {{widgets}} = app.graph.nodes.find(n => n.type === "{ENCODE}");
        const there = ["$$node-text-preview", "$$canvas-image-preview"].map(name => widgets.find(widget => widget.name === name));
        return there.filter(widget => widget?.computedHeight).map(widget => [widget.y, widget.computedHeight]);
    }}""")


def test_a_pause_at_the_very_end_holds(player):
    """The browser has paused the video already, and says only then that it has ended."""
    tab = player.tab
    tab.locator(f"{PLAYER} .dva-play").click()
    label = tab.locator(f"{PLAYER} .dva-play").get_attribute("aria-label")
    player.do("""() => {
        const video = document.querySelector(".dva-player video.dva-after"), button = document.querySelector(".dva-player .dva-play");
        window.dvaPressed = false;
        video.addEventListener("pause", () => { window.dvaPressed = video.ended; button.click(); }, {once: true});
    }""")
    tab.wait_for_function("window.dvaPressed")
    player.settle(500)
    assert player.do(STATE)["paused"] and tab.locator(f"{PLAYER} .dva-play").get_attribute("aria-label") != label
    tab.locator(f"{PLAYER} .dva-play").click()
    tab.wait_for_function(f"!({STATE})().paused")
    player.do("() => { const play = document.querySelector('.dva-player .dva-play'); play.click(); play.click(); }")
    player.settle(300)
    player.until(lambda: not player.do(STATE)["paused"])  # the pause was taken back


def test_full_screen_and_saving(player):
    """By pointer and by key; the file that is saved is the result."""
    tab = player.tab
    full, is_full = tab.locator(f"{PLAYER} .dva-full"), "document.fullscreenElement?.classList.contains('dva-player')"
    full.click()
    tab.wait_for_function(is_full)
    tab.wait_for_selector('.dva-full[aria-pressed="true"]')  # the button follows the page a moment later
    player.until(lambda: tab.locator(f"{PLAYER} .dva-stage").bounding_box()["width"] > 1000)
    assert tab.locator(f"{PLAYER} .dva-play").is_visible()
    player.picture(f"player_full_{'html' if player.html else 'canvas'}")
    player.drag(f"{PLAYER} .dva-stage", (0.5, 0.4), (0.25, 0.4))
    assert abs(float(tab.locator(f"{PLAYER} .dva-divider").get_attribute("aria-valuenow")) - 25) < 1
    scale = player.do("() => app.canvas.ds.scale")
    tab.mouse.wheel(0, 200)
    player.settle(300)
    assert player.do("() => app.canvas.ds.scale") == scale, "the canvas behind it was zoomed"
    tab.keyboard.press("f")
    tab.wait_for_function("!document.fullscreenElement")
    tab.wait_for_selector('.dva-full[aria-pressed="false"]')
    full.press("Enter")
    tab.wait_for_function(is_full)
    full.press("f")
    tab.wait_for_function("!document.fullscreenElement")
    save = tab.locator(f"{PLAYER} .dva-save")
    with tab.expect_download() as caught:
        save.press("Enter")
    output = player.do(KEPT)["images"][0]
    assert caught.value.suggested_filename == output["filename"]
    assert Path(caught.value.path()).read_bytes() == player.server.file(output).read_bytes()
    with tab.expect_download():
        save.click()


def test_a_player_that_is_taken_away_while_it_fills_the_screen_leaves_the_wheel_alone(player):
    player.tab.locator(f"{PLAYER} .dva-full").click()
    player.tab.wait_for_function("document.fullscreenElement?.classList.contains('dva-player')")
    player.do(f"() => app.graph.remove(app.graph.nodes.find(n => n.type === '{DECODE}'))")
    player.tab.wait_for_function("!document.fullscreenElement")
    heard = """() => {
        let heard = 0;
        const body = document.body, count = () => heard++;
        body.addEventListener("wheel", count);
        body.dispatchEvent(new WheelEvent("wheel", {bubbles: true, deltaY: 10}));
        body.removeEventListener("wheel", count);
        return heard;
    }"""
    assert player.do(heard) == 1


def test_the_rate_of_the_frames(player):
    """Beside the copy of the source, or on its own as in results of earlier versions."""
    show = f"""([rate, old]) => {{
        const {{dva_before: [before], dva_rate, ...rest}} = ({KEPT})();
        const output = {{...rest, dva_before: [{{...before, rate: rate ?? undefined}}], dva_rate: old ? [old] : undefined}};
        const node = app.graph.nodes.find(n => n.type === "{DECODE}");
        app.nodeOutputs[node.id] = output;
        node.onExecuted(output);
    }}"""
    clock_says = f"""rate => document.querySelector('{PLAYER} .dva-time').textContent.endsWith(
        `/${{Math.round(document.querySelector('{PLAYER} .dva-after').duration * rate)}}`)"""
    for rate, old in ((50, None), (None, 100), (12.5, 50)):
        player.do(show, [rate, old])
        player.tab.wait_for_function(clock_says, arg=rate or old)


def test_a_player_in_a_subgraph_outlives_a_change_of_workflow(player):
    """The page keeps the result under the server's id of the node, which begins with that of the subgraph."""
    if player.html and player.front_end < (1, 30):
        pytest.skip("the first HTML nodes go on showing the graph before, so that there may be two players")
    tab = player.tab
    inside = "() => app.canvas.setGraph([...app.graph.subgraphs.values()][0])"
    player.do(f"""() => {{
        const decode = app.graph.nodes.find(n => n.type === "{DECODE}");
        app.graph.convertToSubgraph(new Set([decode]));
    }}""")
    player.run(quality=27)
    player.do(inside)
    tab.locator(PLAYER).wait_for()
    src = player.do(STATE)["src"]
    player.do("() => { window.dvaWorkflow = app.extensionManager.workflow.activeWorkflow; }")
    player.do("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    tab.locator(PLAYER).first.wait_for(state="detached")
    player.settle()
    player.do("() => app.extensionManager.command.execute('Workspace.CloseWorkflow')")
    tab.wait_for_function("app.extensionManager.workflow.activeWorkflow.path === dvaWorkflow.path && app.graph.nodes.length")
    player.do(inside)
    tab.locator(PLAYER).wait_for()
    assert player.do(STATE)["src"] == src
    player.do("() => app.canvas.setGraph(app.graph)")


def test_videos_are_let_go(player):
    """By the next result, and with the node; without a comparison the page shows its own preview."""
    first = player.do(STATE)["src"]
    player.run(quality=25)
    player.tab.wait_for_function(f"({STATE})().src !== {json.dumps(first)}")
    player.do("() => { window.dvaVideos = [...document.querySelectorAll('.dva-player video')]; }")
    player.run(compare=False)
    player.tab.locator(PLAYER).wait_for(state="detached")
    if not (player.html and player.front_end < (1, 30)):  # whose first HTML nodes show no videos
        player.tab.wait_for_function(OWN_PREVIEW)
    player.picture(f"player_none_{'html' if player.html else 'canvas'}")
    assert player.do("() => dvaVideos.map(video => video.getAttribute('src'))") == [None, None]
    player.run(compare=True)
    player.tab.locator(PLAYER).wait_for()
    player.do(f"() => app.graph.remove(app.graph.nodes.find(n => n.type === '{DECODE}'))")
    states = player.do("() => dvaVideos.map(video => [video.getAttribute('src'), video.networkState])")
    assert all(src is None and state in (0, 3) for src, state in states), "empty, or no source"
