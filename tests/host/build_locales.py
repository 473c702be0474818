"""Brings locales/ and the help pages up to date: PYTHONPATH=tests python -m host.build_locales http://127.0.0.1:8188

The address is that of a ComfyUI with this pack. English is written anew from its nodes. Of the translations,
what belongs to no node is dropped, and what is missing is listed. The help pages (web/docs) are put together from those texts, and from the
wiring and the tips in locales/<language>/help.json.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .comfy_server import ROOT

LOCALES, DOCS = ROOT / "locales", ROOT / "web" / "docs"
PREFIX = "DVA"
SPECIAL = "{}@|"  # have a meaning to the page's translator unless written as {'...'}


def escaped(text: str) -> str:
    return "".join(f"{{'{character}'}}" if character in SPECIAL else character for character in text)


def definitions(info: dict[str, Any]) -> dict[str, Any]:
    """What nodeDefs.json says in English, of the pack's nodes in /object_info."""
    by_kind = {}
    for kind, node in sorted(info.items()):
        if not kind.startswith(PREFIX):
            continue
        inputs = {
            name: {"name": spec[1].get("display_name") or name, "tooltip": spec[1]["tooltip"]}
            for group in ("required", "optional")
            for name, spec in (node["input"].get(group) or {}).items()
        }
        tips = node["output_tooltips"] or []
        outputs = {str(i): {"name": name, "tooltip": tip} for i, (name, tip) in enumerate(zip(node["output_name"], tips))}
        texts = {"display_name": node["display_name"], "description": node["description"], "inputs": inputs, "outputs": outputs}
        by_kind[kind] = json.loads(
            json.dumps(texts), object_hook=lambda part: {k: escaped(v) if isinstance(v, str) else v for k, v in part.items()}
        )
    return by_kind


def paths(tree: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to every text."""
    for key, branch in tree.items():
        if isinstance(branch, dict):
            yield from paths(branch, (*above, key))
        else:
            yield (*above, key)


def at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def kept(english: dict[str, Any], translated: dict[str, Any]) -> dict[str, Any]:
    """`translated`, in the order of the English texts and without what these do not have."""
    result: dict[str, Any] = {}
    for path in paths(english):
        text = at(translated, path)
        if text:
            branch = result
            for key in path[:-1]:
                branch = branch.setdefault(key, {})
            branch[path[-1]] = text
    return result


def read(language: str, file: str) -> dict[str, Any]:
    path = LOCALES / language / file
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def help_pages(language: str) -> dict[Path, str]:
    """Where each node's page goes, and what it says: ComfyUI looks for <node>/<language>.md, then for <node>.md."""
    nodes, help_texts = read(language, "nodeDefs.json"), read(language, "help.json")
    names, words = {kind: node["display_name"] for kind, node in nodes.items()}, help_texts["words"]

    def named(text: str) -> str:
        return re.sub(r"\{(DVA\w+)\}", lambda match: names[match[1]], text)

    def listed(entries: dict[str, Any]) -> list[str]:
        return [f"- **{entry['name']}**{words['separator']}{entry['tooltip']}" for entry in entries.values()]

    pages = {}
    for kind, node in nodes.items():
        about = help_texts["nodes"].get(kind, {"wiring": f"{{{kind}}}", "tips": []})
        parts = [[f"# {node['display_name']}"], [node["description"]], [f"## {words['wiring']}"], [named(about["wiring"])]]
        parts += [[f"## {words['inputs']}"], listed(node["inputs"]), [f"## {words['outputs']}"], listed(node["outputs"])]
        if about["tips"]:
            parts += [[f"## {words['tips']}"], [f"- {named(tip)}" for tip in about["tips"]]]
        text = "\n\n".join("\n".join(part) for part in parts) + "\n"
        pages[DOCS / kind / f"{language}.md"] = re.sub(r"\{'(.)'\}", r"\1", text)
        if language == "en":
            pages[DOCS / f"{kind}.md"] = pages[DOCS / kind / "en.md"]  # what is shown in a language that has none
    return pages


def main(url: str) -> None:
    with urllib.request.urlopen(f"{url}/object_info") as answer:
        english = definitions(json.load(answer))
    for folder in sorted(LOCALES.iterdir()):
        file = folder / "nodeDefs.json"
        new = english if folder.name == "en" else kept(english, read(folder.name, file.name))
        file.write_text(json.dumps(new, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for path in paths(english):
            if at(new, path) is None:
                sys.stdout.write(f"{folder.name} lacks {'.'.join(path)}: {at(english, path)}\n")
        if set(paths(new)) == set(paths(english)):
            for page, text in help_pages(folder.name).items():
                page.parent.mkdir(parents=True, exist_ok=True)
                page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
