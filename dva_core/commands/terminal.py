"""Output of the commands: progress bars and messages on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from tqdm import tqdm


class Bars:
    """Progress as one bar a phase, if stderr is a terminal."""

    def __init__(self) -> None:
        self._phase, self._bar = "", None

    def __call__(self, phase: str, done: float, total: int, preview: np.ndarray | None = None) -> None:
        if phase != self._phase:
            self.close()
            unit = "frames" if phase in ("track", "encode", "decode") else "steps"
            form = "{desc:>7}: {percentage:3.0f}%|{bar}| {n:.0f}/{total_fmt}{unit} [{elapsed}<{remaining}]" if total else None
            self._bar = tqdm(total=total or None, desc=phase, unit=f" {unit}", bar_format=form, file=sys.stderr, disable=None)
            self._phase = phase
        self._bar.update(max(0.0, done - self._bar.n))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._phase, self._bar = "", None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def say(text: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def show(text: str) -> None:
    """Print requested text on stdout."""
    sys.stdout.write(text + "\n")


def answer(result: dict[str, Any], as_json: bool, text: str) -> None:
    """Print the result on stdout: an object for --json, a line of text otherwise."""
    if as_json:
        show(json.dumps(result, default=str))
    else:
        say(text)
