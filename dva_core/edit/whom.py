"""Edits of a decomposition of several people: the keyword `person` says whom an edit means."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature

from ..decomposition.people import AnyDecomposition, Whom, edit_people


def on_people(edit: Callable) -> Callable:
    """Decorator that extends an edit of one person, edit(decomposition, model, ...), to decompositions of several people.

    Its keyword `person` names whom it edits, by numbers or names; None: all. The others are left unchanged.
    """

    @wraps(edit)
    def edit_each(decomposition: AnyDecomposition, model, *values, person: Whom = None, **settings) -> AnyDecomposition:
        return edit_people(decomposition, person, lambda one: edit(one, model, *values, **settings))

    own = signature(edit)
    person = Parameter("person", Parameter.KEYWORD_ONLY, default=None, annotation="Whom")
    edit_each.__signature__ = own.replace(parameters=[*own.parameters.values(), person])
    return edit_each
