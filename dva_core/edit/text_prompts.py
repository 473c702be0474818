"""Sentences that contain a text; averaging their features cancels the influence of a single wording (Kim et al. 2023, appendix, uses 79).

These describe pictures of faces: kind of picture, view, light, quality. "{}" stands for the text, such as "face with beard".
"""

from __future__ import annotations

from itertools import product

PICTURES = ("a photo of a {}", "a video frame showing a {}", "a portrait of a {}", "a close view of a {}")
MANNERS = (
    "{}",
    "{}, seen from the front",
    "{}, turned a little to the side",
    "{}, in soft daylight",
    "{}, lit from one side",
    "{}, in a dim room",
    "{}, against a plain wall",
    "{}, out of doors",
    "{}, slightly out of focus",
    "{}, very sharp",
    "{}, with visible grain",
    "{}, small and pixelated",
    "{}, compressed too strongly",
    "{}, in black and white",
    "{}, in pale colours",
    "{}, in strong colours",
    "{}, cut close around the head",
    "{}, while speaking",
    "{}, with a calm expression",
)
ARTICLES = ("a ", "an ", "the ")


def templates() -> list[str]:
    """All combinations of PICTURES and MANNERS, each with one "{}"."""
    return [manner.format(picture) for picture, manner in product(PICTURES, MANNERS)]


def sentences(text: str) -> list[str]:
    """Insert `text` in every template; an article in the text replaces the template's."""
    text = text.strip()
    own_article = text.lower().startswith(ARTICLES)
    return [(template.replace("a {}", "{}") if own_article else template).format(text) for template in templates()]
