"""ComfyUI's VIDEO and the library's files: what goes in is streamed from its file, what has none is written to one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from comfy_api.input_impl import VideoFromFile

from dva_core.errors import DVAError
from dva_core.hosts import comfy as host
from dva_core.video import Frame, VideoInfo, VideoWriter, open_video

LOSSLESS, USUAL = 0, 18  # h264's quality
SOUND_BLOCK = 1 << 16  # samples


class ClipVideo(VideoFromFile):
    """A part of a video file. Our own nodes read that part from the file; for others it is written out when they ask."""

    def __init__(self, path: Path, start: float = 0.0, length: float | None = None, every: int = 1) -> None:
        super().__init__(str(path))
        self.path = path
        self.part: dict[str, Any] = {"start": start, "length": length, "every": every}
        self._written: dict[int, str] = {}

    def _file(self, quality: int) -> str:
        with open_video(self.path, **self.part) as reader:
            if not (reader.info.trimmed or reader.info.rotation or reader.info.every > 1):
                return str(self.path)
            if quality not in self._written:
                out = host.temp_path(".mp4")
                with VideoWriter(out, reader.info, quality=quality, audio_from=self.path) as writer:
                    for frame in reader:
                        host.check_cancelled()
                        writer.write(frame)
                self._written[quality] = str(out)
        return self._written[quality]

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


def as_file(video: Any = None, images: torch.Tensor | None = None, rate: float = 25.0) -> tuple[Path, dict[str, Any]]:
    """The file behind a VIDEO or an IMAGE batch, and which part of it is meant (`start`, `length`, `every`).

    What exists only as tensors is written to a temporary file without loss, at 8 bits a channel. DVAError unless just one is given.
    """
    if (video is None) == (images is None):
        raise DVAError("Connect either a video or images, one of the two.")
    if isinstance(video, ClipVideo):
        return video.path, video.part
    if isinstance(video, VideoFromFile):
        source = video.get_stream_source()
        if isinstance(source, str):
            return Path(source), {}
        path = host.temp_path(".video")
        path.write_bytes(source.getbuffer())
        return path, {}
    if video is not None:
        parts = video.get_components()
        return write_images(parts.images, parts.frame_rate, parts.audio), {}
    return write_images(images, Fraction(rate).limit_denominator(1001)), {}


def write_images(images: torch.Tensor, rate: Fraction, audio: dict[str, Any] | None = None) -> Path:
    """IMAGE [B, H, W, C] with AUDIO as a lossless temporary video."""
    if not len(images):
        raise DVAError("The batch of images is empty; connect at least one image.")
    if rate <= 0:
        raise DVAError(f"The frame rate {float(rate):g} makes no sense; use for example 25.")
    path, sound = host.temp_path(".mkv"), None
    info = VideoInfo.for_images(images.shape[2], images.shape[1], rate, len(images))
    try:
        if audio is not None and audio["waveform"].shape[-1]:
            sound = write_sound(audio["waveform"], audio["sample_rate"])
        with VideoWriter(path, info, codec="ffv1", audio_from=sound) as writer:
            for i, image in enumerate(images):
                host.check_cancelled()
                writer.write(Frame.from_rgb(as_uint8(image), i, time_base=info.time_base))
    finally:
        if sound is not None:
            sound.unlink()
    return path


def as_uint8(image: torch.Tensor) -> np.ndarray:
    """One picture of an IMAGE, [H, W, C] in [0, 1], as uint8 [H, W, 3]; transparency is left out, grey is spread over the colours."""
    return np.ascontiguousarray(image[..., :3].expand(*image.shape[:2], 3).clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy())


def write_sound(waveform: torch.Tensor, rate: int) -> Path:
    """AUDIO [1, C, T] as a temporary file of 32-bit samples; more than two channels as the first two."""
    path = host.temp_path(".wav")
    samples = waveform[0, :2].float().cpu().numpy()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=int(rate), layout="mono" if len(samples) == 1 else "stereo")
        for start in range(0, samples.shape[1], SOUND_BLOCK):
            block = np.ascontiguousarray(samples[:, start : start + SOUND_BLOCK].T).reshape(1, -1)  # interleaved
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout=stream.layout.name)
            frame.sample_rate, frame.pts = int(rate), start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
