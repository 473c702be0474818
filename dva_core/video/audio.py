"""Carry over the sound of a video: packets are copied if the container takes them, else encoded again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error

from .container import is_concatenated, open_container, time_zero
from .failures import of_ffmpeg
from .resample import Resampler, encoder_layout, slice_samples
from .seams import SoundSeams, leaps, may_leap_ahead
from .sound_copy import TrialMuxer, can_copy, codec_name

log = logging.getLogger(__name__)

SEAM_WAIT = Fraction(8)  # seconds the sound waits for the pictures to come to the seam of two joined files

_ENCODERS = {"mp4": "aac", "mov": "aac", "matroska": "flac"}
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


class Soundtrack:
    """Feeds the audio stream number `index` of `source` into `output` alongside the video.

    Damaged or unusual sound never raises: what cannot be carried over is left out, and its amount is reported at the end.
    Add it before anything is muxed; then call `begin` with the time (seconds of the source) at which the output starts, `advance`
    with each frame's time in the output, `finish` with the time at which the sound must end (None: keep all).
    """

    def __init__(
        self,
        source: Path,
        index: int,
        output: av.container.OutputContainer,
        container_format: str,
        sample_exact: bool,
        copy: bool = True,
        compatible: bool = False,
    ) -> None:
        self._input = open_container(source)
        self._output = output
        self._stream = self._input.streams[index]
        self._zero = time_zero(self._input, source)
        self._seams, self._leaps_ahead = SoundSeams(), may_leap_ahead(self._input)
        self._lost_count = self._kept_count = 0  # packets, or their decoded frames
        self._reason = ""
        name = codec_name(self._stream)
        is_pcm = name.startswith("pcm_")
        copyable = copy and can_copy(self._stream, container_format, compatible)
        self.is_copy = copyable and not (is_pcm and sample_exact)
        if self.is_copy:
            self.codec = name
            self._out = output.add_stream_from_template(self._stream)
            self._trial = TrialMuxer(self._stream, container_format)
        else:
            # cutting PCM at a sample requires repacking, without changing samples
            self.codec = name if is_pcm and copyable else _ENCODERS[container_format]
            self._out = _add_encoder(output, self.codec, self._stream)
            self._resampler = Resampler(self._out.codec_context)
            if is_pcm and self.codec == "aac":
                log.warning("the uncompressed sound is written as AAC, which players of .mp4 know: name the output .mov or .mkv to keep it")
            else:
                log.info(
                    "sound: %s is %s as %s", name, "cut at the sample and packed" if self.codec == name else "encoded anew", self.codec
                )
        for key in ("language", "title"):
            if key in self._stream.metadata:
                self._out.metadata[key] = self._stream.metadata[key]
        self._out.disposition = int(self._stream.disposition)
        # Matroska holds sound before 0 only where the stream states its encoder delay; else it would move the picture
        self._may_lead = container_format != "matroska" or self.codec == "opus" or "matroska" in self._input.format.name
        self._begin = Fraction(0)
        self._cut_start = False
        self._items: Iterator = iter(())
        self._next = None

    def begin(self, start: Fraction, cut: bool) -> None:
        """`start`: time in the source, seconds, that becomes 0 in the output. `cut`: drop earlier sound (else it is encoder delay)."""
        self._begin, self._cut_start = self._zero + start, cut
        if cut and start > 2 and not is_concatenated(Path(self._input.name)):
            margin = self._begin - 1
            try:
                self._input.seek(int(margin / self._stream.time_base), stream=self._stream, backward=True)
            except av.error.FFmpegError:
                self._input.close()
                self._input = open_container(Path(self._input.name))
                self._stream = self._input.streams[self._stream.index]
        self._items = self._packets() if self.is_copy else self._frames()
        self._next = next(self._items, None)

    def advance(self, until: Fraction | None, end: Fraction | None = None, shift: Fraction = Fraction(0)) -> None:
        """Mux sound that starts before `until` (output seconds; None: all), up to `end`. `shift`: that of the picture shown then."""
        self._seams.pictures(shift)
        while self._next is not None:
            time, item = self._next
            at_seam = item is None and self._seams.is_settled
            if not at_seam and ((until is not None and time >= until) or (end is not None and time >= end)):
                return
            if item is not None:
                self._write(time, item, end)
            self._next = next(self._items, None)

    def finish(self, end: Fraction | None) -> None:
        """Mux the rest before `end`, flush, close the source, and report what is missing."""
        self.advance(None, end)
        if not self.is_copy and self._kept_count:
            self._mux(None)
        if self._lost_count and not self._kept_count and self._next is None:
            name = codec_name(self._stream)
            log.warning("the sound (%s) is left out: nothing of it can be decoded (%s); convert the sound first", name, self._reason)
        elif self._lost_count:
            log.warning("the sound is damaged: it has gaps, %d in all (%s)", self._lost_count, self._reason)
        self.close()

    def close(self) -> None:
        self._input.close()

    def _write(self, time: Fraction, item, end: Fraction | None) -> None:
        if self.is_copy:
            try:
                self._trial.mux(item)
            except (av.error.FFmpegError, ValueError) as error:
                self._lose(error)
                return
            item.stream = self._out
            self._mux(item)
            return
        if end is not None and time + Fraction(item.samples, item.sample_rate) > end:
            item = slice_samples(item, 0, round((end - time) * item.sample_rate))
        if item is None:
            return
        rate = item.sample_rate
        item.time_base, item.pts = Fraction(1, rate), round(time * rate)
        self._mux(item)

    def _mux(self, item: av.Packet | av.AudioFrame | None) -> None:
        """Mux into the output; an item refused by its muxer or encoder counts as damaged sound."""
        try:
            self._output.mux(item if self.is_copy else self._out.encode(item))
        except (av.error.FFmpegError, ValueError) as error:
            if not of_ffmpeg(error):
                raise
            self._lose(error)
        else:
            self._kept_count += 1

    def _lose(self, error: Exception | str) -> None:
        self._lost_count += 1
        self._reason = self._reason or str(getattr(error, "strerror", None) or error)

    def _packets(self) -> Iterator[tuple[Fraction, av.Packet | None]]:
        """(output time, packet), timestamps moved to the output's clock and rising; at a seam (time to wait until, None)."""
        tick, seams = self._stream.time_base, self._seams
        start, shift = round(self._begin / tick), 0
        last = most = end_of_packets = None
        for packet in _survive(self._input.demux(self._stream)):
            if not packet.size:
                continue
            if packet.dts is None:
                packet.dts = packet.pts
            if packet.dts is None:
                self._lose("without a time")
                continue
            dts = packet.dts - start
            if last is not None and leaps(last * tick, (dts + shift) * tick, self._leaps_ahead):
                end = (most + (packet.duration or 0)) * tick
                seams.leap(end - dts * tick)
                yield end + SEAM_WAIT, None
                seams.settle()
                shift = round(seams.shift / tick)
            last = dts + shift
            if most is not None and last < most:
                continue  # sound that lies over the one before: of a file that is shorter than its sound, or damaged
            most = last
            delay = 0 if packet.pts is None else packet.pts - packet.dts
            packet.dts = end_of_packets = most if end_of_packets is None else max(most, end_of_packets + 1)
            packet.pts = packet.dts + delay
            if packet.pts < 0 and (self._cut_start or not self._may_lead):
                continue
            yield packet.pts * tick, packet

    def _frames(self) -> Iterator[tuple[Fraction, av.AudioFrame | None]]:
        """(output time, frame as the encoder wants it) from output time 0 on; at a seam (time to wait until, None)."""
        expected, begin, seams = None, Fraction(0), self._seams
        for frame in self._resample():
            time = frame.pts * frame.time_base - self._begin + seams.shift
            if expected is not None and leaps(expected, time, self._leaps_ahead):
                raw_time = time - seams.shift
                seams.leap(expected - raw_time)
                yield expected + SEAM_WAIT, None
                seams.settle()
                time, begin = raw_time + seams.shift, max(expected, Fraction(0))
            expected = time + Fraction(frame.samples, frame.sample_rate)
            if expected <= begin:
                continue
            if time < begin:
                skip = round((begin - time) * frame.sample_rate)
                frame, time = slice_samples(frame, skip, frame.samples), time + Fraction(skip, frame.sample_rate)
            if frame is not None:
                yield time, frame

    def _resample(self) -> Iterator[av.AudioFrame]:
        """Decoded frames in the encoder's format, each with a time on the source's clock."""
        expected = self._begin
        for packet in _survive(self._input.demux(self._stream)):
            for frame in self._decode(packet):
                time = expected if frame.pts is None else frame.pts * frame.time_base
                frame.time_base, frame.pts = Fraction(1, frame.sample_rate), round(time * frame.sample_rate)
                expected = time + Fraction(frame.samples, frame.sample_rate)
                try:
                    yield from self._resampler(frame)
                except (av.error.FFmpegError, ValueError) as error:
                    self._lose(error)
        yield from self._resampler(None)

    def _decode(self, packet: av.Packet) -> list[av.AudioFrame]:
        try:
            return packet.decode()
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self._lose(error)
            return []


def sound_streams(path: Path) -> list[int]:
    """Numbers of a file's audio streams that can be decoded; none for a folder."""
    if path.is_dir():
        return []
    with open_container(path) as container:
        return [stream.index for stream in container.streams.audio if stream.codec_context is not None]


def _survive(items: Iterator) -> Iterator:
    """Yield items until the source fails; damaged sound ends there, with a warning."""
    try:
        yield from items
    except av.error.FFmpegError as error:
        log.warning("the sound is damaged and may be short (%s)", error.strerror)


def _add_encoder(output: av.container.OutputContainer, codec: str, source: av.AudioStream) -> av.AudioStream:
    """Add an encoder. DVAError if it takes none of the layouts that the sound could have."""
    rate = source.codec_context.sample_rate
    if codec == "aac" and rate not in _AAC_RATES:
        rate = min((r for r in _AAC_RATES if r >= rate), default=_AAC_RATES[-1])
    layout = encoder_layout(codec, rate, source.codec_context.layout)
    stream = output.add_stream(codec, rate=rate, layout=layout)
    if codec == "aac":
        stream.bit_rate = 96_000 * stream.codec_context.channels
    elif codec == "flac" and source.codec_context.format.bytes > 2:
        stream.format = "s32"
    return stream
