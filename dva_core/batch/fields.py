"""The types of a manifest's fields, and the conversion of what YAML, JSON and CSV give for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from ..faces.choice import is_people, parse_people

LARGEST = "largest"

# valid as part of a name on every file system
Name = Annotated[str, StringConstraints(pattern=r'^[^\\/:*?"<>|\x00-\x1f.][^\\/:*?"<>|\x00-\x1f]{0,99}$')]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*\S[^\x00]*$")]


def as_path(value: str) -> str:
    """Refuse a path with control characters: a Windows path in double quotes gets them by accident, as in "C:\\new"."""
    if re.search(r"[\x00-\x1f]", value):
        raise ValueError(f"the path {value[:80]!r} has a line break, a tab or the like in it; write / instead of \\")
    return value


def as_strength(value: Any) -> Any:
    """Validate a strength: a number, or the keys of a curve; text is parsed as on the command line.

    DVAError for anything else.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value  # the usual case; curves need the library, which imports torch

    from ..edit.curves import parse_scale, parse_text, scale_to_json

    if isinstance(value, Mapping):
        value = {str(when): strength for when, strength in value.items()}
    return scale_to_json(parse_text(value) if isinstance(value, str) else parse_scale(value))


def off_is_a_word(value: Any) -> Any:
    """Convert false, which YAML reads for a bare `off`, back to "off"."""
    return "off" if value is False else value


def as_numbers(value: Any) -> Any:
    """Convert a person's number or a list of numbers, as YAML reads them, to text such as "1,3"."""
    entries = value if isinstance(value, list) and value else [value]
    return ",".join(map(str, entries)) if all(type(entry) is int or isinstance(entry, str) for entry in entries) else value


def as_face(value: Any) -> Any:
    """Validate a choice of face, as `--face` takes it; ValueError or DVAError for anything else."""
    value = as_numbers(value)
    if not isinstance(value, str) or value == LARGEST or re.fullmatch(r"position:[\d.]+,[\d.]+|reference:.+", value):
        return value
    if not is_people(value):
        raise ValueError(
            f"the face {value[:40]!r} is not known; write largest, position:x,y in fractions of the frame, reference:FILE, all, or numbers "
            "such as 1,3"
        )
    parse_people(value)
    return value


def means_several(face: str) -> bool:
    """Tell whether a choice of face is several numbers or "all"; how many people a JSON object chooses is known only after the survey."""
    return is_people(face) and ("," in face or not face.strip()[:1].isdigit()) and face.strip()[:1] != "{"


PathText = Annotated[Text, AfterValidator(as_path)]
StrengthInput = float | str | list[float] | dict[str, float | str]  # a strength as people write it
Number = Annotated[float, Field(allow_inf_nan=False)]
Strength = Annotated[Number | dict[str, float | str], BeforeValidator(as_strength, json_schema_input_type=StrengthInput)]
Region = Annotated[str | None, BeforeValidator(off_is_a_word, json_schema_input_type=str | Literal[False] | None)]
Face = Annotated[Text, BeforeValidator(as_face, json_schema_input_type=Text | int | list[int])]
Person = Annotated[Text, BeforeValidator(as_numbers, json_schema_input_type=Text | int | list[int | str])]
Tone = Literal["keep", "change"] | None
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Guidance = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None
