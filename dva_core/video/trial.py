"""Trial of an output before the work starts."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from ..files import temporary_folder
from .frame import Frame
from .info import VideoInfo
from .writer import VideoWriter

ENDLESS = Fraction(10**6)  # seconds, for a video of unknown length: its sound is tried at the beginning only


def try_output(out: str | os.PathLike, first: Frame, info: VideoInfo, codec: str = "h264", **settings) -> None:
    """Write the video's first frame and the beginning of its sound, with the settings of `out`, to a temporary file.

    An encoder or a container that rejects them fails here, before minutes of work: DVAError if nothing can be written, a warning
    if sound will be missing. settings: those of VideoWriter. A folder of PNGs is not tried.
    """
    if codec == "png":
        return
    info = replace(info, duration=info.duration or ENDLESS)
    with temporary_folder() as folder, VideoWriter(folder / f"trial{Path(out).suffix}", info, codec, **settings) as writer:
        writer.write(first)
