"""Pixels that are not square: the face is found and cut as it is meant to be seen, and only stored pixels change."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from faces.drawn import as_model, blob, centroid, noise_frame, soft_disc, square
from hypothesis import given, settings
from hypothesis import strategies as st

from dva_core import pipeline
from dva_core.edit import apply_attributes
from dva_core.faces import align, composite
from dva_core.model.loader import load_model
from dva_core.video import Frame, VideoInfo, VideoWriter, open_video
from dva_core.video.square import square_frames, square_size, to_stored_pixels

shapes = st.sampled_from([(0.5, 1.0), (0.75, 1.0), (45 / 48, 1.0), (1.0, 8 / 9)])
quads = st.builds(
    lambda quad, shape: quad * shape, st.builds(square, st.floats(20, 90), st.floats(20, 70), st.floats(6, 50), st.floats(-3, 3)), shapes
)


def info(width, height, aspect):
    return replace(VideoInfo.for_images(width, height, 25), sample_aspect=aspect)


def test_the_shorter_axis_is_stretched():
    assert square_size(info(270, 288, Fraction(4, 3))) == (360, 288)
    assert square_size(info(720, 480, Fraction(8, 9))) == (720, 540)
    assert square_size(info(36, 20, None)) == (36, 20)
    assert square_size(info(36, 20, Fraction(1, 900))) == (36, 20)  # a mistake in the file
    np.testing.assert_allclose(to_stored_pixels(np.array([[360.0, 144]]), info(270, 288, Fraction(4, 3))), [[270, 144]])


def test_frames_of_square_pixels_are_handed_on_as_they_are():
    frame = Frame.from_rgb(noise_frame(0), 0)
    assert next(square_frames([frame], info(110, 90, None))) is frame
    assert next(square_frames([frame], info(110, 90, Fraction(2)))).rgb.shape == (90, 220, 3)


@settings(max_examples=40)
@given(quads, st.integers(0, 99))
def test_no_edit_gives_back_every_pixel(quad, seed):
    frame = noise_frame(seed)
    rebuilt = np.random.default_rng(seed).uniform(-1, 1, (3, 48, 48)).astype(np.float32)
    assert np.array_equal(composite.paste(frame, quad, rebuilt.copy(), rebuilt, soft_disc(), "transfer")[0], frame)


@settings(max_examples=30)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(30, 75), st.floats(-0.6, 0.6), st.sampled_from([64, 128]), shapes)
def test_a_crop_shows_the_square_picture_and_goes_back_in_place(dx, dy, half, angle, size, shape):
    blob_shown = blob(200, 220, 105.2 + dx, 99.3 + dy, 7)
    stored = cv2.resize(blob_shown, (round(220 * shape[0]), round(200 * shape[1])), interpolation=cv2.INTER_AREA)
    quad = square(105, 100, half, angle)
    own = quad * np.array(stored.shape[1::-1]) / (220, 200)
    crop = align.crop_face(stored, own, size)
    assert np.abs(centroid(crop) - centroid(align.crop_face(blob_shown, quad, size))).max() * 2 * half / size < 0.1  # pixels of the picture
    result, inside = composite.paste(stored, own, as_model(crop), as_model(crop), np.ones((size, size), np.float32), "model")
    assert np.abs(centroid(result) - centroid(stored)).max() < 0.05 and np.array_equal(result[~inside], stored[~inside])


def test_a_crop_shrunk_by_half_in_one_direction_does_not_alias():
    stripes = np.tile(np.float32([1, -1]), (3, 64, 32))
    quad = square(40, 40, 32, 0) * (0.5, 1)  # 32 pixels across for 64 samples
    assert np.abs(composite.warp_to_frame(stripes, quad, (80, 40), "detail")[20:60, 12:28]).max() < 0.1


def stored_at(video, path, aspect, frames=6):
    """The first frames of a video with their width divided by `aspect`, as a player would show them at the same size."""
    with open_video(video) as reader:
        width = round(reader.info.width / aspect) if aspect > 1 else reader.info.width
        height = reader.info.height if aspect > 1 else round(reader.info.height * aspect)
        shape = replace(VideoInfo.for_images(width, height, 25), sample_aspect=None if aspect == 1 else aspect)
        with VideoWriter(path, shape, quality=1, preset="ultrafast") as writer:
            for i, frame in zip(range(frames), reader):
                rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA)
                writer.write(Frame.from_rgb(rgb, i, time_base=shape.time_base))
    return path


@pytest.fixture(scope="module")
def model():
    return load_model(device="cpu")


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(2), Fraction(8, 9)])
def test_a_face_is_the_same_person_whatever_the_pixels_shape(shared, tmp_path, model, aspect):
    video = shared("data/clips/lbax4n.mpg")
    whole, other = (
        pipeline.encode(stored_at(video, tmp_path / f"{n}.mp4", a), model, steps=1) for n, a in enumerate((Fraction(1), aspect))
    )
    assert whole.faces == other.faces == 6
    assert np.abs(whole.crops[:].astype(int) - other.crops[:]).mean() < 2.5
    mean = model.attributes.identity.mean.cpu().numpy()
    a, b = whole.z_id - mean, other.z_id - mean
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.98
    pipeline.decode(other, model, tmp_path / "same.mkv", codec="ffv1")
    with open_video(tmp_path / "1.mp4") as before, open_video(tmp_path / "same.mkv") as after:
        assert all(np.array_equal(x.rgb, y.rgb) for x, y in zip(before, after, strict=True))
    pipeline.decode(apply_attributes(other, model, {"Young": -1}), model, tmp_path / "edited.mp4")
    assert open_video(tmp_path / "edited.mp4").info.sample_aspect == aspect


@pytest.mark.parametrize(("codec", "name"), [("ffv1", "a.mkv"), ("png", "a")])
def test_where_the_shape_is_lost_it_is_said(tmp_path, caplog, codec, name):
    for aspect in (None, Fraction(4, 3)):
        with VideoWriter(tmp_path / name, info(64, 48, aspect), codec) as writer:
            writer.write(Frame.from_rgb(noise_frame(0, 48, 64), 0))
    assert len(caplog.records) == 1 and "4/3 times as wide" in caplog.text


@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_the_pixels_shape_is_kept_in_every_container(tmp_path, suffix, codec):
    with VideoWriter(tmp_path / f"a.{suffix}", info(96, 64, Fraction(4, 3)), codec) as writer:
        writer.write(Frame.from_rgb(noise_frame(0, 64, 96), 0))
    with av.open(str(tmp_path / f"a.{suffix}")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
