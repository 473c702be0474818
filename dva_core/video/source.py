"""A video file, decoded by FFmpeg."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import av.error

from ..errors import DVAError
from .chroma import chroma_location
from .clock import Clock, frame_rate
from .container import (
    color_tags,
    decode_frames,
    display_turn,
    head_timestamps,
    is_concatenated,
    open_container,
    own_duration,
    sample_aspect,
    time_zero,
    video_stream,
)
from .convert import convert_frame
from .extras import find_losses
from .frame import Frame
from .info import VideoInfo
from .layout import Turn, layout_of, to_known_format, turn_frame
from .seams import leaps, may_leap_ahead

log = logging.getLogger(__name__)

SEEK_MARGIN = Fraction(1)  # seconds before `start` to look for a keyframe: open groups of pictures lose their first frames
OWN_SLACK = Fraction(1, 2)  # seconds that may be missing at the end without a warning, if the pictures' own duration is known
WHOLE_SLACK = Fraction(1)  # the same if only that of the whole file is known: its sound may be longer
_COUNTED = ("mov,mp4", "matroska")  # containers whose packets each hold one frame and a timestamp


class VideoFile:
    """Opens the file again for each pass; `info` is read from the headers, the first frame and the first timestamps."""

    def __init__(self, path: Path, start: Fraction, length: Fraction | None, every: int) -> None:
        self.path, self._start, self._length, self._every = path, start, length, every
        self._has_warned = False
        with closing(open_container(path)) as container:
            stream = video_stream(container, path)
            pts = head_timestamps(container, stream)
        with closing(open_container(path)) as container:
            chroma = chroma_location(container, video_stream(container, path))
        self._seams = start > 2 * SEEK_MARGIN and is_concatenated(path)
        with closing(open_container(path)) as container:
            stream = video_stream(container, path)
            origin = time_zero(container, path)
            first = next(decode_frames(container, stream, []), None)
            if first is None:
                raise DVAError(f"No frame of {path} can be decoded: the file is empty or broken; convert it anew.")
            self._turn = display_turn(first)
            native, layout = turn_frame(*to_known_format(first), self._turn)
            self._tick = stream.time_base
            self._decode_times_only = container.format.name == "avi"  # it stores no presentation times
            self._leaps_ahead = may_leap_ahead(container)
            even = pts[:-4] if len(pts) > 8 else pts  # the last ones read may still miss frames that come later in the file
            candidates = (stream.base_rate, stream.guessed_rate, stream.average_rate)
            rate, variable = frame_rate(candidates, stream.average_rate, even, self._tick)
            self._clock = Clock.of(self._tick, rate, variable, pts[0] if pts else 0)
            self._frame_ticks = max(1, round(1 / (rate * self._tick)))
            self._step = Fraction(1) / rate
            own = own_duration(stream, origin)
            whole = own or (Fraction(container.duration, av.time_base) if container.duration else None)
            self._slack = OWN_SLACK if own else whole and max(WHOLE_SLACK, whole / 10)
            self.info = VideoInfo(
                width=native.width,
                height=native.height,
                rate=rate / every,
                time_base=self._clock.time_base,
                pix_fmt=layout.name,
                frames=self._container_count(container, stream),
                duration=_selected_duration(whole, start, length),
                color=color_tags(stream, first),
                rotation=self._turn.degrees,
                sample_aspect=sample_aspect(stream, self._turn),
                has_audio=container.streams.best("audio") is not None,
                variable_rate=variable,
                origin=origin,
                start=start,
                length=length,
                every=every,
                losses=find_losses(container, stream, first, start > 0 or length is not None),
                chroma_location=chroma if layout.block == (2, 2) and self._turn == Turn() else 0,
            )

    def frames(self) -> Iterator[Frame]:
        """The selected frames, upright, in order of time."""
        problems: list[str] = []
        count = 0
        last_pts = end = group = None
        with closing(open_container(self.path)) as container:
            stream = video_stream(container, self.path)
            for number, (pts, shift, native) in enumerate(self._select(container, stream, problems)):
                end = pts * self._tick - self.info.origin + self._step
                if number % self._every == 0:
                    if group is not None:
                        yield group.frame(self._clock, until=pts)
                    time = self._clock.pts(pts)
                    last_pts = time if last_pts is None else max(time, last_pts + 1)  # encoders want rising timestamps
                    frame = self._frame(native, count, last_pts, shift * self._tick)
                    group = _Group(frame, pts, None if self.info.variable_rate else self._step)
                    count += 1
                group.add(pts, native.duration if self.info.variable_rate and native.duration else self._frame_ticks)
            if group is not None:
                yield group.frame(self._clock)
        if not count:
            raise DVAError(self._empty_message())
        if not self._has_warned:
            self._has_warned = self._warn(problems, count, end)

    def _warn(self, problems: list[str], decoded: int, end: Fraction) -> bool:
        """Warn if the video, read to its end, is damaged or shorter than it states; `end`: seconds of pictures."""
        stated_end = None if self.info.duration is None else self._start + self.info.duration
        if problems:
            count, reason = len(problems), problems[0]
            log.warning("%s is damaged: %d places could not be decoded (%s); %d frames were", self.path, count, reason, decoded)
        elif self.info.frames is not None and decoded < self.info.frames:
            log.warning("%s ends early: %d of %d frames were decoded", self.path, decoded, self.info.frames)
        elif stated_end is not None and end + self._slack < stated_end:
            log.warning("%s ends early: it has pictures for %.2f of the %.2f seconds it states", self.path, end, stated_end)
        else:
            return False
        return True

    def count(self) -> int:
        """Selected frames by packet timestamps; where packets carry none, by decoding."""
        with closing(open_container(self.path)) as container:
            stream = video_stream(container, self.path)
            if container.format.name.startswith(_COUNTED):
                times = [p.pts for p in container.demux(stream) if p.size and not p.is_discard]
                if None not in times:
                    return -(-sum(self._keeps(t) for t in times) // self._every)
        with closing(open_container(self.path)) as container:
            stream = video_stream(container, self.path)
            return -(-sum(1 for _ in self._select(container, stream, [])) // self._every)

    def _container_count(self, container: av.container.InputContainer, stream: av.VideoStream) -> int | None:
        """The container's own count: exact for a whole mp4/mov, missing or unreliable elsewhere.

        Its index also lists pictures that an edit list hides (a video trimmed without re-encoding): they are not shown.
        """
        if self._start or self._length is not None or not container.format.name.startswith("mov,mp4") or not stream.frames:
            return None
        entries = len(stream.index_entries)
        hidden_count = sum(entry.is_discard for entry in stream.index_entries)
        return -(-(max(stream.frames, entries) - hidden_count) // self._every)

    def _keeps(self, pts: int) -> bool:
        seconds = pts * self._tick - self.info.origin
        return (seconds >= self._start or not self._start) and (self._length is None or seconds < self._start + self._length)

    def _select(self, container, stream, problems: list[str]) -> Iterator[tuple[int, int, av.VideoFrame]]:
        end = None if self._length is None else self._start + self._length
        for pts, shift, frame in self._seek_with_pts(container, stream, problems):
            if self._keeps(pts):
                yield pts, shift, frame
            elif end is not None and pts * self._tick - self.info.origin >= end:
                return

    def _seek_with_pts(self, container, stream, problems: list[str]) -> Iterator[tuple[int, int, av.VideoFrame]]:
        """Yield (pts, shift, frame) from a keyframe before `start`, or from the beginning if seeking does not land before it."""
        frames = self._seek(container, stream, problems)
        if frames is None:
            with closing(open_container(self.path)) as fresh:
                yield from self._with_pts(decode_frames(fresh, video_stream(fresh, self.path), problems))
            return
        yield from self._with_pts(frames)

    def _seek(self, container, stream, problems: list[str]) -> Iterator[av.VideoFrame] | None:
        if self._start <= 2 * SEEK_MARGIN or self._decode_times_only or self._seams:
            return decode_frames(container, stream, problems)
        target = self._start + self.info.origin
        try:
            container.seek(int((target - SEEK_MARGIN) / self._tick), stream=stream, backward=True)
        except av.error.FFmpegError:
            return None
        frames = decode_frames(container, stream, problems)
        first = next(frames, None)
        if first is None or first.pts is None or first.pts * self._tick > target or not first.key_frame:
            problems.clear()
            return None
        return _chain(first, frames)

    def _with_pts(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int, int, av.VideoFrame]]:
        """Yield (pts, shift, frame): if the file's clock leaps, `shift` is added so that the next frame follows the last one by a step."""
        expected = round(self.info.origin / self._tick)
        delay = last = None
        shift = 0
        for frame in frames:
            pts = frame.pts
            if self._decode_times_only:
                delay = frame.dts - expected if delay is None and frame.dts is not None else delay
                pts = None if frame.dts is None else frame.dts - delay
            pts = expected if pts is None else pts + shift
            if last is not None and leaps(last * self._tick, pts * self._tick, self._leaps_ahead):
                shift += expected - pts
                pts = expected
            last, expected = pts, pts + self._frame_ticks
            yield pts, shift, frame

    def _frame(self, native: av.VideoFrame, index: int, pts: int, shift: Fraction) -> Frame:
        native, layout = turn_frame(*to_known_format(native), self._turn)
        if (native.width, native.height) != (self.info.width, self.info.height):
            raise DVAError(
                f"{self.path} changes its size to {native.width}x{native.height} at frame {index}; "
                "convert it to one size first or use length to stop before."
            )
        if layout.name != self.info.pix_fmt:
            native = convert_frame(native, layout, self.info.color, self.info.pix_fmt, self.info.color)
            layout = layout_of(self.info.pix_fmt)
        return Frame(native, layout, self.info.color, index, pts, self._clock.time_base, shift=shift)

    def _empty_message(self) -> str:
        if self.info.trimmed:
            return f"No frame of {self.path} lies in the part asked for (start {float(self._start):g} s); choose a start inside the video."
        return f"No frame of {self.path} can be decoded: the file is broken; convert it anew."


class _Group:
    """A frame to be given out, with the duration of the dropped ones after it."""

    def __init__(self, frame: Frame, pts: int, step: Fraction | None) -> None:
        """step: seconds of a picture, None where they differ."""
        self._frame, self._begin, self._step = frame, pts, step
        self._count = self._end = 0

    def add(self, pts: int, ticks: int) -> None:
        """Add another picture of the file, shown from `pts` for so many ticks according to the file."""
        self._count, self._end = self._count + 1, pts + ticks

    def frame(self, clock: Clock, until: int | None = None) -> Frame:
        """The frame with its duration: up to the pts of the next one, or for the last one of a video as stated in the file."""
        if self._step is None:
            seconds = ((self._end if until is None else until) - self._begin) * clock.tick
        else:
            seconds = self._count * self._step
        self._frame.duration = max(1, round(seconds / clock.time_base))
        return self._frame


def _chain(first: av.VideoFrame, rest: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    yield first
    yield from rest


def _selected_duration(whole: Fraction | None, start: Fraction, length: Fraction | None) -> Fraction | None:
    if whole is None:
        return length
    rest = max(Fraction(0), whole - start)
    return rest if length is None else min(rest, length)
