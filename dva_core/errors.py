"""Errors that the user can correct."""

from __future__ import annotations


class DVAError(ValueError):
    """Bad input or a missing file or package; the message is one sentence that names it and says what to do."""


class MissingDependencyError(DVAError, ImportError):
    """An optional package is not installed; the message says which and how to get it."""


class MissingFileError(DVAError, FileNotFoundError):
    """A file or folder given by the user does not exist; the message names it."""


def one_line(error: BaseException) -> str:
    """The first line of an error's message, at most 300 characters, without its full stop; the error's type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
