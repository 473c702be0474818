"""Lines of text about a run, for the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..decomposition import Decomposition
from ..decomposition.people import AnyDecomposition, People, people_of
from ..faces.segments import spans
from ..progress import Stopwatch


def describe_model(model) -> str:
    """Describe a model: its name, device and precision."""
    precision = str(model.host.dtype).removeprefix("torch.")
    return f"Model {model.config.get('name') or model.fingerprint[:12]} on {model.host.device} in {precision}."


def time_per_frame(clock: Stopwatch, frames: int) -> str:
    """Seconds a frame, by phase: "0.61 s a frame (track 0.05, encode 0.40, decode 0.15, video 0.01)"."""
    parts = ", ".join(f"{phase} {seconds / frames:.3f}" for phase, seconds in clock.seconds.items())
    return f"{clock.total / frames:.3f} s a frame ({parts}), {clock.total:.1f} s in all"


ALWAYS_HIDDEN = 0.1  # share of the face from which it is reported as always hidden
MOST_STRETCHES = 6  # stretches that are named


def in_words(stretches: list[list[int]]) -> str:
    """Format stretches [first, last] of frames, counted from 0: "0-19, 50-74"; of many only the first."""
    texts = [f"{first}-{last}" if last > first else f"{first}" for first, last in stretches[:MOST_STRETCHES]]
    return ", ".join(texts) + (f" and {len(stretches) - MOST_STRETCHES} more stretches" if len(stretches) > MOST_STRETCHES else "")


def describe_decode(report) -> str:
    """Describe which frames `decode` changed, and in which the face is partly hidden."""
    text = f"Changed: frames {in_words(report.edited)} of {report.frames}" if report.edited else f"{report.frames} frames, no pixel changed"
    for number, one in report.people.items():
        text += f"; person {number} in frames {in_words(one['edited'])}" if one["edited"] else f"; person {number} unchanged"
    if report.hidden:
        text += f"; partly hidden (up to {max(report.hidden.values()):.0%}) in {in_words(spans(report.hidden))}"
    if report.usual_hidden >= ALWAYS_HIDDEN:
        text += f"; {report.usual_hidden:.0%} of the face is hidden all along, as by a fringe"
    return text


def describe_track(track: dict[str, Any]) -> str:
    """Describe a face track: "70 of 75 frames have the face, 3 of them interpolated; 5 passed through untouched"."""
    count = track.get("found", 0) + track.get("interpolated", 0)
    text = f"{count} of {track.get('frames', count)} frames have the face"
    if track.get("interpolated"):
        text += f", {track['interpolated']} of them interpolated"
    if track.get("missing"):
        text += f"; {track['missing']} without it pass through untouched"
        stretches = stretches_of(track, "seen")
        text += f", it is there in frames {in_words(stretches)}" if stretches else ""
    others = stretches_of(track, "others")
    return text + (f"; other faces in frames {in_words(others)}" if others else "")


def describe_tracks(decomposition: AnyDecomposition) -> str:
    """Describe the face tracks, one line for each of several people."""
    people = people_of(decomposition)
    if len(people) == 1:
        return describe_track(decomposition.info.track)
    return ".\n".join(f"{one.info.who}: {describe_track(one.info.track)}" for one in people)


def by_person(decomposition: AnyDecomposition, value: Callable[[Decomposition], Any]) -> Any:
    """The value of one person, or of several by number, for JSON."""
    if not isinstance(decomposition, People):
        return value(decomposition)
    return {one.info.person: value(one) for one in decomposition}


def stretches_of(track: dict[str, Any], name: str) -> list[list[int]]:
    """Stretches [first, last] by name from a face track's report, which may come from a file; none if there are none."""
    try:
        return [[int(first), int(last)] for first, last in track.get(name) or []]
    except (TypeError, ValueError):
        return []
