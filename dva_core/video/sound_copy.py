"""Copying packets of sound: whether a container accepts them."""

from __future__ import annotations

import io
from pathlib import Path

import av
import av.error

from ..errors import DVAError
from .container import open_container

_COMPATIBLE_CODECS = ("aac", "mp3")


def can_copy(stream: av.AudioStream, container_format: str, compatible: bool = False) -> bool:
    """Whether the muxer accepts the stream's packets, tried by writing a header and one packet to memory.

    False for uncompressed sound in mp4, which few players support; with `compatible`, also for all codecs but AAC and MP3 outside
    Matroska.
    """
    name = codec_name(stream)
    if (container_format == "mp4" and name.startswith("pcm_")) or (
        compatible and container_format != "matroska" and name not in _COMPATIBLE_CODECS
    ):
        return False
    try:
        with open_container(Path(stream.container.name)) as source:
            packet = next((p for p in source.demux(source.streams[stream.index]) if p.size), None)
            with av.open(io.BytesIO(), "w", format=container_format) as trial:
                copy = trial.add_stream_from_template(source.streams[stream.index])
                if packet is None:
                    return True
                packet.stream = copy
                packet.dts = packet.pts = 0
                trial.mux(packet)
    except (av.error.FFmpegError, ValueError, DVAError):
        return False
    return True


class TrialMuxer:
    """A muxer with one stream whose output is discarded; it reveals errors that would occur later in the output."""

    def __init__(self, stream: av.AudioStream, container_format: str) -> None:
        self._container = av.open(_NullFile(), "w", format=container_format)
        self._stream = self._container.add_stream_from_template(stream)

    def mux(self, packet: av.Packet) -> None:
        own = av.Packet(bytes(packet))
        own.pts, own.dts, own.duration, own.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        own.is_keyframe, own.stream = packet.is_keyframe, self._stream
        self._container.mux(own)


class _NullFile(io.RawIOBase):
    """A file that discards what is written, except for its length."""

    def __init__(self) -> None:
        self._at = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data) -> int:
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset if whence == io.SEEK_SET else self._at + offset
        return self._at

    def tell(self) -> int:
        return self._at


def codec_name(stream: av.AudioStream) -> str:
    """FFmpeg's name of the stream's codec."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
