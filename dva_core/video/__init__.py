"""Streaming video reader and writer on PyAV."""

from __future__ import annotations

from .color import ColorTags
from .frame import Frame
from .info import VideoInfo
from .output import check_encoding, check_output
from .reader import VIDEO_SUFFIXES, VideoReader, open_video
from .trial import try_output
from .writer import VideoWriter

__all__ = [
    "VIDEO_SUFFIXES",
    "ColorTags",
    "Frame",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "check_encoding",
    "check_output",
    "open_video",
    "try_output",
]
