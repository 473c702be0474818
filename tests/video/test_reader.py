"""Reading: frames, rotation, colour tags, the part that is asked for, memory."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from video_helpers import make_video, one_sentence, picture, raw_planes

from dva_core.errors import DVAError
from dva_core.video import VideoWriter, open_video


def test_shared_videos_are_75_frames_at_25(shared):
    for path in sorted(shared("data/clips").glob("*.mpg")):
        with open_video(path) as reader:
            assert reader.info.rate == 25 and (reader.info.width, reader.info.height) == (360, 288)
            assert reader.info.has_audio and not reader.info.variable_rate
            assert reader.count_frames() == 75
            times = [f.time for f in reader]
        assert times == [Fraction(i, 25) for i in range(75)]


def test_native_planes_are_the_decoders(tmp_path):
    path = make_video(tmp_path / "a.mp4", 6)
    reference = raw_planes(path)
    frames = list(open_video(path))
    assert [[p.tobytes() for p in f.planes()] for f in frames] == reference
    assert [f.index for f in frames] == list(range(6))


def test_iterates_more_than_once_and_closes_early(tmp_path):
    with open_video(make_video(tmp_path / "a.mp4", 12)) as reader:
        running = iter(reader)
        first = next(running).rgb
        assert len(list(reader)) == 12
        assert np.array_equal(next(iter(reader)).rgb, first)
    with pytest.raises(StopIteration):
        next(running)


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotated_video_comes_upright(tmp_path, degrees):
    """The tag says by how much (counter-clockwise) a player turns the stored picture."""
    plain = list(open_video(make_video(tmp_path / "a.mp4", 3)))
    with open_video(make_video(tmp_path / "b.mp4", 3, rotation=degrees)) as reader:
        turned = list(reader)
    for a, b in zip(plain, turned):
        assert np.array_equal(np.rot90(a.rgb, degrees // 90), b.rgb)
    assert reader.info.rotation == -degrees % 360
    assert (reader.info.width, reader.info.height) == (turned[0].width, turned[0].height) == turned[0].rgb.shape[1::-1]


@pytest.mark.parametrize(
    ("tags", "pix_fmt"),
    [((1, 1, 1, 1), "yuv420p"), ((5, 6, 5, 1), "yuv422p"), ((6, 6, 6, 2), "yuv444p"), ((9, 14, 9, 1), "yuv420p10le")],
)
def test_colour_tags_are_read_and_used(tmp_path, tags, pix_fmt):
    path = make_video(tmp_path / "a.mp4", 2, tags=tags, pix_fmt=pix_fmt, native=True)
    info = open_video(path).info
    assert (info.color.primaries, info.color.trc, info.color.matrix, info.color.range) == tags
    assert info.pix_fmt.replace("j", "") == pix_fmt
    frame = next(iter(open_video(path)))
    y, u, v = (p.astype(float) for p in frame.planes())
    deep = 4 if "10" in pix_fmt else 1
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[tags[2]]
    luma = y[5, 6] / deep / 255 if tags[3] == 2 else (y[5, 6] / deep - 16) / 219
    rows, columns = 48 // v.shape[0], 64 // v.shape[1]
    red = (v[5 // rows, 6 // columns] / deep - 128) / (255 if tags[3] == 2 else 224)
    blue = (u[5 // rows, 6 // columns] / deep - 128) / (255 if tags[3] == 2 else 224)
    expected = [luma + 2 * (1 - kr) * red, None, luma + 2 * (1 - kb) * blue]
    expected[1] = (luma - kr * expected[0] - kb * expected[2]) / (1 - kr - kb)
    assert np.abs(frame.rgb[5, 6] - np.clip(np.multiply(expected, 255), 0, 255)).max() <= 0.75


def test_start_and_length_select_by_timestamp(tmp_path):
    path = make_video(tmp_path / "a.mp4", 150, rate=25, options={"g": "30", "crf": "30", "preset": "ultrafast"})
    everything = [f.rgb for f in open_video(path)]
    for start, length in [(0, 0.4), (0.04, None), (0.05, 0.2), (3.5, 0.5), (3.51, 0.09), (5.9, None), (5.96, 9), (0.1, 0.1)]:
        with open_video(path, start=start, length=length) as reader:
            first, last = Fraction(str(start)), Fraction(str(start)) + (99 if length is None else Fraction(str(length)))
            expected = [i for i in range(150) if first <= Fraction(i, 25) < last]
            frames = list(reader)
            assert [f.time * 25 for f in frames] == expected
            assert all(np.array_equal(f.rgb, everything[i]) for f, i in zip(frames, expected))
            assert reader.count_frames() == len(expected)
            assert reader.info.frames is None or reader.info.frames == len(expected)


def test_seek_that_lands_too_late_is_made_good(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mkv", 150, options={"g": "25", "crf": "30", "preset": "ultrafast"})
    monkeypatch.setattr("dva_core.video.source.SEEK_MARGIN", Fraction(-2))
    assert [f.time * 25 for f in open_video(path, start=3)] == list(range(75, 150))


def test_shared_video_seeks_exactly(shared):
    path = shared("data/clips/swiz3n.mpg")
    everything = list(open_video(path))
    for start in (0.5, 2.1, 2.5, 2.96):
        part = list(open_video(path, start=start))
        assert len(part) == sum(f.time >= Fraction(str(start)) for f in everything)
        assert all(a.pts == b.pts and np.array_equal(a.rgb, b.rgb) for a, b in zip(part, everything[-len(part) :]))


def test_every_nth_frame(tmp_path):
    with open_video(make_video(tmp_path / "a.mp4", 11, rate=24), every=4) as reader:
        frames = list(reader)
        assert [f.time for f in frames] == [0, Fraction(4, 24), Fraction(8, 24)]
        assert [f.index for f in frames] == [0, 1, 2]
        assert reader.info.rate == 6 and reader.info.frames == 3


def test_frame_counts(tmp_path):
    assert open_video(make_video(tmp_path / "a.mp4", 9)).info.frames == 9
    matroska = open_video(make_video(tmp_path / "a.mkv", 9))
    assert matroska.info.frames is None and matroska.count_frames() == 9


def test_late_start_gives_the_origin(tmp_path):
    pts = [126000 + 3600 * i for i in range(5)]
    with open_video(make_video(tmp_path / "a.ts", pts=pts, time_base=Fraction(1, 90000))) as reader:
        first = next(iter(reader))
        assert reader.info.origin == first.time > 0
    assert len(list(open_video(tmp_path / "a.ts", start=0.08))) == 3


def test_start_beyond_the_end(tmp_path):
    path = make_video(tmp_path / "a.mp4", 10)
    with pytest.raises(DVAError, match="lies in the part asked for") as error:
        list(open_video(path, start=9))
    assert one_sentence(error)


@pytest.mark.parametrize("bad", [{"start": -1}, {"start": "soon"}, {"length": 0}, {"every": 0}, {"every": 1.5}])
def test_bad_selections(tmp_path, bad):
    with pytest.raises(DVAError) as error:
        open_video(make_video(tmp_path / "a.mp4", 3), **bad)
    assert one_sentence(error)


def test_memory_stays_bounded(tmp_path):
    """Frames handed out are not kept: at most a few are alive while a long video is read."""
    import gc
    import weakref

    alive = []
    most = 0
    for frame in open_video(make_video(tmp_path / "a.mp4", 80)):
        alive.append(weakref.ref(frame))
        most = max(most, sum(r() is not None for r in alive))
    gc.collect()
    assert most <= 3


def test_odd_and_unusual_formats(tmp_path):
    """An unlisted format (palette) is converted; a GIF has alpha in its frames."""
    Image.fromarray(picture(0, 33, 21)).quantize(16).save(tmp_path / "a.png")
    (tmp_path / "one").mkdir()
    frame = next(iter(open_video(tmp_path / "a.png")))
    assert frame.rgb.shape == (21, 33, 3)
    assert np.array_equal(frame.rgb, np.asarray(Image.open(tmp_path / "a.png").convert("RGB")))


def test_a_name_that_looks_like_a_protocol(tmp_path, monkeypatch):
    """For reading, for the sound's own second look, and for writing."""
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", 60, sound="aac").rename("talk:final.mp4")
    with (
        open_video("talk:final.mp4", start=2.1) as reader,
        VideoWriter("new:talk.mp4", reader.info, audio_from="talk:final.mp4") as writer,
    ):
        for frame in reader:
            writer.write(frame)
    assert open_video("new:talk.mp4").info.has_audio and open_video("new:talk.mp4").count_frames() == 7


def test_pictures_before_zero_are_not_lost(tmp_path):
    """A recording over the wrap of the 33-bit clock of a transport stream."""
    begin = (1 << 33) - 4 * 3600 - 126000
    source = make_video(tmp_path / "a.ts", pts=[begin + 3600 * n for n in range(12)], time_base=Fraction(1, 90000))
    with open_video(source) as reader:
        frames = list(reader)
        assert len(frames) == 12 and frames[0].time >= reader.info.origin
    for suffix in ("mp4", "mkv"):
        with open_video(source) as reader, VideoWriter(tmp_path / f"b.{suffix}", reader.info, audio_from=source) as writer:
            for frame in reader:
                writer.write(frame)
        with av.open(str(tmp_path / f"b.{suffix}")) as container:
            times = [f.pts * f.time_base for f in container.decode(video=0)]
        assert len(times) == 12 and times[0] >= 0


@pytest.mark.parametrize("every", [1, 3])
def test_a_video_trimmed_by_an_edit_list_has_as_many_frames_as_are_shown(tmp_path, caplog, every):
    whole = make_video(tmp_path / "a.mp4", 50, options={"g": "25", "bf": "2", "preset": "ultrafast"})
    with av.open(str(whole)) as source, av.open(str(tmp_path / "b.mp4"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        early = round(Fraction(9, 25) / source.streams.video[0].time_base)
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - early, packet.dts - early, stream
                out.mux(packet)
    with open_video(tmp_path / "b.mp4", every=every) as reader:
        frames = list(reader)
        assert len(frames) == reader.info.frames == reader.count_frames() == -(-41 // every)
    assert not caplog.records
