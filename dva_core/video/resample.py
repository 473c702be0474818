"""Resampling decoded sound to an encoder's format, even if the source changes its own format midway."""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.error
import numpy as np

from ..errors import DVAError

_USUAL = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # of so many channels


class Resampler:
    """Called with a frame (None: the end), returns frames of an encoder's format, layout and rate."""

    def __init__(self, encoder: av.AudioCodecContext) -> None:
        self._target = encoder.format.name, encoder.layout.name, encoder.sample_rate
        self._source: tuple | None = None
        self._resampler: av.AudioResampler | None = None

    def __call__(self, frame: av.AudioFrame | None) -> Iterator[av.AudioFrame]:
        """The frame's time is kept. ValueError or FFmpegError for a layout that cannot be mixed to the encoder's."""
        source = None if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        if source != self._source:
            if self._resampler is not None:
                yield from self._resampler.resample(None)
            self._resampler = None if frame is None else av.AudioResampler(*self._target)
            self._source = source
        if frame is not None:
            yield from self._resampler.resample(frame)


def encoder_layout(codec: str, rate: int, layout: av.AudioLayout) -> str:
    """The name of the layout nearest to `layout` that an encoder takes: its own, the default one of as many channels, 5.1, stereo, mono.

    DVAError if it takes none. Each is tried by opening an encoder: FFmpeg does not accept every layout name that it returns.
    """
    names = [layout.name, _USUAL.get(layout.nb_channels), "5.1" if layout.nb_channels > 5 else None, "stereo", "mono"]
    for name in filter(None, names):
        try:
            encoder = av.CodecContext.create(codec, "w")
            encoder.sample_rate, encoder.layout = rate, name
            encoder.format = encoder.codec.audio_formats[0]
            encoder.open()
        except (av.error.FFmpegError, ValueError):
            continue
        return name
    raise DVAError(f"{codec} takes no sound of {layout.nb_channels} channels at {rate} Hz; convert the sound first.")


def slice_samples(frame: av.AudioFrame, start: int, stop: int) -> av.AudioFrame | None:
    """Samples start..stop of a frame, None if there are none."""
    if stop <= start:
        return None
    array = frame.to_ndarray()
    channels = 1 if frame.format.is_planar else frame.layout.nb_channels
    array = np.ascontiguousarray(array[:, start * channels : stop * channels])
    part = av.AudioFrame.from_ndarray(array, frame.format.name, frame.layout.name)
    part.sample_rate = frame.sample_rate
    return part
