"""Errors that are the user's to mend."""

from __future__ import annotations


class DVAError(ValueError):
    """Bad input or a missing piece; the message is one sentence that names the thing and the cure."""


class MissingDependencyError(DVAError, ImportError):
    """An optional package is not installed; the message says which and how to get it."""


class MissingFileError(DVAError, FileNotFoundError):
    """A file or a folder that was named is not there; the message says which."""


def one_line(error: BaseException) -> str:
    """The first line of an error's message, of 300 signs at most, without its full stop; its type where the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
