"""Lines of text about a run, for people."""

from __future__ import annotations

from typing import Any

from ..progress import Stopwatch


def describe_model(model) -> str:
    """Which model runs where, and in what precision."""
    precision = str(model.host.dtype).removeprefix("torch.")
    return f"Model {model.config.get('name') or model.fingerprint[:12]} on {model.host.device} in {precision}."


def time_per_frame(clock: Stopwatch, frames: int) -> str:
    """Seconds a frame, by phase: "0.61 s a frame (track 0.05, encode 0.40, decode 0.15, video 0.01)"."""
    parts = ", ".join(f"{phase} {seconds / frames:.3f}" for phase, seconds in clock.seconds.items())
    return f"{clock.total / frames:.3f} s a frame ({parts}), {clock.total:.1f} s in all"


def describe_track(track: dict[str, Any]) -> str:
    """What the face track found: "70 of 75 frames have the face, 3 of them interpolated; 5 passed through untouched"."""
    count = track.get("found", 0) + track.get("interpolated", 0)
    text = f"{count} of {track.get('frames', count)} frames have the face"
    if track.get("interpolated"):
        text += f", {track['interpolated']} of them interpolated"
    if track.get("missing"):
        text += f"; {track['missing']} without it pass through untouched"
    return text
