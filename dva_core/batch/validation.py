"""The errors of pydantic about a manifest, as sentences that name the place and the cure."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError

from .manifest import Edit, Manifest, Settings, Video

ADDRESS = "http://127.0.0.1:8188"
PAIRS = {"edits": "younger: {Young: 0.8}", "people": "anna: reference:anna.jpg", "settings": "steps: 10", "inputs": "steps: 10"}
LISTS = {"videos": '["clips/*.mp4"]', "servers": f"[{ADDRESS}]"}
FIELDS = {"settings": Settings, "videos": Video, "edits": Edit}  # whose names a misspelt one may mean
LIMITS = {"less_than_equal": "at most {le:g}", "greater_than_equal": "at least {ge:g}", "greater_than": "more than {gt:g}"}
UNIONS = ("dict[", "list[", "function-", "float", "constrained", "[key]")  # pydantic's names of parts that the file does not have


def in_words(error: ValidationError) -> str:
    """Format the first validation error as a sentence, with the number of others."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"] if not str(part).startswith(UNIONS))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place + ': ' if place else ''}{message_of(first).rstrip('.')}{more}."


def message_of(error: dict[str, Any]) -> str:
    """The message of one error of pydantic; its own if it needs no other."""
    kind, place, given = error["type"], [str(part) for part in error["loc"]], repr(error["input"])[:40]
    section = place[0] if place else ""
    if kind in LIMITS:
        return f"{given} is out of range; give {LIMITS[kind].format(**error['ctx'])}"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], FIELDS.get(section if place[1:] else "", Manifest).model_fields, n=1)
        return f"there is no such setting; {f'did you mean {near[0]}' if near else '`batch schema` lists those there are'}"
    if kind == "string_pattern_mismatch" and section == "servers":
        return f"{given} is no address; write for example {ADDRESS}"
    if kind == "string_pattern_mismatch":
        return f"{given} cannot be used here; use letters, digits, spaces, - and _"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"{given} is given where names and values are needed, such as {PAIRS.get(section, 'name: value')}"
    if kind == "list_type":
        return f"{given} is given where a list is needed, such as {LISTS.get(section, '[a, b]')}"
    if kind == "literal_error":
        return f"{given} is not known; write {error['ctx']['expected']}"
    if kind.startswith("int_"):
        return f"{given} is no whole number"
    if kind.startswith("float_"):
        return f"{given} is no number"
    if kind.startswith("bool_"):
        return f"{given} is given where true or false is needed"
    if kind == "string_type":
        return f"{given} is given where a text is needed"
    plain = {"missing": "this is missing", "too_short": "this is empty; give at least one", "finite_number": f"{given} is no finite number"}
    return plain.get(kind, error["msg"].removeprefix("Value error, "))
