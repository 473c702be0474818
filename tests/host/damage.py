"""Graphs, of the API or as the page saves them, as damaged files."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

HOSTILE = [None, True, -1, 1 << 70, 1e308, float("nan"), float("inf"), "", "\0", "../../../etc/passwd", "[" * 5000, '{"Young":', "\ud800"]
HOSTILE += [[], {}, ["1", 0], ["99", 0], ["1", 99], ["1", "0"], [[["1", 0]]], {"Young": [1]}, "0s:0,1s:-1", "x" * 100_000, b"x".hex()]


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Every place in a tree of dicts and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def damaged(text: str, rng: random.Random, kinds: Sequence[str]) -> Any:
    """What a file holds once some of it has been changed; None where that is no JSON any more. kinds: what a node may become."""
    if rng.random() < 0.3:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice([*'{}[]:,"\\0', "null", "1e999", text[:40]]) + text[at + rng.randrange(8) :]
        try:
            return json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            return None
    tree = json.loads(text)
    for _ in range(rng.randint(1, 4)):
        path = rng.choice(places(tree)[1:] or [()])
        if not path:
            break
        holder = tree
        for key in path[:-1]:
            holder = holder[key]
        if rng.random() < 0.15:
            del holder[path[-1]]
        elif path[-1] in ("class_type", "type") and isinstance(holder[path[-1]], str):
            holder[path[-1]] = rng.choice(kinds)
        else:
            holder[path[-1]] = rng.choice(HOSTILE)
    return tree
