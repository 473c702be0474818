"""ComfyUI's VIDEO as a file: a VIDEO is streamed from its file; one without a file is written to one (frames.py)."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from inspect import signature
from pathlib import Path
from typing import Any

import av.error
import torch
from comfy_api.input_impl import VideoFromComponents, VideoFromFile
from comfy_api.latest import io

from dva_core.decomposition.info import source_hash
from dva_core.decomposition.people import AnyDecomposition
from dva_core.errors import DVAError, one_line
from dva_core.files import atomic_write
from dva_core.video import VideoWriter, open_video

from . import folders, status
from .frames import BITS, write_frames

LOSSLESS, USUAL = 0, 18  # h264's quality


class VideoPart(VideoFromFile):
    """A part of a video file, read in place by the pack's nodes; other nodes get it as a file of its own."""

    def __init__(self, path: Path, start: float = 0.0, length: float | None = None, every: int = 1) -> None:
        super().__init__(str(path))
        self.path = path
        self.part: dict[str, Any] = {"start": start, "length": length, "every": every}
        self._files: dict[int, str] = {}

    def _file(self, quality: int) -> str:
        with open_video(self.path, **self.part) as reader:
            if not (reader.info.trimmed or reader.info.rotation or reader.info.every > 1):
                return str(self.path)
            if quality not in self._files:
                out = folders.temp_path(".mp4")
                with VideoWriter(out, reader.info, quality=quality, audio_from=self.path) as writer:
                    for frame in reader:
                        status.check_cancelled()
                        writer.write(frame)
                self._files[quality] = str(out)
        return self._files[quality]

    def get_stream_source(self) -> str:
        return self._file(LOSSLESS)

    def get_components(self):
        return VideoFromFile(self._file(LOSSLESS)).get_components()

    def get_container_format(self) -> str:
        return VideoFromFile(self._file(LOSSLESS)).get_container_format()

    def save_to(self, path, *args, **settings) -> None:
        VideoFromFile(self._file(USUAL)).save_to(path, *args, **settings)

    def get_dimensions(self) -> tuple[int, int]:
        with open_video(self.path, **self.part) as reader:
            return reader.info.width, reader.info.height

    def get_frame_count(self) -> int:
        with open_video(self.path, **self.part) as reader:
            return reader.count_frames()

    def get_frame_rate(self) -> Fraction:
        with open_video(self.path, **self.part) as reader:
            return reader.info.rate

    def get_duration(self) -> float:
        with open_video(self.path, **self.part) as reader:
            return float(reader.info.duration or reader.count_frames() / reader.info.rate)


def as_file(
    video: Any = None, images: torch.Tensor | None = None, rate: Fraction | float = 25.0, audio: dict[str, Any] | None = None
) -> tuple[Path, dict[str, Any]]:
    """The file of a VIDEO, or one written from an IMAGE batch with AUDIO: (path, arguments `start`, `length`, `every`).

    A VIDEO that is not a file is written to a temporary one: frames in memory losslessly at their bit depth; anything else (several videos
    joined, a part of the picture) by ComfyUI, frame by frame. DVAError unless exactly one of VIDEO and IMAGE is given.
    """
    if (video is None) == (images is None):
        raise DVAError("Connect either a video or images, one of the two.")
    if audio is not None and images is None:
        raise DVAError("A video brings its own sound; connect other sound only together with images.")
    if images is not None:
        return write_frames(images, rate, audio), {}
    if isinstance(video, VideoPart):
        return video.path, video.part
    if isinstance(video, VideoFromFile) and getattr(video, "_VideoFromFile__crop", None) is None:
        source = video.get_stream_source()
        path = Path(source) if isinstance(source, (str, Path)) else write_bytes(source.getbuffer())
        return path, part_of(video, path)
    if isinstance(video, VideoFromComponents) or "crf" not in signature(video.save_to).parameters:  # older hosts hold all frames anyway
        parts = video.get_components()
        depth = video.get_bit_depth() if hasattr(video, "get_bit_depth") else BITS
        return write_frames(parts.images, parts.frame_rate, parts.audio, depth), {}
    return write_video(video), {}


def part_of(video: VideoFromFile, path: Path) -> dict[str, Any]:
    """The part of its file that a VIDEO stands for, if ComfyUI can cut one (its node Video Slice); {} for all of it."""
    window = getattr(video, "get_active_trim_window", None)
    start, length = window() if window else (getattr(video, f"_VideoFromFile__{name}", 0) for name in ("start_time", "duration"))
    if (start or 0) < 0:  # counted from the end
        with open_video(path) as reader:
            start = max(0.0, float(reader.info.duration or reader.count_frames() / reader.info.rate) + start)
    start = round(float(start or 0), 6)  # rounding errors of a difference may exclude the intended frame
    return {"start": start, "length": float(length) if length else None} if start or length else {}


def write_video(video: Any) -> Path:
    """Write a VIDEO without a file to a temporary one named by its content; ComfyUI encodes it losslessly."""
    path = folders.temp_path(".mp4")
    try:
        video.save_to(str(path), crf=LOSSLESS)
        final = folders.temp_path(".mp4", source_hash(path))
        path.replace(final)
    except (OSError, ValueError, av.error.FFmpegError) as error:
        raise DVAError(f"ComfyUI cannot write this video to a file ({one_line(error)}); connect its images and sound instead.") from error
    finally:
        path.unlink(missing_ok=True)
    return final


def write_bytes(content: memoryview) -> Path:
    """Write a video file held in memory to a temporary one named by its content."""
    path = folders.temp_path(".video", hashlib.sha256(content).hexdigest())
    if not path.is_file():
        with atomic_write(path) as partial:
            partial.write_bytes(content)
    return path


def source_of(
    decomposition: AnyDecomposition, video: Any = None, images: torch.Tensor | None = None, audio: dict[str, Any] | None = None
) -> Path:
    """The source of a decomposition: the connected video or the recorded file. DVAError if it is another video."""
    has_input = any(value is not None for value in (video, images, audio))
    place = as_file(video, images, decomposition.info.rate * decomposition.info.every, audio)[0] if has_input else None
    return decomposition.find_source(
        place, cure="connect its own video to source video, or its frames and sound to source images and source audio"
    )


def source_inputs() -> list[io.Input]:
    """Make the inputs for the frames and sound of the source of a decomposition."""
    return [
        io.Image.Input(
            "images",
            optional=True,
            display_name="source images",
            tooltip="Instead of a source video: the images the video was made of, all of them, if their temporary file is gone.",
        ),
        io.Audio.Input(
            "audio",
            optional=True,
            display_name="source audio",
            tooltip="The sound that was encoded together with the source images, if there was any.",
        ),
    ]
