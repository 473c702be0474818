"""Metadata of a file beside pictures and sound: tags and chapters are carried over, the rest is listed as lost."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import av.error
from av.stream import Disposition

# tags that describe the file itself, not its content
_OF_THE_FILE = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
_HDR = frozenset({"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "DOVI_METADATA", "DOVI_RPU_BUFFER"})


def find_losses(container: av.container.InputContainer, film: av.VideoStream, first: av.VideoFrame, trimmed: bool) -> tuple[str, ...]:
    """List what is not carried over from a file, whose main video stream is `film` and its first frame `first`."""
    streams, chapters = container.streams, container.chapters()
    pictures = [stream for stream in streams.video if stream.index != film.index]
    covers = [stream for stream in pictures if int(stream.disposition) & int(Disposition.attached_pic)]
    timecode = any("timecode" in lower(stream.metadata) for stream in container.streams)
    data = [stream for stream in streams.data if "timecode" not in lower(stream.metadata)]
    losses = {
        "subtitles": bool(streams.subtitles),
        "chapters": trimmed and bool(chapters),
        "a cover picture": bool(covers),
        "another picture track": len(pictures) > len(covers),
        "sound of a kind that is not known": any(stream.codec_context is None for stream in streams.audio),
        "a timecode": timecode,
        "data tracks": len(data) > bool(chapters),  # QuickTime keeps the titles of chapters in such a track
        "attachments": bool(streams.attachments),
        "transparency (of a kind that is not read)": lower(film.metadata).get("alpha_mode") == "1" and not has_alpha(first),
        "HDR mastering data": any(data.type.name in _HDR for data in first.side_data),
        "interlaced pictures (they are written as whole ones: deinterlace first)": first.interlaced_frame,
    }
    return tuple(name for name, present in losses.items() if present)


def lower(tags: dict[str, str]) -> dict[str, str]:
    """The tags with names in lower case; Matroska writes them in upper case."""
    return {key.lower(): value for key, value in tags.items()}


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether a frame's format has transparency."""
    return any(component.is_alpha for component in frame.format.components)


def join_words(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def carry_tags(source: av.container.InputContainer, output: av.container.OutputContainer, origin: Fraction, trimmed: bool) -> None:
    """Copy the tags (title, artist, ...), and the chapters unless `trimmed`; time zero is at `origin` seconds. Call it before muxing."""
    output.metadata.update({key: value for key, value in source.metadata.items() if key.lower() not in _OF_THE_FILE})
    if trimmed or not source.chapters():
        return
    shift = {chapter["id"]: round(origin / chapter["time_base"]) for chapter in source.chapters()}
    output.set_chapters(
        [{**c, "start": max(0, c["start"] - shift[c["id"]]), "end": max(0, c["end"] - shift[c["id"]])} for c in source.chapters()]
    )
