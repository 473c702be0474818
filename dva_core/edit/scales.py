"""The text form of an edit by attributes: a JSON object of names and signed strengths, or curves over time."""

from __future__ import annotations

import json

from ..errors import DVAError
from .curves import Scale, parse_scale

EXAMPLE = '{"Young": -0.6, "Smiling": 0.4}'


def parse_scales(text: str) -> dict[str, Scale]:
    """Parse '{"Young": -0.6, "Beard": {"0s": 0, "1.5s": 0.8}}' to numbers and Curves; an empty text is an empty edit.

    DVAError, one sentence, for anything else. Names are checked by `AttributeSet.check`.
    """
    if not text.strip():
        return {}
    try:
        scales = json.loads(text, object_pairs_hook=_unique_names)
    except json.JSONDecodeError as error:
        raise DVAError(
            f"The attributes are not valid JSON (line {error.lineno}, column {error.colno}: {error.msg}); write for example {EXAMPLE}."
        ) from error
    except DVAError:
        raise
    except (RecursionError, ValueError) as error:  # ValueError: a number of more than 4300 digits
        raise DVAError(f"The attributes are nested, or a number is far too long; write for example {EXAMPLE}.") from error
    if not isinstance(scales, dict):
        raise DVAError(f"The attributes must be an object of names and numbers; write for example {EXAMPLE}.")
    return {name: parse_scale(scale, name) for name, scale in scales.items()}


def _unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of these pairs; DVAError for two names that are the same, ignoring case."""
    names = [name.lower() for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise DVAError(f"{name} is named twice; give each once.")
    return dict(pairs)
