"""Where the chroma samples of 4:2:0 pictures lie between the luma samples, as the stream says (ITU-T H.273, 8.7)."""

from __future__ import annotations

import re
from contextlib import closing

import av
import av.error
import av.logging
from av.bitstream import BitStreamFilterContext

UNSPECIFIED, LEFT, CENTRE, TOP_LEFT = 0, 1, 2, 3  # FFmpeg's numbers: those of H.273 and one
_BY_CODEC = {"mpeg1video": CENTRE, "mjpeg": CENTRE}
_IN_STREAM = ("h264", "hevc")
_TYPE = re.compile(r"chroma_sample_loc_type_top_field.*= (\d)")


def chroma_location(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """FFmpeg's number of the position, 0 if the stream does not state it. Reads the first packet of a container opened for this."""
    name = stream.codec_context.codec.canonical_name
    if name not in _IN_STREAM:
        return _BY_CODEC.get(name, UNSPECIFIED)
    level = av.logging.get_level()
    try:  # PyAV gives this number only in its log, which is global, so its level is restored
        av.logging.set_level(av.logging.INFO)
        with av.logging.Capture() as lines, closing(container.demux(stream)) as packets:
            BitStreamFilterContext("trace_headers", stream).filter(next(packets))
    except (av.error.FFmpegError, ValueError, StopIteration):
        return UNSPECIFIED
    finally:
        av.logging.set_level(level)
    return next((int(match[1]) + 1 for line in lines if (match := _TYPE.search(line[2]))), UNSPECIFIED)
