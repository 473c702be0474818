"""Parsing of command lines; errors are one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import DVAError

SIGNED = ("--scale", "--scales", "--factor", "--frame", "--start", "--length", "--steps", "--quality", "--max-frames", "--every")


class Parser(argparse.ArgumentParser):
    """ArgumentParser that reports errors as one sentence, also for subcommands."""

    def error(self, message: str) -> NoReturn:
        raise DVAError(f"{message[:1].upper()}{message[1:].rstrip('.')}; `{self.prog} --help` explains.")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None):
        for before, word in zip(["", *(args or ())], args or ()):
            if word == "" or (word.startswith("--") and word.endswith("=")):  # an unset variable of the shell, never a path, name or text
                which = word[:-1] or (before if before.startswith("-") else "An argument")
                raise DVAError(f"{which} is empty; give a value, or leave it out.")
        return super().parse_known_args(args, namespace)


def join_signed(argv: Sequence[str]) -> list[str]:
    """Rewrite `--scale -1e9` as `--scale=-1e9`, which argparse would take for an option."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] in SIGNED and word.startswith("-") and not word.startswith("--"):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words
