"""Writing a video: timestamps, colour and sound as in the source; the file appears complete or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
import numpy as np

from ..errors import DVAError, one_line
from ..files import Partial
from ..leftovers import MARKER
from .audio import Soundtrack, sound_streams
from .container import open_container
from .convert import convert_frame
from .extras import carry_tags, join_words
from .failures import of_ffmpeg, write_error
from .frame import Frame
from .info import VideoInfo
from .layout import copy_frame, even_frame, layout_of
from .output import (
    ENCODERS,
    FRAME_PATTERN,
    WITH_QUALITY,
    check_encoding,
    check_output,
    container_format,
    encoder_format,
    encoder_options,
    output_tags,
    owns_folder,
    warn_of_bits,
    warn_of_players,
)

log = logging.getLogger(__name__)

_FAILURES = (OSError, OverflowError, av.error.FFmpegError)


class VideoWriter:
    """Context manager that writes frames to `path`.

    info: the reader's `info` (or `VideoInfo.for_images`); every frame has its size. codec: "h264" or "h265" (.mp4, .mov, .mkv), "ffv1"
    (lossless, .mkv, native pixel format) or "png" (folder). quality: crf of h264 and h265, 0..51, lower is better, 0 lossless.
    audio_from: file whose sound is carried over, with its title and chapters, cut to the video if a part was selected or fewer
    frames were written; copy_audio=False encodes the sound again.
    compatible: h264 that every player shows: 8 bits of 4:2:0, an odd size made even by repeating the last column or row, and in .mp4,
    .m4v and .mov AAC (or MP3) sound.
    On a clean exit the file is renamed to `path`; after an exception nothing is left. Raises DVAError, one
    sentence, for errors of the user, including the output's folder, before any frame is written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        info: VideoInfo,
        codec: str = "h264",
        quality: float = 18,
        audio_from: str | os.PathLike | None = None,
        preset: str = "medium",
        copy_audio: bool = True,
        compatible: bool = False,
    ) -> None:
        self.path = check_output(path, codec, audio_from)
        check_encoding(codec, quality, preset, compatible)
        if info.sample_aspect and codec not in WITH_QUALITY:
            log.warning(
                "%s cannot say that pixels are %s times as wide as high: set it in the player, or use h264", codec, info.sample_aspect
            )
        self.info, self.codec = info, codec
        if info.losses:
            log.warning("the source has %s, which %s will not have", join_words(info.losses), self.path)
        self.frames = 0
        sound = Path(audio_from) if audio_from is not None else None
        try:
            options = encoder_options(codec, quality, preset, info.variable_rate)
            if codec == "png":
                warn_of_bits(codec, layout_of(info.pix_fmt).bits, 8)
                self._sink = _FolderSink(self.path)
            else:
                self._sink = _FileSink(self.path, info, codec, options, sound, copy_audio, compatible)
        except _FAILURES as error:
            raise write_error(error, self.path) from error

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: Frame) -> None:
        """Append a frame; its `pts` must be larger than the previous one's."""
        if (frame.width, frame.height) != (self.info.width, self.info.height):
            raise DVAError(
                f"Frame {self.frames} is {frame.width}x{frame.height} but the output is {self.info.width}x{self.info.height}; "
                "give all frames one size."
            )
        try:
            self._sink.write(frame)
        except _FAILURES as error:
            raise write_error(error, self.path) from error
        self.frames += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._sink.abort()
            return
        try:
            if not self.frames:
                raise DVAError(f"No frame was given for {self.path}; nothing is written.")
            self._sink.commit()
        except _FAILURES as error:
            self._sink.abort()
            raise write_error(error, self.path) from error
        except BaseException:
            self._sink.abort()
            raise


class _FileSink:
    """A container file: encoder, sound, temporary name."""

    def __init__(
        self, path: Path, info: VideoInfo, codec: str, options: dict[str, str], sound: Path | None, copy_audio: bool, compatible: bool
    ) -> None:
        self._info, self._codec = info, codec
        form = container_format(path, codec)
        source = layout_of(info.pix_fmt)
        self._pix_fmt = encoder_format(codec, source, info.width, info.height, compatible)
        self._even = compatible
        if codec == "h264":
            warn_of_players(self._pix_fmt, info.width, info.height, "qp" in options)
        self._tags = output_tags(source, info.color, self._pix_fmt)
        self._soundtracks: list[Soundtrack] = []
        self._container: av.container.OutputContainer | None = None
        self._partial = Partial(path, alone=True)
        self._durations: dict[int, int] = {}
        self._zero: Fraction | None = None
        self._end = Fraction(0)
        self._first: tuple[int, int] | None = None
        try:
            container_options = {} if form == "matroska" else {"movflags": "+faststart"}
            self._container = av.open(str(self._partial.path), "w", format=form, container_options=container_options)
            self._stream = self._add_video(codec, options)
            for index in [] if sound is None else sound_streams(sound):
                self._add_sound(sound, index, form, copy_audio, compatible)
            if sound is not None and sound.is_file():
                with open_container(sound) as sound_file:
                    carry_tags(sound_file, self._container, info.origin, info.trimmed)
        except BaseException:
            self.abort()
            raise

    def _add_sound(self, source: Path, index: int, form: str, copy_audio: bool, compatible: bool) -> None:
        """Add a track of sound, or warn if it can be neither copied nor encoded."""
        try:
            self._soundtracks.append(Soundtrack(source, index, self._container, form, self._info.trimmed, copy_audio, compatible))
        except (av.error.FFmpegError, ValueError, DVAError) as error:
            if not of_ffmpeg(error):
                raise
            cure = "convert the sound first" if form == "matroska" else "name the output .mkv, or convert the sound first"
            log.warning("track %d, sound, is left out: it can be neither copied nor encoded (%s); %s", index, one_line(error), cure)

    def _add_video(self, codec: str, options: dict[str, str]) -> av.VideoStream:
        info, tags = self._info, self._tags
        if info.chroma_location and layout_of(self._pix_fmt).block == (2, 2):
            options = {**options, "chroma_sample_location": str(info.chroma_location)}
        stream = self._container.add_stream(
            ENCODERS[codec],
            rate=info.rate,
            options=options,
            width=info.width + (info.width % 2 if self._even else 0),
            height=info.height + (info.height % 2 if self._even else 0),
            pix_fmt=self._pix_fmt,
            time_base=info.time_base,
        )
        context = stream.codec_context
        if codec == "h265" and self._container.format.name != "matroska":
            context.codec_tag = "hvc1"  # the other one of its names, hev1, is not known to Apple's players
        context.thread_type = "AUTO"
        context.color_primaries, context.color_trc = tags.primaries, tags.trc
        context.colorspace, context.color_range = tags.matrix, tags.range
        if info.sample_aspect:
            context.sample_aspect_ratio = info.sample_aspect
        return stream

    def write(self, frame: Frame) -> None:
        if self._zero is None:
            self._begin(frame)
        shift = round(self._zero / frame.time_base)
        native = convert_frame(frame.native, frame.layout, frame.color, self._pix_fmt, self._tags)
        if self._even:
            native = even_frame(native, layout_of(self._pix_fmt))
        if native is frame.native:
            # a plain copy: the caller's frame keeps its timestamp, and the source's key frames do not force the encoder's
            native = copy_frame(native, frame.layout)
        native.colorspace, native.color_range = self._tags.matrix, self._tags.range
        ticks = frame.time_base / self._info.time_base
        native.time_base, native.pts = self._info.time_base, round((frame.pts - shift) * ticks)
        duration = round(frame.duration * ticks) or max(1, round(1 / (self._info.rate * self._info.time_base)))
        self._durations[native.pts] = duration
        self._mux(self._stream.encode(native))
        time = native.pts * self._info.time_base
        self._end = time + duration * self._info.time_base
        for soundtrack in self._soundtracks:
            soundtrack.advance(time, shift=frame.shift)

    def _begin(self, frame: Frame) -> None:
        """Time zero of the output: that of the video, or the first frame if a part was selected."""
        info = self._info
        self._zero = frame.time if info.start > 0 else info.origin
        for soundtrack in self._soundtracks:
            soundtrack.begin(self._zero - info.origin, cut=info.start > 0)

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            if self._first is None:
                self._first = (packet.pts, packet.dts)
            self._container.mux(packet)

    def commit(self) -> None:
        packets = self._stream.encode(None)
        if (
            self._first is None and self._codec == "h265"
        ):  # x265 leaves the times of a video undefined that ends within its delay of B frames
            set_decoding_times(packets)
        if packets:  # mp4 sums the steps of decoding time: the last one is set so that the sum is the length, if possible
            last, (first_pts, first_dts) = packets[-1], self._first or (packets[0].pts, packets[0].dts)
            end = round(self._end / self._info.time_base)
            self._durations[last.pts] = max(1, min(end - first_pts - (last.dts - first_dts), end - last.pts))
        self._mux(packets)
        for soundtrack in self._soundtracks:
            soundtrack.finish(self._sound_end())
        self._container.close()
        self._partial.put()
        self._partial.close()

    def _sound_end(self) -> Fraction | None:
        """End of the sound, output seconds: that of the pictures if a part of the video was written, else None."""
        info = self._info
        short = info.duration is not None and self._end < info.duration - 2 / info.rate
        return self._end if info.trimmed or short else None

    def abort(self) -> None:
        for soundtrack in self._soundtracks:
            soundtrack.close()
        if self._container is not None:
            with contextlib.suppress(*_FAILURES):
                self._container.close()
        self._partial.close()


def set_decoding_times(packets: list[av.Packet]) -> None:
    """Set the `dts` of all packets of a video: as late as possible, in order, none after its packet's `pts`."""
    times = sorted(packet.pts for packet in packets)
    delay = max((time - packet.pts for time, packet in zip(times, packets)), default=0)
    for time, packet in zip(times, packets):
        packet.dts = time - delay


class _FolderSink:
    """A folder of numbered PNGs, written beside its place and renamed when complete."""

    def __init__(self, path: Path) -> None:
        self._partial = Partial(path, alone=True)
        self._partial.path.mkdir()
        (self._partial.path / MARKER).touch()
        self._count = 0

    def write(self, frame: Frame) -> None:
        rgb, alpha = frame.rgb, frame.alpha
        planes = rgb[..., ::-1] if alpha is None else np.dstack([rgb[..., ::-1], alpha])
        ok, data = cv2.imencode(".png", np.ascontiguousarray(planes), [cv2.IMWRITE_PNG_COMPRESSION, 3])
        if not ok:
            raise DVAError(f"Frame {self._count} of {frame.width}x{frame.height} pixels cannot be a PNG; use another codec.")
        (self._partial.path / FRAME_PATTERN.format(self._count)).write_bytes(data)
        self._count += 1

    def commit(self) -> None:
        place = self._partial.place
        if place.exists() and any(place.iterdir()) and not owns_folder(place):
            raise DVAError(f"The folder {place} was filled by another program meanwhile; choose another one.")
        self._partial.put()
        self._partial.close()

    def abort(self) -> None:
        self._partial.close()
