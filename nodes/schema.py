"""Schemas for every supported ComfyUI: what an older host does not support is left out or replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from comfy_api.latest import io

from dva_core.errors import DVAError

SCHEMA_FIELDS = {field.name for field in fields(io.Schema)}
NEWER = {"search_aliases", "has_intermediate_output"}  # than the oldest host


def schema(*, advanced: Sequence[str] = (), **about: Any) -> io.Schema:
    """Make an io.Schema of these arguments; `advanced` lists the ids of inputs that are folded away on the node."""
    settings = {name: value for name, value in about.items() if name in SCHEMA_FIELDS or name not in NEWER}
    inputs = {field.id: field for field in settings["inputs"]}
    for name in advanced:
        field = inputs[name]
        if hasattr(field, "advanced"):
            field.advanced = True
        else:  # the page has known it for longer than the server
            field.extra_dict["advanced"] = True
    return io.Schema(**settings)


def file_name_input(usual: str) -> io.String.Input:
    """Make the input of a node that saves a file in the output folder (see folders.output_path)."""
    return io.String.Input(
        "filename_prefix",
        default=usual,
        display_name="file name",
        tooltip="Name in the output folder, folders included; a number is added. May hold %year%, %month%, %day% and the like.",
    )


def check_texts(check: Callable[..., object], *texts: Any) -> bool | str:
    """Check texts before a prompt runs, with the result of `validate_inputs`: True, or an error message.

    check: called with the texts, raises DVAError for invalid ones. A text from another node is None; if all are None, it is not called.
    Values that are not texts are refused: ComfyUI has not converted them yet.
    """
    try:
        for text in texts:
            if text is not None and not isinstance(text, str):
                raise DVAError(f"{str(text)[:40]} is no text; write a text here.")
        if any(text is not None for text in texts):
            check(*texts)
    except DVAError as error:
        return str(error)
    return True


def has_type(name: str) -> bool:
    """Tell whether the host has an input type of that name, such as Curve or BoundingBox."""
    return hasattr(io, name)
