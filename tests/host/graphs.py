"""The example graphs as tests use them, and what is read back from the videos they write."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from .comfy_server import ROOT

FRAMES, STEPS = 6, 3
SIDE = 240  # pixels of the width of each half of two.mp4
SHOT = 20  # the first frame of the second shot of crowd.mp4
HERE = Path(__file__).resolve().parent
EXAMPLES = ROOT / "example_workflows"
TITLES = {  # what the page lists, in this order; the API's files have plain names
    "edit_by_attribute": "1 Edit a face by attribute",
    "encode_once_edit_many": "2 Encode once and edit many times",
    "several_attributes_and_comparison": "3 Several attributes side by side",
    "attribute_sheet": "4 Attribute sheet and preview",
    "edit_over_time": "5 Edit over time",
    "switch_identity_and_motion": "6 Switch identity and motion",
    "own_attribute": "7 An attribute of your own",
    "text_edit": "8 Edit by text",
    "two_people": "9 Two people, two edits",
    "expressions": "10 Change the expression",
}


def page_of(name: str) -> Path:
    """An example as the page saves it."""
    return EXAMPLES / f"{TITLES[name]}.json"


def example(name: str) -> dict[str, Any]:
    """An example in API format."""
    return json.loads((EXAMPLES / "api" / f"{name}.json").read_text(encoding="utf-8"))


def quick(prompt: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy with few steps, every frame of the short videos and video without loss; `changes` are put wherever an input has that name.

    Links stay.
    """
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        for name, value in {"steps": STEPS, "quality": 0, "every": 1, "start": 0.0, **changes}.items():
            if not isinstance(node["inputs"].get(name, []), list):
                node["inputs"][name] = value
    return prompt


def with_another(prompt: dict[str, Any]) -> dict[str, Any]:
    """Another person wherever a second video is loaded; the examples load another part of the one video they have."""
    for key in of_class(prompt, "DVALoadVideo")[1:]:
        prompt[key]["inputs"]["file"] = "other.mp4"
    return prompt


def of_class(prompt: dict[str, Any], kind: str) -> list[str]:
    """The ids of the nodes of a class."""
    return [key for key, node in prompt.items() if node["class_type"] == kind]
