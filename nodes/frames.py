"""Writing IMAGE and AUDIO to a file: the same frames always give the same bytes."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import torch

from dva_core.errors import DVAError
from dva_core.files import atomic_write
from dva_core.video.failures import write_error

from . import folders, status
from .image import as_uint8, as_whole

BITS, DEEP_BITS = 8, 10
PIXELS, DEEP_PIXELS = "bgr0", "gbrp10le"  # as ffv1 keeps colour of 8 bits, and of more
EXACT = {"flags": "+bitexact"}  # neither random numbers nor the encoder's name in the file


def write_frames(images: torch.Tensor, rate: Fraction | float, audio: dict[str, Any] | None = None, bits: int = BITS) -> Path:
    """Write IMAGE [B, H, W, C] with AUDIO to a temporary lossless video of 8 bits per channel, or 10 if `bits` is larger.

    A decomposition identifies its source by its hash. So that the source can be connected again, equal frames give equal bytes,
    and the same name, so that they are written once.
    """
    if not len(images):
        raise DVAError("The batch of images is empty; connect at least one image.")
    exact = Fraction(rate).limit_denominator(1001)
    if exact <= 0:
        raise DVAError(f"The frame rate {float(rate):g} makes no sense; use for example 25.")
    sound = None if audio is None or not audio["waveform"].shape[-1] else (samples_of(audio["waveform"]), int(audio["sample_rate"]))
    deep = bits > BITS
    path = folders.temp_path(".mkv", content_of(images, exact, sound, deep))
    if path.is_file():
        return path
    try:
        with atomic_write(path) as partial:
            _write(partial, images, exact, sound, deep)
    except (OSError, av.error.FFmpegError) as error:
        raise write_error(error, path) from error
    return path


def content_of(images: torch.Tensor, rate: Fraction, sound: tuple[np.ndarray, int] | None, deep: bool = False) -> str:
    """Hash what `write_frames` would write."""
    digest = _digest(images, f"{tuple(images.shape)} {rate} {sound and (sound[0].shape, sound[1])}", deep)
    if sound is not None:
        digest.update(sound[0])
    return digest.hexdigest()


def pictures_hash(images: torch.Tensor) -> str:
    """Hash what the pictures show, whatever their rate and sound: who is in them does not depend on these."""
    return _digest(images, f"{tuple(images.shape)}").hexdigest()


def _digest(images: torch.Tensor, about: str, deep: bool = False) -> hashlib._Hash:
    """The SHA-256 of a text and the pictures after it, to which more can be added."""
    digest = hashlib.sha256(about.encode())
    for image in images:
        status.check_cancelled()
        digest.update(as_whole(image, DEEP_BITS) if deep else as_uint8(image))
    return digest


def _write(path: Path, images: torch.Tensor, rate: Fraction, sound: tuple[np.ndarray, int] | None, deep: bool) -> None:
    with av.open(str(path), "w", format="matroska", container_options={"fflags": "+bitexact"}) as container:
        size = {"width": images.shape[2], "height": images.shape[1]}
        options = {"level": "3", "slicecrc": "1", "g": "1", **EXACT}
        pixels = DEEP_PIXELS if deep else PIXELS
        stream = container.add_stream("ffv1", rate=rate, options=options, **size, pix_fmt=pixels, time_base=1 / rate)
        stream.codec_context.thread_type = "AUTO"
        soundtrack = None if sound is None else _Sound(container, *sound)
        for i, image in enumerate(images):
            status.check_cancelled()
            if deep:
                frame = av.VideoFrame.from_ndarray(as_whole(image, DEEP_BITS), format=pixels)
            else:
                frame = av.VideoFrame.from_ndarray(as_uint8(image), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = i, 1 / rate
            container.mux(stream.encode(frame))
            if soundtrack:
                soundtrack.write((i + 1) / rate)
        container.mux(stream.encode(None))
        if soundtrack:
            soundtrack.finish()


class _Sound:
    """Sound [T, C] of 32 bits, written in step with the frames; otherwise the container would buffer frames."""

    def __init__(self, container: av.container.OutputContainer, samples: np.ndarray, rate: int) -> None:
        self._container, self._samples, self._rate, self._position = container, samples, rate, 0
        layout = "mono" if samples.shape[1] == 1 else "stereo"
        self._stream = container.add_stream("pcm_f32le", rate=rate, layout=layout, options=EXACT)

    def write(self, end: Fraction) -> None:
        """Write the sound before `end`, in seconds."""
        self._write(int(end * self._rate))

    def finish(self) -> None:
        """Write the remaining sound."""
        self._write(len(self._samples))
        self._container.mux(self._stream.encode(None))

    def _write(self, stop: int) -> None:
        block = self._samples[self._position : stop]
        if len(block):
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="flt", layout=self._stream.layout.name)
            frame.sample_rate, frame.pts = self._rate, self._position
            self._position += len(block)
            self._container.mux(self._stream.encode(frame))


def samples_of(waveform: torch.Tensor) -> np.ndarray:
    """Convert AUDIO's [1, C, T] to [T, C] float32, interleaved; only the first two channels are kept."""
    return np.ascontiguousarray(waveform[0, :2].float().cpu().numpy().T)
