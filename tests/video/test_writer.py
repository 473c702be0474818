"""Writing: timing, length, rotation, alpha, folders of pictures."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from video_helpers import NTSC, copy_video, make_video, one_sentence, picture, probe, raw_planes, stated_seconds

from dva_core.errors import DVAError
from dva_core.video import Frame, VideoInfo, VideoWriter, open_video
from dva_core.video.writer import set_decoding_times


def test_shared_clip_lossless_round_trip(shared, tmp_path):
    source = shared("data/clips/brbk7n.mpg")
    target = copy_video(source, tmp_path / "a.mkv", "ffv1")
    assert raw_planes(source) == raw_planes(target)
    with open_video(source) as a, open_video(target) as b:
        assert a.info.rate == b.info.rate == 25
        assert all(np.array_equal(x.rgb, y.rgb) and x.time == y.time for x, y in zip(a, b))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_h264_keeps_count_rate_and_time(tmp_path, suffix):
    source = make_video(tmp_path / "a.mp4", 40, rate=NTSC)
    target = copy_video(source, tmp_path / f"b.{suffix}")
    with open_video(source) as a, open_video(target) as b:
        assert b.info.rate == NTSC and b.count_frames() == 40
        assert [f.time for f in a] == [f.time for f in b]
    stream, _, _ = probe(target)
    assert stream.average_rate == NTSC and stream.codec_context.name == "h264"


def test_length_of_the_last_frame(tmp_path):
    target = copy_video(make_video(tmp_path / "a.mp4", 30, rate=25), tmp_path / "b.mp4", every=5)
    info = open_video(target).info
    assert info.frames == 6 and info.rate == 5 and info.duration == Fraction(30, 25)


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])  # without and with frames out of order
def test_variable_rate_is_carried_through(tmp_path, preset):
    pts = [0, 3000, 4500, 12000, 12100, 30000, 39999, 45001]
    source = make_video(tmp_path / "a.mp4", pts=pts, time_base=Fraction(1, 90000))
    target = copy_video(source, tmp_path / "b.mp4", preset=preset)
    stream, frames, _ = probe(target)
    assert stream.time_base == Fraction(1, 90000) and [f.pts for f in frames] == pts
    (length,) = stated_seconds(target)["mdhd"]  # by the bytes of the files, not by our reader
    last = probe(source)[1][-1]
    assert length == pytest.approx((last.pts + last.duration) / 90000, abs=1e-4) and length > pts[-1] / 90000


@pytest.mark.parametrize(("codec", "suffix"), [("h264", "mp4"), ("h264", "mov"), ("h265", "mp4")])
@pytest.mark.parametrize("every", [1, 3])
def test_stated_length_of_a_variable_rate(tmp_path, codec, suffix, every):
    """By the bytes of the file, not by our reader: all of the time that the source's pictures are shown, also that of those left out."""
    pts = [0, 3000, 4500, 12000, 12100, 30000, 39999, 100000]
    source = make_video(tmp_path / "a.mp4", size=(64, 64), pts=pts, time_base=Fraction(1, 90000), options={"bf": "0"})
    (whole,) = stated_seconds(source)["mdhd"]
    assert whole > pts[-1] / 90000
    target = copy_video(source, tmp_path / f"b.{suffix}", codec, preset="medium", every=every)
    stated = stated_seconds(target)
    assert stated["mdhd"] == [pytest.approx(whole, abs=1e-4)] and stated["mvhd"] == [pytest.approx(whole, abs=2e-3)]
    with av.open(str(target)) as container:
        assert [f.pts * f.time_base for f in container.decode(video=0)] == [Fraction(p, 90000) for p in pts[::every]]
    frames = list(open_video(source, every=every))
    assert [f.duration for f in frames] == [b - a for a, b in zip(pts[::every], [*pts[::every][1:], round(whole * 90000)])]


def test_stated_length_of_an_even_rate_with_frames_out_of_order(tmp_path):
    for every, frames in ((1, 31), (4, 8)):
        target = copy_video(make_video(tmp_path / "a.mp4", 31), tmp_path / "b.mp4", preset="medium", every=every)
        assert stated_seconds(target)["mvhd"] == [pytest.approx(31 / 25, abs=1e-3)]
        assert open_video(target).info.frames == frames


def test_trimmed_part_starts_at_zero(tmp_path):
    source = make_video(tmp_path / "a.mp4", 50)
    target = copy_video(source, tmp_path / "b.mp4", start=0.5, length=0.5)
    assert [f.time for f in open_video(target)] == [Fraction(i, 25) for i in range(12)]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv420p12le"])
def test_h265(tmp_path, suffix, pix_fmt):
    tags = (9, 16, 9, 1)
    source = make_video(tmp_path / "a.mkv", 12, size=(96, 64), codec="ffv1", pix_fmt=pix_fmt, native=True, tags=tags, rate=NTSC)
    target = copy_video(source, tmp_path / f"b.{suffix}", "h265")
    stream, frames, tags = probe(target)
    assert stream.codec_context.name == "hevc" and stream.codec_context.pix_fmt == pix_fmt and len(frames) == 12
    assert tags == (9, 16, 9, 1) and (suffix == "mkv" or stream.codec_context.codec_tag == "hvc1")
    assert [f.time for f in open_video(target)] == [f.time for f in open_video(source)]
    with open_video(source) as reader, VideoWriter(tmp_path / f"c.{suffix}", reader.info, "h265", 0, preset="ultrafast") as writer:
        for frame in reader:
            writer.write(frame)
    assert raw_planes(tmp_path / f"c.{suffix}") == raw_planes(source)


def test_h265_of_an_odd_size_is_itself_again(tmp_path):
    source = make_video(tmp_path / "a.mkv", 3, size=(101, 67), codec="ffv1")
    one, two = (copy_video(source, tmp_path / f"{name}.mp4", "h265").read_bytes() for name in "bc")
    assert one == two and open_video(tmp_path / "b.mp4").info.pix_fmt == "yuv444p"
    with pytest.raises(DVAError, match="at least 64 pixels") as error:
        copy_video(make_video(tmp_path / "small.mkv", 3), tmp_path / "d.mp4", "h265")
    assert one_sentence(error)


def test_rotated_video_is_written_upright_without_a_tag(tmp_path):
    source = make_video(tmp_path / "a.mp4", 3, rotation=90)
    target = copy_video(source, tmp_path / "b.mp4")
    with open_video(source) as a, open_video(target) as b:
        assert b.info.rotation == 0 and (b.info.width, b.info.height) == (48, 64) == (a.info.width, a.info.height)
        assert np.abs(next(iter(a)).rgb.astype(int) - next(iter(b)).rgb).mean() < 4
    assert copy_video(source, tmp_path / "c.mkv", "ffv1").exists()
    assert np.array_equal(next(iter(open_video(tmp_path / "c.mkv"))).rgb, next(iter(open_video(source))).rgb)


def test_pixel_shape_is_kept(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for i in range(2):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i, 64, 48), "rgb24").reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    assert open_video(copy_video(tmp_path / "a.mp4", tmp_path / "b.mp4")).info.sample_aspect == Fraction(16, 11)


def test_bare_rgb_into_a_yuv_video(tmp_path):
    """A host may hand RGB for a video whose info is native."""
    info = open_video(make_video(tmp_path / "a.mp4", 3, tags=(6, 6, 6, 1))).info
    with VideoWriter(tmp_path / "b.mkv", info, "ffv1") as writer:
        writer.write(Frame.from_rgb(picture(0, 64, 48), 0, 0, info.time_base))
    assert np.abs(next(iter(open_video(tmp_path / "b.mkv"))).rgb[16:].astype(int) - picture(0, 64, 48)[16:]).max() <= 6


def test_png_folder_round_trip(tmp_path):
    source = make_video(tmp_path / "a.mp4", 5)
    folder = copy_video(source, tmp_path / "frames", "png")
    names = sorted(p.name for p in folder.glob("*.png"))
    assert names == [f"frame_{i:06d}.png" for i in range(5)]
    with open_video(source) as a, open_video(folder) as b:
        assert all(np.array_equal(x.rgb, y.rgb) for x, y in zip(a, b)) and b.count_frames() == 5
    copy_video(make_video(tmp_path / "c.mp4", 3), folder, "png")  # its own folder is replaced whole
    assert len(list(folder.glob("*.png"))) == 3
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_png_keeps_alpha(tmp_path):
    rgba = np.dstack([picture(0, 16, 12), np.arange(192, dtype=np.uint8).reshape(12, 16)])
    with VideoWriter(tmp_path / "f", VideoInfo.for_images(16, 12, 25, alpha=True), "png") as writer:
        writer.write(Frame.from_rgb(rgba, 0))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "f" / "frame_000000.png")), rgba)


def test_sound_is_not_taken_from_the_file_that_is_written(tmp_path):
    source = make_video(tmp_path / "a.mp4", 3)
    before = source.read_bytes()
    with pytest.raises(DVAError, match="would overwrite"):
        VideoWriter(source, open_video(source).info, audio_from=source)
    assert source.read_bytes() == before


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_short_h265_has_decoding_times_whatever_x265_says(tmp_path, frames):
    """x265 leaves them undefined where the video ends within its delay of B frames."""
    source = make_video(tmp_path / "a.mp4", frames, size=(64, 64))
    with open_video(source) as reader, VideoWriter(tmp_path / "b.mkv", reader.info, "h265") as writer:
        for frame in reader:
            writer.write(frame)
        writer._sink._stream = Undefined(writer._sink._stream)
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert len(list(container.decode(video=0))) == frames


class Undefined:
    """A stream whose encoder leaves the decoding times undefined."""

    def __init__(self, stream):
        self.stream = stream

    def encode(self, frame):
        packets = self.stream.encode(frame)
        for packet in packets:
            packet.dts = 2**62 + packet.pts
        return packets


@given(st.permutations(range(6)))
def test_decoding_times_are_in_order_and_none_is_late(order):
    packets = [SimpleNamespace(pts=512 * place, dts=None) for place in order]
    set_decoding_times(packets)
    times = [packet.dts for packet in packets]
    assert times == sorted(set(times)) and min(packet.pts - packet.dts for packet in packets) == 0
