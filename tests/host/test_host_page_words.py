"""Names, tooltips and help pages: there is one for everything the nodes have, in every language, and none for what they do not have."""

from __future__ import annotations

import json
import re
from string import Formatter
from typing import Any

import pytest

from .build_locales import DOCS, LOCALES, SPECIAL, at, definitions, help_pages, paths, read
from .comfy_server import ROOT
from .graphs import page_of

WEB = ROOT / "web"
LANGUAGES = ["en", "ja", "zh"]
CURE = "run tests/host/build_locales.py, and translate what it lists"
NEWER = [("DVAEncodeDecomposed", "face_box")]  # inputs of a type that older hosts have not


@pytest.fixture(scope="module")
def english(info):
    return definitions(info)


def test_languages():
    assert sorted(folder.name for folder in LOCALES.iterdir()) == LANGUAGES


def node_texts(language: str, english: dict[str, Any]) -> dict[str, Any]:
    """The texts of nodes in a language, without those of inputs that this host is too old for."""
    texts = read(language, "nodeDefs.json")
    for node, name in NEWER:
        if name not in english[node]["inputs"]:
            texts[node]["inputs"].pop(name, None)
    return texts


def test_english_is_what_the_nodes_say(english):
    assert node_texts("en", english) == english, CURE


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_of_a_node_is_translated_and_none_is_stale(english, language):
    translated = node_texts(language, english)
    assert set(paths(translated)) == set(paths(english)), CURE
    assert all(at(translated, path).strip() for path in paths(translated))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("file", ["nodeDefs.json", "main.json"])
def test_the_pages_translator_can_read_them(language, file):
    """Braces, @ and | have a meaning there: they stand as {'{'}, and in main.json braces may name a value."""
    tree = read(language, file)
    for path in paths(tree):
        bare = re.sub(r"\{'[{}@|]'\}", "", at(tree, path))
        if file == "main.json":
            bare = re.sub(r"\{\w+\}", "", bare)
        assert not set(bare) & set(SPECIAL), ".".join(path)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_of_the_scripts_is_there(language):
    english, own = read("en", "main.json")["dva"], read(language, "main.json")["dva"]
    used = {key for script in WEB.glob("*.js") for key in re.findall(r'"((?:panel|player)\.\w+)"', script.read_text(encoding="utf-8"))}
    used |= {f"panel.{space}{end}" for space in ("identity", "motion") for end in ("", "_hint")} | {
        "panel.other",
        "player.before",
        "player.after",
    }
    translated = {".".join(path) for path in paths({name: english[name] for name in ("panel", "player")})}
    assert used == translated
    for key in used:
        path = tuple(key.split("."))
        assert {name for _, name, *_ in Formatter().parse(at(own, path))} == {name for _, name, *_ in Formatter().parse(at(english, path))}


def test_every_node_has_a_help_page_in_every_language(english):
    pages = {path: text for language in LANGUAGES for path, text in help_pages(language).items()}
    assert {path: path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")} == pages, CURE
    texts = [read(language, "help.json")["nodes"] for language in LANGUAGES]
    for kind in english:
        assert all(about[kind]["tips"] and about[kind]["wiring"] == texts[0][kind]["wiring"] for about in texts), (
            f"{kind}: give wiring and tips"
        )
    assert all(set(about) == set(english) for about in texts)


def test_page_in_chinese(page, english):
    """After a real reload: names and tooltips are Chinese, the help page is, and the graph has kept its values."""
    kind, title = "DVAEditIdentityClassifier", read("zh", "nodeDefs.json")["DVAEditIdentityClassifier"]["display_name"]
    page.use_html_nodes(False)
    page.load(json.loads(page_of("edit_by_attribute").read_text(encoding="utf-8")), kind)
    page.set_value(kind, "attributes", '{"Young": 0.35}')
    page.do("() => app.extensionManager.workflow.activeWorkflow.changeTracker.checkState()")
    kept = "() => [localStorage, sessionStorage].some(place => Object.values(place).some(text => text.includes('0.35')))"
    page.until(lambda: page.do(kept))  # the page saves its state a little later
    page.server.request("/settings/Comfy.Locale", "zh")
    try:
        page.open()
        page.tab.wait_for_function(f"app.graph.nodes.some(node => node.type === '{kind}')")
        assert page.value(kind, "attributes") == '{"Young": 0.35}'
        page.look_at(kind)
        row = page.tab.locator('.dva-row[data-name="Young"]')
        row.wait_for(state="attached")
        assert row.locator(".dva-name").text_content() == read("zh", "main.json")["dva"]["attributes"]["Young"]
        assert page.do("kind => LiteGraph.registered_node_types[kind].title", kind) == title
        assert page.do("kind => app.graph.nodes.find(n => n.type === kind).inputs[0].localized_name", kind) == "\u5206\u89e3\u7ed3\u679c"
        page.do("kind => app.canvas.selectNode(app.graph.nodes.find(n => n.type === kind))", kind)
        page.picture("chinese")
        for name in english:
            text = page.do("async path => (await fetch(path)).text()", f"/extensions/diffusion-video-autoencoder/docs/{name}/zh.md")
            assert text.startswith(f"# {read('zh', 'nodeDefs.json')[name]['display_name']}")
        assert not page.errors
    finally:
        page.server.request("/settings/Comfy.Locale", "en")
