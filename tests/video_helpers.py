"""Videos made on the spot for the video tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

if TYPE_CHECKING:
    import pytest

NTSC = Fraction(30000, 1001)


def picture(index: int, width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3]: smooth ramps, asymmetric in every direction, with a bright square that moves with `index`."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([60 + 120 * x / width, 60 + 120 * y / height, 120 - 60 * x / width + 2 * (index % 20)], axis=2)
    left = (index * 4) % max(1, width - 8)
    rgb[4:12, left : left + 8] = (220, 40, 40)
    return rgb.astype(np.uint8)


def noise_frame(pix_fmt: str, width: int, height: int, seed: int = 0) -> av.VideoFrame:
    """A frame of random native samples (gently random: all in the middle of the range)."""
    from dva_core.video.layout import component_view, indices, layout_of, new_frame

    layout = layout_of(pix_fmt)
    rng = np.random.default_rng(seed)
    frame = new_frame(width, height, layout)
    for i in indices(layout):
        view = component_view(frame, layout, i)
        view[:] = rng.integers(layout.peak // 3, 2 * layout.peak // 3, view.shape) << layout.shift
    return frame


def make_video(
    path: Path,
    frames: int = 10,
    size: tuple[int, int] = (64, 48),
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    tags: tuple[int, int, int, int] | None = None,
    rotation: int | None = None,
    sound: str | None = None,
    sound_start: Fraction = Fraction(0),
    sound_rate: int = 48000,
    native: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """A video with `sound` (an encoder's name: a 440 Hz tone as long as the pictures) if wanted. tags: primaries, trc, matrix, range."""
    options = options or ({"crf": "12", "preset": "ultrafast", "bf": "2", "threads": "1"} if codec == "libx264" else {})
    time_base = time_base or 1 / Fraction(rate)
    pts = list(range(frames)) if pts is None else list(pts)
    with av.open(str(path), "w") as out:
        width, height = size
        shape = {"width": width, "height": height, "pix_fmt": pix_fmt}
        video = out.add_stream(codec, rate=Fraction(rate), options=options, time_base=time_base, **shape)
        if tags:
            context = video.codec_context
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        if rotation is not None:
            video.set_display_rotation(rotation)
        audio = out.add_stream(sound, rate=sound_rate, layout="stereo") if sound else None
        for i, time in enumerate(pts):
            frame = noise_frame(pix_fmt, *size, seed=i) if native else av.VideoFrame.from_ndarray(picture(i, *size), format="rgb24")
            frame = frame if native else frame.reformat(format=pix_fmt)
            if tags:
                frame.colorspace, frame.color_range = tags[2], tags[3]
            frame.pts, frame.time_base = time, time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio:
            seconds = (pts[-1] - pts[0] + pts[-1] - pts[-2]) * time_base
            for chunk in tone(float(seconds), sound_rate, audio.codec_context.format.name, sound_start):
                out.mux(audio.encode(chunk))
            out.mux(audio.encode(None))
    return path


def tone(seconds: float, rate: int, fmt: str, start: Fraction = Fraction(0)):
    """Audio frames of a 440 Hz stereo tone whose loudness grows, so that a shift in time shows."""
    total = round(seconds * rate)
    wave = np.sin(2 * np.pi * 440 * np.arange(total) / rate) * np.linspace(0.1, 0.9, total)
    for first in range(0, total, 1024):
        part = wave[first : first + 1024].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([part, part]), "fltp", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), first + round(start * rate)
        yield from av.AudioResampler(fmt, "stereo", rate).resample(frame)


def audio_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """(seconds, payload) of each packet of sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def sound_length(path: Path) -> float:
    """Seconds of decoded sound."""
    with av.open(str(path)) as container:
        return sum(f.samples / f.sample_rate for f in container.decode(audio=0))


def sound_samples(path: Path) -> tuple[Fraction, np.ndarray]:
    """(start in seconds, samples [n] of the first channel) decoded."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    resampler = av.AudioResampler("fltp", frames[0].layout.name, frames[0].sample_rate)
    start = frames[0].pts * frames[0].time_base
    return start, np.concatenate([g.to_ndarray()[0] for f in frames for g in resampler.resample(f)])


def probe(path: Path) -> tuple[av.VideoStream, list[av.VideoFrame], tuple[int, int, int, int]]:
    """The video stream, its decoded frames, and the colour tags (primaries, trc, matrix, range), straight from PyAV."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        context = stream.codec_context
        tags = (context.color_primaries, context.color_trc, frames[0].colorspace, frames[0].color_range)
        return stream, frames, tuple(int(t) for t in tags)


def level_at(samples: np.ndarray, seconds: float) -> float:
    """Loudness, 0 to 1, of samples [n] at 48 kHz around that time."""
    middle = round(seconds * 48000)
    return float(np.abs(samples[middle - 500 : middle + 500]).max())


def pictures(path: Path, **part) -> np.ndarray:
    """All frames of a video, or of a part of it, uint8 [N, H, W, 3]."""
    from dva_core.video import open_video

    with open_video(path, **part) as reader:
        return np.stack([frame.rgb for frame in reader])


def raw_planes(path: Path) -> list[list[bytes]]:
    """The decoded planes of every frame, straight from PyAV, for pixel formats without row padding issues."""
    with av.open(str(path)) as container:
        return [[_rows(plane, frame.format.name) for plane in frame.planes] for frame in container.decode(video=0)]


def _rows(plane: av.video.plane.VideoPlane, pix_fmt: str) -> bytes:
    array = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return array[:, : plane.width * (2 if pix_fmt.endswith("le") else 1)].tobytes()


def damaged(source: Path, target: Path, kind: str, which=lambda number: True) -> Path:
    """A copy of a file in which those packets of a kind of stream ("audio") are filled with ones."""
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in container.streams}
        number = 0
        for packet in container.demux():
            if not packet.size:
                continue
            if packet.stream.type == kind:
                if which(number):
                    bad = av.Packet(b"\xff" * packet.size)
                    bad.pts, bad.dts, bad.duration, bad.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
                    bad.stream = packet.stream
                    packet = bad
                number += 1
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return target


def stated_seconds(path: Path) -> dict[str, list[float]]:
    """Seconds that the boxes of an mp4 or mov state, read from its bytes: "mvhd" of the film, "mdhd" of each track."""
    data, seconds_of = path.read_bytes(), {"mvhd": [], "mdhd": []}
    for name, seconds in seconds_of.items():
        at = data.find(name.encode())
        while at >= 0:
            wide = data[at + 4] == 1
            scale, length = struct.unpack_from(">IQ" if wide else ">II", data, at + (24 if wide else 16))
            seconds.append(length / scale)
            at = data.find(name.encode(), at + 4)
    return seconds_of


def one_sentence(error: pytest.ExceptionInfo) -> bool:
    text = str(error.value)
    return "\n" not in text and text.endswith(".") and text.count(". ") == 0


def copy_video(source, target, codec="h264", preset="ultrafast", sound=False, limit=None, copy_audio=True, compatible=False, **select):
    """Every frame passed through untouched, or the first `limit` of them; with the sound of the source if `sound`."""
    from dva_core.video import VideoWriter, open_video

    settings = {"preset": preset, "copy_audio": copy_audio, "compatible": compatible}
    with (
        open_video(source, **select) as reader,
        VideoWriter(target, reader.info, codec, audio_from=source if sound else None, **settings) as writer,
    ):
        for frame in reader:
            if frame.index == limit:
                break
            writer.write(frame)
    return target


copy_with_sound = partial(copy_video, sound=True)
