"""A video becomes a decomposition: vectors, noise maps and masks, in memory and on disk."""

import os
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from standin import draw, stand_in, write_video

from dva_core.decomposition import Decomposition
from dva_core.decomposition.tensorfile import TensorFile
from dva_core.diffusion import solvers
from dva_core.edit import apply_attributes
from dva_core.errors import DVAError
from dva_core.faces.finder import FaceFinder
from dva_core.model.arrays import to_images
from dva_core.pipeline import decode_crops, encode
from dva_core.video import open_video

from .conftest import STEPS

pytestmark = pytest.mark.usefixtures("bright_finder")


def test_what_is_encoded_is_what_the_model_says_of_the_crops(decomposition, model, video):
    images = to_images(decomposition.crops[:])
    np.testing.assert_allclose(decomposition.z_id_frames[:], model.encode_identity(images), atol=1e-6)
    np.testing.assert_allclose(decomposition.z_id, decomposition.z_id_frames[:].mean(0), atol=1e-7)  # the plain mean, not renormalised
    np.testing.assert_allclose(decomposition.z_motion[:], model.encode_motion(images), atol=1e-6)
    np.testing.assert_array_equal(decomposition.masks[:], model.face_mask(images)[:, 0])
    z_face = model.fuse(torch.from_numpy(decomposition.z_id), torch.from_numpy(decomposition.z_motion[:]))
    x_0 = images.reshape(6, 3, 16, 2, 16, 2).mean((3, 5))
    x_T = solvers.invert(model, x_0, z_face, STEPS, "angle2c")
    np.testing.assert_allclose(decomposition.x_T[:], x_T, atol=5e-3)
    rebuilt = solvers.sample(
        model, torch.from_numpy(decomposition.x_T[:]).float(), z_face, STEPS, "angle2c"
    )  # from the noise maps as stored
    np.testing.assert_allclose(decomposition.rebuilt[:], rebuilt, atol=1e-3)
    assert (
        decomposition.info.frames == decomposition.faces == 6 and decomposition.info.rate == 25 and decomposition.info.track["found"] == 6
    )
    assert decomposition.info.model_fingerprint == model.fingerprint and (decomposition.info.steps, decomposition.info.solver) == (
        STEPS,
        "angle2c",
    )


def test_timesteps_by_a_power_and_no_clamp(decomposition, model, video):
    """Both belong to the video: it is inverted, rebuilt and, with an edit, decoded by them."""
    settings = {"solver": "ddim", "power": 2.0, "clamp": False}
    other = encode(video, model, steps=STEPS, **settings)
    assert (other.info.power, other.info.clamp, decomposition.info.power, decomposition.info.clamp) == (2.0, False, 1.7, True)
    assert other.info.solving == f"{STEPS} steps of ddim, power 2, no clamp"
    z_face = model.fuse(torch.from_numpy(other.z_id), torch.from_numpy(other.z_motion[:]))
    x_0 = to_images(other.crops[:]).reshape(6, 3, 16, 2, 16, 2).mean((3, 5))
    np.testing.assert_allclose(other.x_T[:], solvers.invert(model, x_0, z_face, STEPS, **settings), atol=5e-3, rtol=2e-3)
    edited = apply_attributes(other, model, {"Young": 1})
    z_face = model.fuse(torch.from_numpy(edited.current_z_id), torch.from_numpy(other.z_motion[:]))
    crops = solvers.sample(model, torch.from_numpy(other.x_T[:]).float(), z_face, STEPS, **settings)
    np.testing.assert_allclose(np.stack(list(decode_crops(edited, model))), crops, atol=2e-3, rtol=2e-3)
    for key in ("power", "clamp"):  # and each of the two matters
        plain = encode(video, model, steps=STEPS, **{name: value for name, value in settings.items() if name != key})
        assert np.abs(plain.rebuilt[:] - other.rebuilt[:]).max() > 0.01


def test_a_video_by_order2_without_a_power_is_what_it_was_before_powers(decomposition, model, video):
    """To the bit, however the usual way of solving changes."""
    old, even = (encode(video, model, steps=STEPS, solver="order2", **power) for power in ({}, {"power": 1.0}))
    assert old.info == even.info and old.info.power == 1.0
    for name in ("x_T", "rebuilt"):
        assert np.array_equal(getattr(old, name)[:], getattr(even, name)[:])
    assert not np.array_equal(old.x_T[:], decomposition.x_T[:])


def test_a_solver_with_another_count_of_evaluations(model, video):
    """The progress bar still ends at the end."""
    told = []
    encode(video, model, steps=STEPS, solver="fixed-point", max_frames=1, progress=lambda name, done, *_: told.append((name, done)))
    fractions = [done for name, done in told if name == "encode"]
    assert len(fractions) == sum(solvers.evaluations("fixed-point", STEPS)) == 3 * STEPS
    assert fractions == sorted(fractions) and fractions[-1] == 1 and fractions[-2] < 1


def test_the_batch_size_changes_nothing(decomposition, model, video):
    edited = apply_attributes(decomposition, model, {"Young": 1, "Smiling": 1})
    crops = np.stack(list(decode_crops(edited, model)))
    for batch in (1, 4):
        other = encode(video, model, steps=STEPS, batch_size=batch)
        np.testing.assert_allclose(other.x_T[:], decomposition.x_T[:], atol=2e-3)
        np.testing.assert_allclose(np.stack(list(decode_crops(edited, model, batch_size=batch))), crops, atol=2e-3)
    assert np.array_equal(encode(video, model, steps=STEPS).x_T[:], decomposition.x_T[:])  # and the same twice is the same


def test_on_disk_as_in_memory(tmp_path, decomposition, model, video, monkeypatch):
    filed = encode(video, model, steps=STEPS, path=tmp_path / "a.safetensors", batch_size=4)
    monkeypatch.setattr("dva_core.pipeline.store.IN_MEMORY", 0)
    scratch = encode(video, model, steps=STEPS)
    assert isinstance(scratch.store, TensorFile)
    loaded = Decomposition.load(tmp_path / "a.safetensors")
    for name in ("x_T", "rebuilt", "crops", "masks", "z_motion"):
        np.testing.assert_array_equal(getattr(scratch, name)[:], getattr(decomposition, name)[:])
        np.testing.assert_allclose(getattr(loaded, name)[:], getattr(filed, name)[:])
        np.testing.assert_allclose(getattr(loaded, name)[:], getattr(decomposition, name)[:], atol=1e-2)
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert file.get_tensor("x_T").shape == (6, 3, 16, 16)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_detector_is_the_callers_choice(model, video, monkeypatch):
    asked, found = [], stand_in(model)
    monkeypatch.setattr(FaceFinder, "of", classmethod(lambda cls, *args: asked.append(args[1:]) or found))
    for detector in ("own", "insightface"):
        encode(video, model, steps=1, max_frames=1, detector=detector)
    assert asked == [("own",), ("insightface",)]
    with pytest.raises(DVAError, match="no detector 'eyes'"):
        encode(video, model, steps=1, detector="eyes")


def test_a_full_disk_while_writing_noise_maps(tmp_path, model, video, disk_that_fills, monkeypatch):
    with pytest.raises(DVAError, match="is full"):
        encode(video, model, steps=1, path=tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("dva_core.pipeline.store.IN_MEMORY", 0)
    with pytest.raises(DVAError, match="is full"):
        encode(video, model, steps=1)


def test_no_face_and_no_frames(tmp_path, model, video):
    empty = write_video(tmp_path / "empty.mkv", 5, faceless=range(5))
    with pytest.raises(DVAError, match=r"No face was found in the 5 frames of .*empty\.mkv"):
        encode(empty, model, steps=1, path=tmp_path / "a.safetensors")
    with pytest.raises(DVAError, match="No frame of"):
        encode(video, model, steps=1, start=100)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.mkv"]


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 5000},
        {"solver": "magic"},
        {"solver": "o-belm"},
        {"power": 0},
        {"power": 0.3},
        {"power": float("nan")},
        {"max_frames": 0},
        {"start": -1},
        {"start": float("nan")},
        {"every": 0},
        {"face": "ugly"},
        {"length": 0},
    ],
)
def test_settings_that_make_no_sense(model, video, settings):
    with pytest.raises(DVAError):
        encode(video, model, **settings)


def test_a_reference_picture_picks_its_face(tmp_path, model, video):
    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), draw(0)[..., ::-1])
    assert encode(video, model, steps=1, select=f"reference:{picture}").faces == 6  # as it was once called
    picture.write_text("no picture")
    with pytest.raises(DVAError, match="cannot be read"):
        encode(video, model, steps=1, face=f"reference:{picture}")


def test_numbers_of_any_kind_are_taken_and_others_refused_before_any_work(tmp_path, model, monkeypatch):
    source = write_video(tmp_path / "video.mkv", 3)
    decomposition = encode(
        source, model, steps=np.int64(2), start=Fraction(0), every=np.int32(1), max_frames=np.int64(3), path=tmp_path / "a.safetensors"
    )
    assert Decomposition.load(tmp_path / "a.safetensors").info == decomposition.info and decomposition.info.steps == 2
    monkeypatch.setattr("dva_core.pipeline.encoding.find_faces", lambda *_, **__: pytest.fail("work has begun"))
    for settings in (
        {"steps": "3"},
        {"start": "0"},
        {"every": 1.5},
        {"length": True},
        {"max_frames": [1]},
        {"batch_size": 0},
        {"power": "x"},
    ):
        with pytest.raises(DVAError, match="cannot be"):
            encode(source, model, **settings)
    with pytest.raises(DVAError, match="no folder"):
        encode(source, model, scratch=tmp_path / "none")


def test_encoding_writes_over_nothing_that_is_read(tmp_path, model, monkeypatch):
    source, face = write_video(tmp_path / "video.mkv", 3), tmp_path / "face.png"
    face.write_bytes(b"a face")
    monkeypatch.setattr("dva_core.pipeline.encoding.find_faces", lambda *_, **__: pytest.fail("work has begun"))
    (tmp_path / "link").symlink_to(source)
    before = {path: path.read_bytes() for path in (source, face, model.path)}
    for path in (source, tmp_path / "link", face, model.path):
        with pytest.raises(DVAError, match="would overwrite"):
            encode(source, model, steps=1, face=("reference", str(face)), path=path)
    for path in ("", tmp_path / "none" / "a.safetensors", tmp_path):
        with pytest.raises(DVAError):
            encode(source, model, steps=1, path=path)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_pipe_is_refused(tmp_path, model):
    os.mkfifo(tmp_path / "p.mpg")
    for call in (lambda: encode(tmp_path / "p.mpg", model), lambda: open_video(tmp_path / "p.mpg"), lambda: encode("", model)):
        with pytest.raises(DVAError, match=r"pipe|is empty"):
            call()
