"""Folders of images and animated WebP as videos."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from video_helpers import NTSC, one_sentence, picture

from dva_core.errors import DVAError
from dva_core.video import VideoInfo, VideoWriter, open_video
from dva_core.video.images import natural_key


def folder_of(path, count=12, size=(20, 14), suffix="png"):
    path.mkdir()
    for i in range(count):
        Image.fromarray(picture(i, *size)).save(path / f"shot_{i}.{suffix}")
    (path / "notes.txt").write_text("not an image")
    return path


def test_folder_of_images_in_natural_order(tmp_path):
    folder = folder_of(tmp_path / "f")
    with open_video(folder, rate="30000/1001") as reader:
        frames = list(reader)
        assert reader.info.rate == NTSC and reader.info.frames == len(frames) == reader.count_frames() == 12
    for i, frame in enumerate(frames):
        assert np.array_equal(frame.rgb, picture(i, 20, 14)) and frame.time == i / NTSC
    part = list(open_video(folder, start=0.2, length=0.2, every=2))
    assert [f.time * 25 for f in part] == [5, 7, 9]
    assert natural_key(folder / "shot_2.png") < natural_key(folder / "shot_10.png")


def test_folder_of_mixed_sizes_is_refused(tmp_path):
    folder = folder_of(tmp_path / "f", 3)
    Image.fromarray(picture(9, 22, 14)).save(folder / "shot_9.png")
    with pytest.raises(DVAError, match=r"shot_9\.png is 22x14") as error:
        open_video(folder)
    assert one_sentence(error)


def test_images_with_alpha_orientation_and_damage(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    rgba = np.dstack([picture(0, 8, 6), np.full((6, 8), 77, np.uint8)])
    Image.fromarray(rgba).save(folder / "0.png")
    assert (next(iter(open_video(folder))).alpha == 77).all()

    turned = tmp_path / "turned"
    turned.mkdir()
    exif = Image.Exif()
    exif[274] = 6  # shown turned clockwise
    Image.fromarray(picture(0, 32, 16)).save(turned / "0.jpg", exif=exif, quality=95)
    info = open_video(turned).info
    assert (info.width, info.height) == (16, 32)

    (turned / "1.jpg").write_bytes(b"no image")
    with pytest.raises(DVAError, match=r"1\.jpg cannot be read"):
        open_video(turned)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("23.976023976023978", Fraction(24000, 1001)),
        (29.97002997, NTSC),
        (29.97, Fraction(2997, 100)),
        (1 / 3, Fraction(1, 3)),
        ("30000/1001", NTSC),
        ("12.3456789012", Fraction(1000, 81)),
        ("12.3457123456", Fraction("12.3457123456").limit_denominator(100_000)),
    ],
)
def test_rates_of_many_decimals(tmp_path, rate, expected):
    """They are written too: an encoder's clock counts in 32 bits."""
    with open_video(folder_of(tmp_path / "f"), rate=rate) as reader:
        assert reader.info.rate == expected and VideoInfo.for_images(4, 4, Fraction(str(rate))).rate == expected
        with VideoWriter(tmp_path / "a.mp4", reader.info) as writer:
            for frame in reader:
                writer.write(frame)
    with open_video(tmp_path / "a.mp4") as reader:
        assert reader.info.frames == 12 and float(reader.info.rate) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("rate", ["0.0000001", "0", "1001", "fast", "nan"])
def test_rates_that_are_none(tmp_path, rate):
    with pytest.raises(DVAError) as error:
        open_video(folder_of(tmp_path / "f"), rate=rate)
    assert one_sentence(error)


def test_float_pictures_are_fractions(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(ramp).save(folder / "0.tif")
    Image.fromarray(np.where(ramp > 0.9, np.float32(1.7), ramp)).save(folder / "1.tif")
    Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)).save(folder / "2.png")
    frames = [frame.rgb for frame in open_video(folder)]
    assert np.array_equal(frames[0][..., 1].ravel(), np.arange(256)) and np.array_equal(frames[2], frames[0])
    assert frames[1].max() == 255 and np.array_equal(frames[1].ravel()[:600], frames[0].ravel()[:600])
    Image.fromarray(ramp * 65535).save(folder / "3.tif")
    with pytest.raises(DVAError, match=r"3\.tif holds decimal numbers up to 65535") as error:
        list(open_video(folder))
    assert one_sentence(error)


def test_a_name_with_a_digit_that_is_no_number(tmp_path):
    folder = folder_of(tmp_path / "f", 3)
    (folder / "shot_0.png").rename(folder / "²0.png")
    assert open_video(folder).count_frames() == 3


def test_a_picture_too_large_to_trust(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "f", 2)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DVAError, match="more pixels") as error:
        open_video(folder)
    assert one_sentence(error)


def animated_webp(path, times, alpha=False):
    pictures = [Image.fromarray(np.dstack([picture(i, 33, 22), np.full((22, 33), 99, np.uint8)][: 1 + alpha])) for i in range(len(times))]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=times, lossless=True, exact=True, minimize_size=False)
    return path


def test_an_animated_webp(tmp_path):
    source = animated_webp(tmp_path / "a.webp", [40] * 8)
    with open_video(source) as reader:
        frames = list(reader)
        assert reader.info.rate == 25 and reader.count_frames() == 8 and not reader.info.variable_rate
        assert all(np.array_equal(f.rgb, picture(i, 33, 22)) and f.time == Fraction(i, 25) for i, f in enumerate(frames))
        with VideoWriter(tmp_path / "b.mkv", reader.info, "ffv1", audio_from=source) as writer:
            for frame in reader:
                writer.write(frame)
    assert all(np.array_equal(a.rgb, b.rgb) and a.time == b.time for a, b in zip(frames, open_video(tmp_path / "b.mkv"), strict=True))
    part = list(open_video(source, start=0.08, length=0.2, every=2))
    assert [f.time * 25 for f in part] == [2, 4, 6] and [f.duration for f in part] == [80, 80, 40]
    with pytest.raises(DVAError, match=r"lasts 0\.32 s") as error:
        open_video(source, start=9)
    assert one_sentence(error)


def test_an_animated_webp_with_times_of_its_own(tmp_path):
    with open_video(animated_webp(tmp_path / "a.webp", [40, 100, 10, 0, 70], alpha=True)) as reader:
        assert [f.pts for f in reader] == [0, 40, 140, 150, 250] and reader.info.variable_rate
        assert (next(iter(reader)).alpha == 99).all() and reader.info.duration == Fraction(320, 1000)
    data = (tmp_path / "a.webp").read_bytes()
    (tmp_path / "cut.webp").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DVAError) as error:
        list(open_video(tmp_path / "cut.webp"))
    assert one_sentence(error)


def test_a_folder_whose_first_image_has_no_alpha_keeps_that_of_the_others(tmp_path):
    folder = folder_of(tmp_path / "f", 2)
    Image.fromarray(np.dstack([picture(2, 20, 14), np.full((14, 20), 9, np.uint8)])).save(folder / "shot_2.png")
    frames = list(open_video(folder, every=2))
    assert [int(f.alpha[0, 0]) for f in frames] == [255, 9] and [f.duration for f in frames] == [2, 1]
