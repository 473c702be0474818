"""Pixel formats, bits and colour tags: what each codec keeps, and what it is converted to."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from video_helpers import NTSC, copy_video, make_video, noise_frame, picture, probe, raw_planes

from dva_core.video import Frame, VideoInfo, VideoWriter, open_video
from dva_core.video.layout import layout_of
from dva_core.video.output import encoder_format

NATIVE = ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "yuv422p10le", "yuv444p12le"]


@pytest.mark.parametrize("pix_fmt", [*NATIVE, "gray", "yuva420p", "bgr0", "bgra", "gbrp10le"])
@pytest.mark.parametrize("size", [(64, 48), (37, 23)])
def test_ffv1_keeps_native_samples(tmp_path, pix_fmt, size):
    source_format = {"yuvj420p": "yuv420p"}.get(pix_fmt, pix_fmt)
    tags = (1, 1, 1, 2) if pix_fmt == "yuvj420p" else None
    source = make_video(tmp_path / "a.mkv", 3, size=size, codec="ffv1", pix_fmt=source_format, native=True, tags=tags)
    target = copy_video(source, tmp_path / "b.mkv", "ffv1")
    a, b = list(open_video(source)), list(open_video(target))
    assert len(a) == len(b) == 3 and a[0].layout == b[0].layout and a[0].layout.name == source_format
    for x, y in zip(a, b):
        assert all(np.array_equal(p, q) for p, q in zip(x.planes(), y.planes()))
        assert np.array_equal(x.rgb, y.rgb)


@pytest.mark.parametrize("pix_fmt", ["nv12", "p010le", "yuyv422", "rgb24", "rgba", "gbrp", "gbrap", "ya8", "nv24", "bgr48le"])
def test_ffv1_holds_formats_it_does_not_know_losslessly(tmp_path, pix_fmt):
    from dva_core.video import ColorTags

    frames = [Frame(noise_frame(pix_fmt, 16, 12, i), layout_of(pix_fmt), ColorTags(matrix=1), i, i, Fraction(1, 25), 1) for i in range(2)]
    info = VideoInfo(16, 12, Fraction(25), Fraction(1, 25), pix_fmt, color=ColorTags(matrix=1))
    with VideoWriter(tmp_path / "a.mkv", info, "ffv1") as writer:
        for frame in frames:
            writer.write(frame)
    for a, b in zip(frames, open_video(tmp_path / "a.mkv")):
        assert np.array_equal(a.rgb, b.rgb)
        assert a.alpha is None or np.array_equal(a.alpha, b.alpha)


@pytest.mark.parametrize("codec", ["png", "ffv1"])
def test_pictures_of_more_than_8_bits(tmp_path, caplog, codec):
    folder = tmp_path / "in"
    folder.mkdir()
    deep = np.arange(32 * 32 * 3, dtype=np.uint16).reshape(32, 32, 3) * 21
    for n in range(2):
        cv2.imwrite(str(folder / f"{n}.png"), deep)
    copy_video(folder, tmp_path / f"out{'' if codec == 'png' else '.mkv'}", codec)
    assert "more than 8 bits" in caplog.text and len(caplog.records) == 1
    caplog.clear()
    ten = make_video(tmp_path / "ten.mkv", 2, codec="ffv1", pix_fmt="yuv422p10le")
    copy_video(ten, tmp_path / f"ten{'' if codec == 'png' else '_.mkv'}", codec)
    assert ("png is written with 8 of 10 bits" in caplog.text) == (codec == "png") == len(caplog.records)


@pytest.mark.parametrize("tags", [(1, 1, 1, 1), (5, 6, 5, 1), (6, 6, 6, 2), (2, 2, 2, 2), (9, 16, 9, 1)])
@pytest.mark.parametrize(("codec", "suffix"), [("h264", "mp4"), ("h264", "mkv"), ("ffv1", "mkv")])
def test_colour_tags_are_kept(tmp_path, tags, codec, suffix):
    source = make_video(tmp_path / "a.mkv", 2, codec="ffv1", tags=tags, native=True)
    target = copy_video(source, tmp_path / f"b.{suffix}", codec)
    assert probe(target)[2] == tags


@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("place", [0, 2, 3])  # 1, left, is what is meant where nothing is said
def test_the_place_of_chroma_is_kept(tmp_path, codec, place):
    options = {"preset": "ultrafast", **({"chroma_sample_location": str(place)} if place else {})}
    source = make_video(tmp_path / "a.mp4", 2, size=(64, 64), options=options)
    assert open_video(source).info.chroma_location == place
    assert open_video(copy_video(source, tmp_path / "b.mkv", codec)).info.chroma_location == place


def test_ten_bits_are_kept_in_h264(tmp_path):
    source = make_video(tmp_path / "a.mkv", 3, codec="ffv1", pix_fmt="yuv420p10le", native=True)
    stream, _, _ = probe(copy_video(source, tmp_path / "b.mp4"))
    assert stream.codec_context.pix_fmt == "yuv420p10le"


@pytest.mark.parametrize(
    ("pix_fmt", "size", "words"),
    [
        ("yuv420p", (64, 48), None),
        ("yuv420p", (63, 47), "4:4:4 for its odd size 63x47"),
        ("yuv420p10le", (64, 48), "of 10 bits"),
        ("yuv422p", (64, 48), "4:2:2"),
        ("yuv444p", (64, 48), "4:4:4"),
    ],
)
def test_h264_that_every_player_shows(tmp_path, caplog, pix_fmt, size, words):
    """Where it is not, it is said; asked for, it is made."""
    source = make_video(tmp_path / "a.mkv", 3, size=size, codec="ffv1", pix_fmt=pix_fmt)
    with open_video(copy_video(source, tmp_path / "b.mp4")) as reader:
        assert (reader.info.width, reader.info.height) == size
    assert len(caplog.records) == (words is not None) and (words or "") in caplog.text
    caplog.clear()
    with open_video(source) as reader, VideoWriter(tmp_path / "c.mp4", reader.info, compatible=True) as writer:
        for frame in reader:
            writer.write(frame)
    assert not caplog.records
    stream, frames, _ = probe(tmp_path / "c.mp4")
    assert stream.codec_context.pix_fmt == "yuv420p" and len(frames) == 3 and stream.codec_context.profile in ("High", "Main")
    assert (stream.width, stream.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    before, after = next(iter(open_video(source))).rgb.astype(int), next(iter(open_video(tmp_path / "c.mp4"))).rgb
    assert np.abs(after[: size[1], : size[0]] - before).mean() < 3
    assert np.abs(after[:, -1].astype(int) - after[:, size[0] - 1]).mean() < 4  # the last column once more


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"])
def test_quality_0_is_lossless(tmp_path, pix_fmt, preset):
    source = make_video(tmp_path / "a.mkv", 3, codec="ffv1", pix_fmt=pix_fmt, native=True)
    with open_video(source) as reader, VideoWriter(tmp_path / "b.mp4", reader.info, quality=0, preset=preset) as writer:
        for frame in reader:
            writer.write(frame)
    assert raw_planes(tmp_path / "b.mp4") == raw_planes(source)


@pytest.mark.parametrize("size", [(37, 22), (36, 23), (37, 23)])
def test_odd_sizes_are_kept_in_h264(tmp_path, size):
    source = make_video(tmp_path / "a.mkv", 2, size=size, codec="ffv1")
    target = copy_video(source, tmp_path / "b.mp4")
    info = open_video(target).info
    assert (info.width, info.height) == size and info.pix_fmt == "yuv444p"
    assert np.abs(next(iter(open_video(target))).rgb.astype(int) - next(iter(open_video(source))).rgb).mean() < 3


def test_formats_chosen_for_h264():
    for native, expected in {
        "yuv420p": "yuv420p", "yuvj422p": "yuv422p", "nv12": "yuv420p", "p010le": "yuv420p10le", "yuv422p12le": "yuv422p10le",
        "gray": "yuv420p", "rgb24": "yuv420p", "rgba": "yuv420p", "yuv440p": "yuv444p", "yuv411p": "yuv444p", "gbrp10le": "yuv420p10le",
    }.items():  # fmt: skip
        assert encoder_format("h264", layout_of(native), 64, 48) == expected
    assert encoder_format("h264", layout_of("yuv422p"), 64, 47) == "yuv422p"
    assert encoder_format("h264", layout_of("yuv422p"), 63, 48) == "yuv444p"


def test_bare_rgb_to_h264_is_tagged_bt709(tmp_path):
    info = VideoInfo.for_images(64, 48, NTSC)
    with VideoWriter(tmp_path / "a.mp4", info, quality=8) as writer:
        for i in range(8):
            writer.write(Frame.from_rgb(picture(i, 64, 48), i, time_base=info.time_base))
    stream, frames, tags = probe(tmp_path / "a.mp4")
    assert tags[:3] == (1, 1, 1) and stream.codec_context.pix_fmt == "yuv420p" and len(frames) == 8
    assert stream.average_rate == NTSC
    for i, frame in enumerate(open_video(tmp_path / "a.mp4")):
        assert np.abs(frame.rgb[16:].astype(int) - picture(i, 64, 48)[16:]).mean() < 3
