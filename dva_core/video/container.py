"""The streams of an open video file: the main video stream, its first timestamps, time zero, tags and rotation."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import av.error
import numpy as np

from ..errors import DVAError
from .color import ColorTags
from .failures import read_error
from .layout import Turn
from .seams import has_seams, leaps, may_leap_ahead

HEAD_PACKETS = 300  # timestamps looked at to judge the frame rate


def open_container(path: Path) -> av.container.InputContainer:
    """Open a file for reading; DVAError if that fails."""
    try:
        return av.open(str(path.absolute()), metadata_errors="replace")  # absolute: a bare "talk:final.mp4" would name a protocol
    except (av.error.FFmpegError, OSError) as error:
        raise read_error(error, path) from error


def video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The main video stream, decoding with threads; cover images, and thumbnail streams before it, are skipped."""
    streams = picture_streams(container)
    if not streams:
        raise DVAError(f"{path} has no picture stream that can be decoded; give a video.")
    film = streams[0]
    if len(streams) > 1:
        films = _film_indices(path, {stream.index for stream in streams})
        best = container.streams.best("video")
        candidates = [stream for stream in streams if stream.index in films] or streams
        film = next((stream for stream in candidates if best is not None and stream.index == best.index), candidates[0])
    film.thread_type = "AUTO"
    return film


def picture_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Streams of pictures that can be decoded, cover images left out."""
    return [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not int(stream.disposition) & int(av.stream.Disposition.attached_pic)
    ]


def _film_indices(path: Path, indices: set[int]) -> set[int]:
    """Those of several streams that have more than one picture among the file's first packets."""
    once: set[int] = set()
    films: set[int] = set()
    with closing(open_container(path)) as container, contextlib.suppress(av.error.FFmpegError):
        streams = [container.streams[index] for index in sorted(indices)]
        for packet in islice(container.demux(streams), HEAD_PACKETS):
            if packet.size:
                (films if packet.stream.index in once else once).add(packet.stream.index)
            if films == indices:
                break
    return films


def decode_frames(container: av.container.InputContainer, stream: av.VideoStream, problems: list[str]) -> Iterator[av.VideoFrame]:
    """Yield all frames that can be decoded; failures are recorded in `problems` and skipped."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = stream.decode(None) if packet is None else packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            problems.append(str(error.strerror))
            if packet is None:
                return
            continue
        for frame in frames:
            if frame.is_corrupt:
                problems.append("corrupt frame")
            yield frame
        if packet is None:
            return


def time_zero(container: av.container.InputContainer, path: Path) -> Fraction:
    """Where the video begins on its own clock, seconds: the earliest stream's start, but not before 0 unless a picture lies there.

    Sound that starts a little before 0 is encoder delay, which players cut. Pictures lie before 0 in a recording over the wrap of the
    33-bit clock of a transport stream.
    """
    pictures = _start(video_stream(container, path)) if picture_streams(container) else None
    sound = container.streams.best("audio")
    starts = [start for start in (pictures, None if sound is None else _start(sound)) if start is not None]
    zero = max(Fraction(0), min(starts, default=Fraction(0)))
    return zero if pictures is None else min(zero, pictures)


def _start(stream: av.stream.Stream) -> Fraction | None:
    return stream.start_time * stream.time_base if stream.start_time is not None and stream.time_base else None


def is_concatenated(path: Path) -> bool:
    """Whether the file is of a format that can be joined end to end, and is joined: then it cannot be sought by time."""
    with closing(open_container(path)) as container:
        return may_leap_ahead(container) and has_seams(container, video_stream(container, path))


def head_timestamps(container: av.container.InputContainer, stream: av.VideoStream) -> list[int]:
    """Sorted pts of the first packets; of the first file if several are joined."""
    pts, before = [], None
    try:
        for packet in islice(container.demux(stream), HEAD_PACKETS):
            if packet.dts is not None:
                if before is not None and leaps(before, packet.dts * stream.time_base, may_leap_ahead(container)):
                    break
                before = packet.dts * stream.time_base
            if packet.pts is not None:
                pts.append(packet.pts)
    except av.error.FFmpegError:
        return []
    return sorted(pts)


def display_turn(frame: av.VideoFrame) -> Turn:
    """The rotation in the frame's display matrix."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return Turn.of_matrix(np.frombuffer(data, np.int32))
    return Turn()


def sample_aspect(stream: av.VideoStream, turn: Turn) -> Fraction | None:
    aspect = stream.sample_aspect_ratio
    if not aspect or aspect == 1:
        return None
    return 1 / aspect if turn.transpose else aspect


def color_tags(stream: av.VideoStream, frame: av.VideoFrame) -> ColorTags:
    context = stream.codec_context
    return ColorTags(int(context.color_primaries), int(context.color_trc), int(frame.colorspace), int(frame.color_range))


def own_duration(stream: av.VideoStream, origin: Fraction) -> Fraction | None:
    """Seconds from the origin to the end of the pictures as the stream states it (Matroska: in a tag); None if it does not."""
    if stream.duration is not None and stream.time_base:
        begin = (stream.start_time or 0) * stream.time_base
        return begin - origin + stream.duration * stream.time_base
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return max(int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds) - origin, Fraction(0)) or None
