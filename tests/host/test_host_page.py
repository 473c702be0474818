"""The page: saved graphs open in it, and the attribute panel does what it shows, in both of the page's ways to draw nodes."""

from __future__ import annotations

import json

import pytest

from .graphs import EXAMPLES
from .panels import EDIT, FILES, LOADER, PANEL, add_preview, first_example, row, saved_graph, scales, shown_rows, spread
from .workflows import NOTES, to_api, widget_names


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_saved_graphs_open_with_their_values(page, mode, info, path):
    if mode == "html" and path.parent != EXAMPLES:
        pytest.skip("the examples are enough to see that HTML nodes take saved values")
    graph = saved_graph(path)
    page.load(graph)
    wrong = page.do("() => app.graph.nodes.filter(n => n.has_errors || !LiteGraph.registered_node_types[n.type]).map(n => n.type)")
    assert wrong == [] and page.tab.locator(".p-dialog").count() == 0
    now = {node["id"]: node for node in page.graph()["nodes"]}
    for node in graph["nodes"]:
        if node["type"] not in NOTES:
            names = widget_names(info[node["type"]])[: len(node["widgets_values"])]
            # a newer core node may have fewer values of its own (Save Video of 2026 has made its format one choice with parts)
            assert (now[node["id"]].get("widgets_values") or [])[: len(names)] == node["widgets_values"][: len(names)]
            if node["type"].startswith("DVA"):
                assert len(now[node["id"]].get("widgets_values") or []) == len(widget_names(info[node["type"]])), (
                    "the page's additions are not saved"
                )
    if mode == "canvas" and path.parent == EXAMPLES:
        blank = page.do("() => app.graph.nodes.filter(n => n.type === 'DVADecodeDDIM').map(n => n.size[1] - n.computeSize()[1])")
        assert all(height < 10 for height in blank), "there is empty space under its widgets"
    sent = page.prompt()
    for key, node in to_api(graph, info).items():
        assert {name: sent[key]["inputs"].get(name) for name in node["inputs"]} == node["inputs"]
    assert not page.errors


def test_slider_reaches_the_queued_prompt(panel):
    panel.tab.locator(row("Young")).scroll_into_view_if_needed()
    panel.drag(f"{row('Young')} .dva-slider", (0.5, 0.5), (0.2, 0.5))
    assert scales(panel) == {"Male": -0.5, "Young": -0.6}
    assert panel.tab.locator(f"{row('Young')} .dva-number").input_value() == "-0.6"
    panel.tab.locator(f"{row('Beard')} .dva-number").fill("0.125")
    panel.tab.keyboard.press("Tab")
    panel.tab.locator(f"{row('Smiling')} .dva-slider").focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowLeft"):
        panel.tab.keyboard.press(key)
    with panel.caught_prompts() as sent:
        panel.do("() => app.queuePrompt(0)")
    inputs = sent[0]["prompt"][str(panel.id_of(EDIT))]["inputs"]
    assert inputs["attributes"] == '{"Male": -0.5, "Young": -0.6, "Beard": 0.125, "Smiling": 0.09}'
    assert set(inputs) == {"attributes", "normalize", "person", "decomposition", "model"}
    panel.picture("panel")


def test_delete_key_resets_a_slider_and_keeps_the_node(panel):
    panel.tab.locator(f"{row('Male')} .dva-slider").focus()
    panel.tab.keyboard.press("Delete")
    assert scales(panel) == {} and panel.id_of(EDIT)


def test_search_fold_and_reset(panel):
    assert {"Male", "Smiling", "Freckles"} <= set(shown_rows(panel))
    panel.tab.locator(f"{PANEL} .dva-search").fill("gla")
    assert shown_rows(panel) == ["Eyeglasses", "Sunglasses"]
    panel.tab.locator(f"{PANEL} .dva-search").fill("")
    panel.tab.locator(f"{PANEL} .dva-fold").click()
    assert shown_rows(panel) == ["Male"]
    panel.picture("panel_folded")
    assert [node["properties"]["dva_folded"] for node in panel.graph()["nodes"] if node["type"] == EDIT] == [True]
    panel.tab.locator(f"{row('Male')} .dva-reset").click()
    assert scales(panel) == {} and shown_rows(panel) == []
    panel.tab.locator(f"{PANEL} .dva-fold").click()
    panel.set_value(EDIT, "attributes", '{"Male": 0.3, "Young": 0.4}')
    panel.settle()
    panel.tab.locator(f"{row('Male')} .dva-slider").scroll_into_view_if_needed()
    panel.tab.locator(f"{row('Male')} .dva-slider").dblclick()
    assert scales(panel) == {"Young": 0.4}
    panel.tab.locator(f"{PANEL} .dva-reset-all").click()
    assert panel.value(EDIT, "attributes") == "{}"


def test_text_by_hand(panel):
    """Moves the sliders; what is no such text is shown as it is and left alone; curves and unknown names are kept."""
    panel.tab.locator(f"{PANEL} .dva-json").click()
    area = panel.tab.locator(f"{PANEL} .dva-text")
    area.fill('{"male": 0.25, "Beard": {"0s": 0, "1s": 0.5}, "Nose": 1}')
    number = panel.tab.locator(f"{row('Male')} .dva-number")
    assert number.input_value() == "0.25"
    assert panel.tab.locator(row("Nose")).get_attribute("class") == "dva-row dva-foreign dva-set"
    assert panel.tab.locator(f"{row('Beard')} .dva-number").is_disabled()
    number.fill("0.5")
    number.press("Enter")
    assert panel.value(EDIT, "attributes") == '{"male": 0.5, "Beard": {"0s":0,"1s":0.5}, "Nose": 1}'
    for broken in ('{"Male": 0.5', "[1]", '{"Male": 1, "male": 2}'):
        area.fill(broken)
        assert panel.tab.locator(f"{PANEL} .dva-broken").is_visible() and number.is_disabled()
        assert panel.value(EDIT, "attributes") == broken == area.input_value()
    panel.picture("panel_broken")
    area.fill("")
    assert panel.tab.locator(f"{PANEL} .dva-broken").is_hidden() and number.is_enabled()


def test_undo_copy_and_loading_again_keep_the_values(panel):
    panel.tab.locator(row("Young")).scroll_into_view_if_needed()
    panel.drag(f"{row('Young')} .dva-slider", (0.5, 0.5), (0.75, 0.5))
    changed = {"Male": -0.5, "Young": 0.5}
    assert scales(panel) == changed
    panel.do(f"""() => {{
        const node = app.graph.nodes.find(n => n.type === "{EDIT}");
        app.canvas.copyToClipboard([node]);
        app.canvas.pasteFromClipboard();
    }}""")
    both = panel.do(f'() => app.graph.nodes.filter(n => n.type === "{EDIT}").map(n => n.widgets[0].value)')
    assert both == ['{"Male": -0.5, "Young": 0.5}'] * 2
    panel.load(panel.graph(), EDIT)
    assert scales(panel) == changed
    panel.load(spread(first_example()), EDIT)
    panel.note()
    panel.tab.locator(f"{row('Male')} .dva-slider").focus()
    panel.tab.keyboard.press("ArrowRight")
    assert scales(panel) == {"Male": -0.45}
    panel.note()  # an undo before that has nothing to undo
    panel.tab.keyboard.press("Control+z")
    panel.tab.wait_for_function(f"""() => app.graph.nodes.find(n => n.type === "{EDIT}")?.widgets[0].value === '{{"Male": -0.5}}'""")
    assert scales(panel) == {"Male": -0.5}
    panel.until(lambda: panel.tab.locator(f"{row('Male')} .dva-number").input_value() == "-0.5")


def test_attributes_are_the_connected_models_own(panel):
    """Through a reroute, and at once when another model is chosen; without a model, the starter's."""
    answer = {"attributes": [{"name": "Wrinkles", "space": "identity", "index": 0, "auc": 0.9, "range": [-2, 2]}]}
    panel.tab.route("**/dva/attributes?model=other*", lambda route: route.fulfill(json=answer))
    panel.do(f"""() => {{
        const [loader, edit] = ["{LOADER}", "{EDIT}"].map(kind => app.graph.nodes.find(n => n.type === kind));
        const reroute = LiteGraph.createNode("Reroute");
        app.graph.add(reroute);
        loader.connect(0, reroute, 0);
        reroute.connect(0, edit, 1);
        const model = loader.widgets[0];
        model.value = "other.safetensors";
        model.callback?.(model.value);
    }}""")
    panel.tab.locator(row("Wrinkles")).wait_for(state="attached")
    assert panel.tab.locator(f"{row('Wrinkles')} .dva-slider").get_attribute("aria-valuemax") == "2"
    assert "0.90" in panel.tab.locator(f"{row('Wrinkles')} .dva-name").get_attribute("title")
    assert panel.tab.locator(".dva-foreign").get_attribute("data-name") == "Male"
    panel.do(f'() => app.graph.nodes.find(n => n.type === "{EDIT}").disconnectInput(1)')
    panel.tab.locator(row("Smiling")).wait_for(state="attached")
    assert panel.tab.locator(".dva-foreign").count() == 0


def test_preview_runs_alone_and_only_the_latest(panel):
    """Letting a slider go queues the Preview Edit behind the node, through the host's partial execution; nothing piles up."""
    live = panel.tab.locator(f"{PANEL} .dva-live")
    assert live.is_disabled()
    target = add_preview(panel)
    young = panel.tab.locator(f"{row('Young')} .dva-slider")
    with panel.caught_prompts() as sent:
        panel.tab.locator(f"{PANEL}").hover()
        live.click()
        panel.until(lambda: sent)
        young.focus()
        for _ in range(4):
            panel.tab.keyboard.press("ArrowRight")
        panel.settle(500)
        assert len(sent) == 1, "others are queued while one runs"
        ended = "id => app.api.dispatchEvent(new CustomEvent('executed', {detail: {node: id, prompt_id: 'caught-1', output: {}}}))"
        panel.do(ended, target)
        panel.until(lambda: len(sent) == 2)
        panel.do(ended, target)
        panel.settle(500)
    assert [body["partial_execution_targets"] for body in sent] == [[target]] * 2
    assert [json.loads(body["prompt"][str(panel.id_of(EDIT))]["inputs"]["attributes"]).get("Young") for body in sent] == [None, 0.2]


@pytest.mark.parametrize("kind", ["DVAEditIdentityCLIP", "DVASwitchFeatures"])
def test_a_fresh_nodes_seed_stays_and_a_saved_choice_does(page, mode, kind):
    """Else every run would repeat a search of minutes; a workflow that was saved with another choice has it."""
    page.load({"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "version": 0.4})
    page.do("kind => { const node = LiteGraph.createNode(kind); node.pos = [100, 100]; app.graph.add(node); }", kind)
    widgets = "kind => app.graph.nodes.find(n => n.type === kind).widgets.map(w => w.name)"
    names = page.do(widgets, kind)
    assert names.index("control_after_generate") == names.index("seed") + 1
    with page.caught_prompts() as sent:
        for _ in range(2):
            page.do("() => app.queuePrompt(0)")
    seeds = [inputs["seed"] for body in sent for node in body["prompt"].values() if "seed" in (inputs := node["inputs"])]
    assert seeds == [0, 0] and page.value(kind, "seed") == 0
    page.set_value(kind, "control_after_generate", "increment")
    page.load(page.graph())
    assert page.value(kind, "control_after_generate") == "increment" and page.do(widgets, kind) == names
    assert not page.errors


@pytest.mark.parametrize("off", [2, 4], ids=["muted", "bypassed"])
def test_a_preview_that_is_left_out_is_not_run(panel, off):
    """Nor one behind a muted node; what a bypass hands on is shown."""
    target = add_preview(panel)
    live, set_mode = panel.tab.locator(f"{PANEL} .dva-live"), "([id, mode]) => { app.graph.getNodeById(Number(id)).mode = mode; }"
    interrupt = "() => app.api.dispatchEvent(new CustomEvent('execution_interrupted', {detail: {}}))"
    with panel.caught_prompts() as sent:
        panel.tab.locator(PANEL).hover()
        live.click()
        panel.until(lambda: sent)
        panel.settle(300)
        panel.do(interrupt)
        assert len(sent) == 1
        sent.clear()
        panel.do(set_mode, [target, off])
        panel.tab.locator(f"{row('Young')} .dva-slider").press("ArrowRight")
        panel.settle(500)
        assert not sent and live.is_disabled() and panel.tab.locator(".p-dialog").count() == 0
        between = panel.do(f"""() => {{
            const [edit, shown] = ["{EDIT}", "DVAPreviewEdit"].map(kind => app.graph.nodes.find(n => n.type === kind));
            const between = LiteGraph.createNode("DVASwitchFeatures");
            app.graph.add(between);
            edit.connect(0, between, 0);
            between.connect(0, shown, 0);
            shown.mode = 0;
            return between.id;
        }}""")
        panel.do(set_mode, [between, off])
        panel.tab.locator(f"{row('Young')} .dva-slider").press("ArrowRight")
        panel.until(lambda: sent or off != 4)
        panel.settle(500)
        assert [body["partial_execution_targets"] for body in sent] == ([[target]] if off == 4 else [])
        panel.do(interrupt)


def test_why_a_preview_cannot_be_run(panel):
    """Is said on the panel, until the next one begins."""
    add_preview(panel)
    panel.do("""() => {
        const queue = app.queuePrompt;
        app.queuePrompt = async () => { app.queuePrompt = queue; throw new Error("a link leads nowhere"); };
    }""")
    panel.tab.locator(PANEL).hover()
    panel.tab.locator(f"{PANEL} .dva-live").click()
    note = panel.tab.locator(f"{PANEL} .dva-note")
    note.wait_for()
    assert "a link leads nowhere" in note.text_content()
    with panel.caught_prompts() as sent:
        panel.tab.locator(f"{row('Young')} .dva-slider").press("ArrowRight")
        note.wait_for(state="hidden")
        panel.until(lambda: sent)
        panel.settle(300)
        panel.do("() => app.api.dispatchEvent(new CustomEvent('execution_interrupted', {detail: {}}))")
    assert len(sent) == 1


def test_a_model_that_cannot_be_read_says_why(panel):
    """And what is set can still be changed; it is not called missing in a model that nobody has seen."""
    panel.do(f"""() => {{
        const model = app.graph.nodes.find(n => n.type === "{LOADER}").widgets[0];
        model.value = "gone.safetensors";
        model.callback?.(model.value);
    }}""")
    note = panel.tab.locator(f"{PANEL} .dva-note")
    note.wait_for()
    assert "gone.safetensors" in note.text_content() and shown_rows(panel) == ["Male"]
    assert panel.tab.locator(".dva-foreign").count() == 0
    assert panel.tab.locator('.dva-group[data-space="other"] .dva-space').text_content() == "Set in this edit"
    panel.picture(f"panel_unread_{'html' if panel.html else 'canvas'}")
    panel.tab.locator(f"{row('Male')} .dva-slider").press("ArrowRight")
    assert scales(panel) == {"Male": -0.45}
