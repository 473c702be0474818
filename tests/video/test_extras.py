"""Titles, chapters and all sound are carried over; of what is not, it is said in one line."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest
from video_helpers import audio_packets, copy_with_sound, make_video, tone

from dva_core.video import open_video
from dva_core.video.extras import join_words

MASTERING = "mastering-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):cll=1000,400"


def remux(path, target, change, sound=(), subtitles=False):
    """The pictures of `path` with what `change(output)` adds, tones by the encoders `sound`, and a subtitle track."""
    lines = path.with_suffix(".srt")
    lines.write_text("1\n00:00:00,000 --> 00:00:00,100\nhello\n")
    with av.open(str(path)) as source, av.open(str(lines)) as text, av.open(str(target), "w") as out:
        video = out.add_stream_from_template(source.streams.video[0], opaque=True)
        tracks = [out.add_stream(codec, rate=48000, layout="stereo") for codec in sound]
        words = out.add_stream_from_template(text.streams[0]) if subtitles else None
        for track, language in zip(tracks, ("eng", "fra", "deu")):
            track.metadata.update({"language": language, "title": f"in {language}"})
            track.disposition = int(language == "fra")
        change(out)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        for track in tracks:
            for chunk in tone(1.2, 48000, track.codec_context.format.name):
                out.mux(track.encode(chunk))
            out.mux(track.encode(None))
        for packet in text.demux() if subtitles else ():
            if packet.size:
                packet.stream = words
                out.mux(packet)
    return target


def add_tags(out):
    out.metadata.update({"title": "Sunday", "artist": "Ann"})
    second = Fraction(1, 1000)
    out.set_chapters(
        [
            {"id": 1, "start": 0, "end": 400, "time_base": second, "metadata": {"title": "One"}},
            {"id": 2, "start": 400, "end": 1200, "time_base": second, "metadata": {"title": "Two"}},
        ]
    )


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_titles_chapters_and_all_sound(tmp_path, caplog, suffix):
    source = remux(make_video(tmp_path / "a.mkv", 30), tmp_path / "b.mkv", add_tags, ("aac", "aac"))
    target = copy_with_sound(source, tmp_path / f"c.{suffix}")
    with av.open(str(target)) as out:
        tags = {key.lower(): value for key, value in out.metadata.items()}
        assert (tags["title"], tags["artist"]) == ("Sunday", "Ann")
        assert [(c["metadata"]["title"], c["start"] * c["time_base"]) for c in out.chapters()] == [("One", 0), ("Two", Fraction(2, 5))]
        assert [s.language for s in out.streams.audio] == ["eng", "fra"]
        assert [int(s.disposition) & 1 for s in out.streams.audio] == [0, 1]
        sizes = [p.stream.index for p in out.demux(audio=(0, 1)) if p.size]
        assert [sizes.count(s.index) for s in out.streams.audio] == [len(audio_packets(source))] * 2
    assert not caplog.records
    part = copy_with_sound(source, tmp_path / f"d.{suffix}", start=0.4, length=0.4)
    with av.open(str(part)) as out:
        assert not out.chapters() and len(out.streams.audio) == 2
    assert len(caplog.records) == 1 and "has chapters, which" in caplog.text


def test_what_is_not_carried_over_is_said_in_one_line(tmp_path, caplog):
    options = {"x264-params": MASTERING + ":tff=1", "preset": "ultrafast"}
    source = remux(make_video(tmp_path / "a.mkv", 5, options=options), tmp_path / "b.mkv", lambda out: None, subtitles=True)
    with open_video(source) as reader:
        assert len(reader.info.losses) == 3
    copy_with_sound(source, tmp_path / "c.mp4")
    assert len(caplog.records) == 1
    assert "has subtitles, HDR mastering data and interlaced pictures" in caplog.text


def test_lists():
    assert [join_words(x) for x in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_transparency_timecode_and_a_second_film_are_said_to_be_left(tmp_path, caplog):
    def marked(out):
        out.streams.video[0].metadata.update({"alpha_mode": "1", "timecode": "10:20:30:05"})

    first = remux(make_video(tmp_path / "a.mkv", 5), tmp_path / "b.mkv", marked)
    assert {"a timecode", "transparency (of a kind that is not read)"} <= {n for n in open_video(first).info.losses}
    two = joined_streams(tmp_path / "two.mp4", make_video(tmp_path / "c.mp4", 5), make_video(tmp_path / "d.mp4", 8))
    copy_with_sound(two, tmp_path / "e.mp4")
    assert len(caplog.records) == 1 and "has another picture track, which" in caplog.text


def joined_streams(target, *sources):
    """The pictures of several files as streams of one."""
    opened = [av.open(str(source)) for source in sources]
    with av.open(str(target), "w") as out:
        streams = [out.add_stream_from_template(container.streams.video[0]) for container in opened]
        for container, stream in zip(opened, streams, strict=True):
            for packet in container.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    for container in opened:
        container.close()
    return target


def test_the_film_is_found_behind_a_thumbnail(tmp_path, caplog):
    still = make_video(tmp_path / "still.mkv", pts=[0], frames=1, codec="mjpeg", pix_fmt="yuvj420p", size=(32, 24))
    film = make_video(tmp_path / "film.mkv", 12)
    for order in ((still, film), (film, still), (still, still, film)):
        with open_video(joined_streams(tmp_path / "both.mkv", *order)) as reader:
            assert len(list(reader)) == reader.count_frames() == 12 and reader.info.width == 64
