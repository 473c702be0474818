"""Edits of a decomposition. Each takes a decomposition and returns a new one with one more operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from typing import Any

from ..decomposition import Decomposition
from ..decomposition.people import AnyDecomposition, Whom
from ..errors import DVAError
from .attributes import Attribute, AttributeSet, apply_attributes
from .curves import Curve, parse_scale
from .directions import Direction, apply_direction
from .scales import parse_scales
from .switch import apply_switch

OPERATIONS: dict[str, Callable[..., Decomposition]] = {
    "attributes": apply_attributes,
    "direction": apply_direction,
    "switch": apply_switch,
}

__all__ = [
    "OPERATIONS",
    "Attribute",
    "AttributeSet",
    "Curve",
    "Direction",
    "apply_attributes",
    "apply_direction",
    "apply_operations",
    "apply_switch",
    "apply_text",
    "parse_scale",
    "parse_scales",
]


def __getattr__(name: str) -> Any:
    """Import apply_text on first use: it needs the whole pipeline, and ComfyUI imports all packs at startup."""
    if name == "apply_text":
        from .text import apply_text

        return apply_text
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def apply_operations(
    decomposition: AnyDecomposition, model, operations: Iterable[Mapping[str, Any]], *, person: Whom = None
) -> AnyDecomposition:
    """Apply the operations recorded in a decomposition of one person (`decomposition.operations`), in order, to this one.

    `person`: whom of several people to edit, by numbers or names; None: all.

    Raises DVAError for an operation this version does not know.
    """
    if isinstance(operations, (str, Mapping)) or not isinstance(operations, Iterable):
        raise DVAError("The edits to repeat are no list; give the operations of a decomposition.")
    for operation in operations:
        settings = {key: value for key, value in operation.items() if key != "person"} if isinstance(operation, Mapping) else {}
        name = settings.pop("name", None)
        if not isinstance(name, str) or name not in OPERATIONS:
            raise DVAError(f"The edit {str(name)[:40]!r} is not known here; there are {', '.join(OPERATIONS)}.")
        try:
            signature(OPERATIONS[name]).bind(decomposition, model, **settings)
        except TypeError as error:
            raise DVAError(f"The edit {name} is damaged ({error}); make it again.") from error
        decomposition = OPERATIONS[name](decomposition, model, person=person, **settings)
    return decomposition
