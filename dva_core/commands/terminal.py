"""How commands talk: bars and facts on stderr, results on stdout when a script asks for JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from tqdm import tqdm

from ..progress import Stopwatch


class Bars:
    """A Progress that draws one bar a phase, where stderr is a terminal."""

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
    """One line for a person, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def show(text: str) -> None:
    """Text that was asked for, on stdout."""
    sys.stdout.write(text + "\n")


def answer(result: dict[str, Any], as_json: bool, text: str) -> None:
    """The outcome: an object on stdout for a script, or a line for a person."""
    if as_json:
        show(json.dumps(result, default=str))
    else:
        say(text)


def describe(model) -> str:
    """Which model runs where, and in what precision."""
    precision = str(model.host.dtype).removeprefix("torch.")
    return f"Model {model.config.get('name') or model.fingerprint[:12]} on {model.host.device} in {precision}."


def split(clock: Stopwatch, frames: int) -> str:
    """Seconds a frame, by phase: "0.61 s a frame (track 0.05, encode 0.40, decode 0.15, video 0.01)"."""
    parts = ", ".join(f"{phase} {seconds / frames:.3f}" for phase, seconds in clock.seconds.items())
    return f"{clock.total / frames:.3f} s a frame ({parts}), {clock.total:.1f} s in all"


def faces(track: dict[str, Any]) -> str:
    """What the face track found: "70 of 75 frames have the face, 3 of them interpolated; 5 passed through untouched"."""
    seen = track.get("found", 0) + track.get("interpolated", 0)
    text = f"{seen} of {track.get('frames', seen)} frames have the face"
    if track.get("interpolated"):
        text += f", {track['interpolated']} of them interpolated"
    if track.get("missing"):
        text += f"; {track['missing']} without it pass through untouched"
    return text
