"""An animated WebP as a video, by Pillow: FFmpeg does not decode its frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DVAError
from .clock import frame_rate
from .frame import Frame
from .images import UNREADABLE, unreadable
from .info import VideoInfo

TICK = Fraction(1, 1000)  # WebP counts milliseconds
DEFAULT_DURATION = 100  # milliseconds that browsers show a frame that asks for none
_ANIMATION = 0x02


def is_animated_webp(path: Path) -> bool:
    """Whether a file is a WebP with more than one frame, whatever its name."""
    try:
        with open(path, "rb") as file:
            head = file.read(21)
    except OSError:
        return False
    return len(head) == 21 and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & _ANIMATION)


def durations(path: Path) -> list[int]:
    """Milliseconds of each frame, from the headers of the ANMF chunks."""
    lengths = []
    with open(path, "rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, size = head[:4], int.from_bytes(head[4:], "little")
            if name == b"ANMF":
                at = file.tell()
                lengths.append(int.from_bytes(file.read(16)[12:15], "little") or DEFAULT_DURATION)
                file.seek(at)
            file.seek(size + size % 2, 1)
    return lengths


@dataclass(frozen=True)
class _TimedFrame:
    """A frame to be given out: its number in the file, its time and duration, milliseconds."""

    number: int
    time: int
    duration: int


class AnimatedWebP:
    """Streams the frames, with the interface of a video source (`info`, `frames`, `count`)."""

    def __init__(self, path: Path, start: Fraction, length: Fraction | None, every: int) -> None:
        self.path = path
        lengths = durations(path)
        times = [0, *accumulate(lengths)]
        end = None if length is None else start + length
        indices = [n for n in range(len(lengths)) if times[n] * TICK >= start and (end is None or times[n] * TICK < end)]
        if not indices:
            raise DVAError(f"No frame of {path} lies in the part asked for: it lasts {times[-1] / 1000:g} s; choose a start inside it.")
        self._entries = [
            _TimedFrame(n, times[n], sum(lengths[m] for m in indices[i : i + every])) for i, n in enumerate(indices) if i % every == 0
        ]
        rate, variable = frame_rate([Fraction(1000, lengths[0])], Fraction(1000 * len(lengths), times[-1]), times[:-1], TICK)
        try:
            with Image.open(path) as picture:
                size, alpha = picture.size, picture.mode == "RGBA"
        except UNREADABLE as error:
            raise unreadable(path, error) from error
        self.info = VideoInfo(
            *size,
            rate=rate / every,
            time_base=TICK,
            pix_fmt="rgba" if alpha else "rgb24",
            frames=len(self._entries),
            duration=sum(frame.duration for frame in self._entries) * TICK,
            variable_rate=variable,
            start=start,
            length=length,
            every=every,
        )

    def frames(self) -> Iterator[Frame]:
        with Image.open(self.path) as picture:
            for index, entry in enumerate(self._entries):
                try:
                    picture.seek(entry.number)
                    array = np.asarray(picture.convert("RGBA" if self.info.pix_fmt == "rgba" else "RGB"))
                except (EOFError, OSError, SyntaxError) as error:
                    raise DVAError(f"{self.path} is broken at frame {entry.number}; give its pictures as a folder.") from error
                frame = Frame.from_rgb(array, index, entry.time, TICK)
                frame.duration = entry.duration
                yield frame

    def count(self) -> int:
        return len(self._entries)
