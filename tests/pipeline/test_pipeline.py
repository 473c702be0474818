import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from bundles import tiny_config, write_tiny
from safetensors import safe_open
from standin import WIDTH, draw, stand_in, use_stand_in, write_video

from dva_core.decomposition import Decomposition
from dva_core.decomposition.info import DecompositionInfo
from dva_core.decomposition.tensorfile import TensorFile
from dva_core.diffusion import solvers
from dva_core.edit import apply_attributes
from dva_core.errors import DVAError
from dva_core.faces.finder import FaceFinder, parse_face
from dva_core.model.arrays import to_images
from dva_core.model.loader import load_model
from dva_core.pipeline import decode, decode_crops, encode, encoding
from dva_core.pipeline.masks import SoftMasks
from dva_core.progress import Stopwatch
from dva_core.video import Frame, VideoInfo, VideoWriter, open_video

STEPS = 4


@pytest.fixture(autouse=True)
def finder(monkeypatch, model):
    use_stand_in(monkeypatch, model)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "video.mkv", 6)


@pytest.fixture
def decomposition(video, model):
    return encode(video, model, steps=STEPS)


def pictures(path):
    with open_video(path) as reader:
        return [frame.rgb for frame in reader]


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


def test_a_file_without_a_power_is_decoded_by_even_timesteps(tmp_path, model, video):
    """Whatever solver it names: the power that suits this one now is not what it was made with."""
    made = encode(video, model, steps=STEPS, solver="angle2", power=1.0, max_frames=2)
    before = {key: value for key, value in made.info.to_metadata().items() if key not in ("power", "clamp")}
    old = replace(made, info=DecompositionInfo.from_metadata(before))
    assert old.info == made.info
    crops, others = (
        np.stack(list(decode_crops(apply_attributes(decomposition, model, {"Young": 1}), model)))
        for decomposition in (old, replace(made, info=replace(made.info, power=solvers.power_of("angle2"))))
    )
    z_face = model.fuse(torch.from_numpy(apply_attributes(made, model, {"Young": 1}).current_z_id), torch.from_numpy(made.z_motion[:]))
    even = solvers.sample(model, torch.from_numpy(made.x_T[:]).float(), z_face, STEPS, "angle2", power=1.0)
    np.testing.assert_allclose(crops, even, atol=2e-3, rtol=2e-3)
    assert np.abs(crops - others).max() > 0.01


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
    monkeypatch.setattr(encoding, "IN_MEMORY", 0)
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


@pytest.mark.parametrize("edit", [None, {"Young": 0.0, "Smiling": 0.0}])
def test_no_edit_gives_every_pixel_back(tmp_path, decomposition, model, video, edit):
    unedited = decomposition if edit is None else apply_attributes(decomposition, model, edit)
    decode(unedited, model, tmp_path / "out.mkv", codec="ffv1")
    for before, after in zip(pictures(video), pictures(tmp_path / "out.mkv"), strict=True):
        np.testing.assert_array_equal(before, after)


def test_no_edit_evaluates_nothing(decomposition, model, monkeypatch):
    monkeypatch.setattr(model, "predict_noise", lambda *_: pytest.fail("evaluated"))
    crops = list(decode_crops(decomposition, model))
    np.testing.assert_array_equal(np.stack(crops), decomposition.rebuilt[:])
    assert len(list(decode_crops(decomposition, model, [4, 1]))) == 2


@pytest.mark.parametrize("detail", ["transfer", "model"])
def test_an_edit_changes_the_face_and_nothing_outside_its_square(tmp_path, decomposition, model, video, detail):
    edited = apply_attributes(decomposition, model, {"Young": -2, "Smiling": 1})
    report = decode(edited, model, tmp_path / "out.mkv", codec="ffv1", detail=detail)
    assert (report.frames, report.faces) == (6, 6)
    for row, (before, after) in enumerate(zip(pictures(video), pictures(tmp_path / "out.mkv"), strict=True)):
        changed = (before != after).any(-1)
        (x0, y0), (x1, y1) = decomposition.quads[row].min(0), decomposition.quads[row].max(0)
        assert changed.any()
        rows, columns = np.nonzero(changed)
        assert columns.min() >= x0 - 1 and columns.max() <= x1 and rows.min() >= y0 - 1 and rows.max() <= y1


def test_progress_of_decoding_counts_every_step(decomposition, model):
    told = []
    edited = apply_attributes(decomposition, model, {"Young": 1})
    for _ in decode_crops(edited, model, batch_size=2, progress=lambda phase, done, total, preview=None: told.append((done, total))):
        pass
    assert told == [(2 * i / STEPS, 6) for i in range(1, 3 * STEPS + 1)]


def test_edits_of_some_rows_are_those_of_all(decomposition, model):
    edited = apply_attributes(decomposition, model, {"Young": 1})
    some, all_ = list(decode_crops(edited, model, [5, 0, 2])), list(decode_crops(edited, model))
    np.testing.assert_allclose(np.stack(some), np.stack([all_[i] for i in (5, 0, 2)]), atol=2e-3)
    assert not np.allclose(all_[0], decomposition.rebuilt[0], atol=1e-2)


def test_frames_without_a_face_pass_through(tmp_path, model):
    video = write_video(tmp_path / "video.mkv", 26, faceless=tuple(range(6, 20)))
    decomposition = encode(video, model, steps=2)
    assert decomposition.frame_index.tolist() == [*range(6), *range(20, 26)] and decomposition.info.frames == 26
    assert decomposition.info.track["missing"] == 14 and len(set(decomposition.segment)) == 2
    decode(apply_attributes(decomposition, model, {"Young": -2}), model, tmp_path / "out.mkv", codec="ffv1")
    same = [np.array_equal(a, b) for a, b in zip(pictures(video), pictures(tmp_path / "out.mkv"), strict=True)]
    assert same == [False] * 6 + [True] * 14 + [False] * 6


def test_masks_are_not_softened_across_a_gap(tmp_path, decomposition, monkeypatch):
    asked = []
    monkeypatch.setattr("dva_core.pipeline.masks.soften", lambda masks, centre: asked.append((masks[:, 0, 0].tolist(), centre)))
    decomposition.store.write("masks", 0, np.arange(6)[:, None, None] * np.ones((1, 32, 32)))
    decomposition.store.write("segment", 0, [1, 1, 2, 2, 2, 2])
    masks = SoftMasks(decomposition)
    for row in range(6):
        masks[row]
    assert asked == [([0, 1], 0), ([0, 1], 1), ([2, 3, 4, 5], 0), ([2, 3, 4, 5], 1), ([2, 3, 4, 5], 2), ([2, 3, 4, 5], 3)]


def test_part_of_a_video(tmp_path, model, video):
    decomposition = encode(video, model, steps=1, start=0.04, length=0.16, every=2, max_frames=1)
    assert decomposition.info.frames == 1 and decomposition.info.rate == 12.5
    report = decode(decomposition, model, tmp_path / "out.mkv", codec="ffv1")
    assert report.frames == 1
    np.testing.assert_array_equal(pictures(tmp_path / "out.mkv")[0], draw(1))


def test_a_folder_of_pictures(tmp_path, model):
    import cv2

    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), draw(i)[..., ::-1])
    decomposition = encode(folder, model, steps=1, rate="30000/1001")
    assert str(decomposition.info.rate) == "30000/1001"
    decode(decomposition, model, tmp_path / "out", codec="png")
    for i, picture in enumerate(pictures(tmp_path / "out")):
        np.testing.assert_array_equal(picture, draw(i))


def test_the_source_is_not_written_over(tmp_path, model):
    """By whatever name it goes."""
    source = write_video(tmp_path / "video.mkv", 3)
    decomposition, before = encode(source, model, steps=1), source.read_bytes()
    (tmp_path / "link.mkv").symlink_to(source)
    (tmp_path / "deeper").mkdir()
    for name in ("video.mkv", "link.mkv", "deeper/../video.mkv"):
        with pytest.raises(DVAError, match="would overwrite"):
            decode(decomposition, model, tmp_path / name, codec="ffv1")
    decode(decomposition, model, tmp_path / "pictures", codec="png")
    with pytest.raises(DVAError, match="would overwrite"):
        decode(encode(tmp_path / "pictures", model, steps=1), model, tmp_path / "pictures", codec="png")
    assert source.read_bytes() == before and len(list((tmp_path / "pictures").glob("*.png"))) == 3


def test_the_detector_is_the_callers_choice(model, video, monkeypatch):
    asked, found = [], stand_in(model)
    monkeypatch.setattr(FaceFinder, "of", classmethod(lambda cls, *args: asked.append(args[1:]) or found))
    for detector in ("own", "insightface"):
        encode(video, model, steps=1, max_frames=1, detector=detector)
    assert asked == [("own",), ("insightface",)]
    with pytest.raises(DVAError, match="no detector 'eyes'"):
        encode(video, model, steps=1, detector="eyes")


def test_output_every_player_shows(tmp_path, model, caplog):
    with VideoWriter(tmp_path / "odd.mkv", VideoInfo.for_images(WIDTH - 1, 79, 25), codec="ffv1") as writer:
        for i in range(3):
            writer.write(Frame.from_rgb(draw(i)[:79, :-1], i))
    decomposition = encode(tmp_path / "odd.mkv", model, steps=1)
    for compatible, size in ((False, (95, 79)), (True, (96, 80))):
        caplog.clear()
        decode(decomposition, model, tmp_path / "out.mp4", compatible=compatible)
        info = open_video(tmp_path / "out.mp4").info
        assert (info.width, info.height) == size and ("4:4:4" in caplog.text) is not compatible
    with pytest.raises(DVAError, match="quality 0"):
        decode(decomposition, model, tmp_path / "out.mp4", quality=0, compatible=True)


def test_progress_comes_in_order_and_can_cancel(tmp_path, decomposition, model, video):
    seen = []

    def note(*event):
        seen.append(event)

    filed = encode(video, model, steps=STEPS, batch_size=2, progress=note)
    decode(apply_attributes(filed, model, {"Young": 1}), model, tmp_path / "out.mkv", codec="ffv1", progress=note)
    for phase in ("track", "encode", "decode"):
        done = [event[1] for event in seen if event[0] == phase]
        assert max(done) == 6 and (phase == "decode" or done == sorted(done))
    assert any(event[0] == "encode" and event[1] % 1 for event in seen)  # between steps too
    assert all(event[2] == 6 for event in seen if event[0] != "track")

    class Cancelled(Exception):
        pass

    for phase in ("track", "encode", "decode"):

        def cancel(name, done, total, preview=None, phase=phase):
            if name == phase and done > 1:
                raise Cancelled

        before = sorted(tmp_path.iterdir())
        with pytest.raises(Cancelled):
            made = encode(video, model, steps=STEPS, path=tmp_path / "b.safetensors" if phase != "decode" else None, progress=cancel)
            decode(apply_attributes(made, model, {"Young": 1}), model, tmp_path / "out2.mkv", codec="ffv1", progress=cancel)
        assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_while_writing_noise_maps(tmp_path, model, video, disk_that_fills, monkeypatch):
    with pytest.raises(DVAError, match="is full"):
        encode(video, model, steps=1, path=tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(encoding, "IN_MEMORY", 0)
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


def test_decode_refuses_what_does_not_belong(tmp_path, decomposition, model, video):
    with pytest.raises(DVAError, match="detail"):
        decode(decomposition, model, tmp_path / "out.mkv", detail="more")
    other = write_video(tmp_path / "other.mkv", 7)
    with pytest.raises(DVAError, match="has changed since"):
        decode(decomposition, model, tmp_path / "out.mkv", video=other)
    stranger = load_model(write_tiny(tmp_path / "stranger.safetensors", config=tiny_config(name="stranger")), device="cpu")
    for call in (lambda: decode(decomposition, stranger, tmp_path / "out.mkv"), lambda: next(decode_crops(decomposition, stranger))):
        with pytest.raises(DVAError, match="encoded with the model tiny"):
            call()
    assert not (tmp_path / "out.mkv").exists()


def test_values_that_are_no_numbers_in_half_precision_are_computed_again(tmp_path, video, model, caplog):
    half = load_model(write_tiny(tmp_path / "tiny.safetensors"), device="cpu", dtype="bf16")
    predict, weights = half.predict_noise, {key: tensor.clone() for key, tensor in half.state_dict().items()}
    half.predict_noise = lambda x, t, z: predict(x, t, z) * (float("nan") if half.host.dtype != torch.float32 else 1)
    decomposition = encode(video, half, steps=STEPS, max_frames=2)
    np.testing.assert_allclose(decomposition.x_T[:], encode(video, model, steps=STEPS, max_frames=2).x_T[:], atol=0.1)  # weights rounded
    assert "float32" in caplog.text
    assert half.host.dtype == torch.bfloat16  # and the model is as it was, to the bit
    assert all(tensor.dtype == weights[key].dtype and torch.equal(tensor, weights[key]) for key, tensor in half.state_dict().items())
    half.predict_noise = lambda x, t, z: x * float("nan")
    with pytest.raises(DVAError, match="not finite"):
        encode(video, half, steps=STEPS, max_frames=2)


def test_only_the_batch_that_overflows_is_computed_in_float32(tmp_path, video):
    half = load_model(write_tiny(tmp_path / "tiny.safetensors"), device="cpu", dtype="bf16")
    expected = encode(video, half, steps=STEPS, max_frames=3, batch_size=1)
    predict, calls = half.predict_noise, []

    def overflow(x, t, z):
        calls.append(half.host.dtype)
        return predict(x, t, z) * (float("nan") if len(calls) == 2 * (2 * STEPS - 1) else 1)  # in the last step of the second frame

    half.predict_noise = overflow
    decomposition = encode(video, half, steps=STEPS, max_frames=3, batch_size=1)
    assert calls.count(torch.float32) == STEPS  # the second frame's way down, and nothing else
    same = [np.array_equal(decomposition.rebuilt[i], expected.rebuilt[i]) for i in range(3)]
    assert same == [True, False, True] and np.array_equal(decomposition.x_T[:], expected.x_T[:])


def test_memory_does_not_grow_with_the_video(tmp_path, model, monkeypatch):
    monkeypatch.setattr(encoding, "IN_MEMORY", 0)
    peaks = []
    for frames in (10, 30):
        video = write_video(tmp_path / f"{frames}.mkv", frames)
        tracemalloc.start()
        decode(encode(video, model, steps=1, batch_size=4), model, tmp_path / "out.mkv", codec="ffv1")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 10 * WIDTH * 80 * 3  # 20 frames more cost less than 10 of them


def test_which_face(tmp_path):
    assert parse_face("largest") == ("largest",)
    assert parse_face("position:0.25,0.5") == ("position", 0.25, 0.5)
    for text in (
        "smallest",
        "position:1",
        "position:a,b",
        "position:2,0.5",
        "position:nan,0",
        "reference:",
        f"reference:{tmp_path}/none.png",
    ):
        with pytest.raises(DVAError) as caught:
            parse_face(text)
        assert str(caught.value).endswith(".")


def test_a_reference_picture_picks_its_face(tmp_path, model, video):
    import cv2

    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), draw(0)[..., ::-1])
    assert encode(video, model, steps=1, select=f"reference:{picture}").faces == 6  # as it was once called
    picture.write_text("no picture")
    with pytest.raises(DVAError, match="cannot be read"):
        encode(video, model, steps=1, face=f"reference:{picture}")


def test_a_stopwatch_counts_each_second_once():
    clock = Stopwatch()
    with clock("outer"):
        for _ in clock.each("inner", range(3)):
            pass
    assert set(clock.seconds) == {"outer", "inner"} and clock.total < 1
    assert clock.total == sum(clock.seconds.values())


def test_numbers_of_any_kind_are_taken_and_others_refused_before_any_work(tmp_path, model, monkeypatch):
    source = write_video(tmp_path / "video.mkv", 3)
    decomposition = encode(
        source, model, steps=np.int64(2), start=Fraction(0), every=np.int32(1), max_frames=np.int64(3), path=tmp_path / "a.safetensors"
    )
    assert Decomposition.load(tmp_path / "a.safetensors").info == decomposition.info and decomposition.info.steps == 2
    monkeypatch.setattr("dva_core.pipeline.encoding.find_faces", lambda *_: pytest.fail("work has begun"))
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
    monkeypatch.setattr("dva_core.pipeline.encoding.find_faces", lambda *_: pytest.fail("work has begun"))
    (tmp_path / "link").symlink_to(source)
    before = {path: path.read_bytes() for path in (source, face, model.path)}
    for path in (source, tmp_path / "link", face, model.path):
        with pytest.raises(DVAError, match="would overwrite"):
            encode(source, model, steps=1, face=("reference", str(face)), path=path)
    for path in ("", tmp_path / "none" / "a.safetensors", tmp_path):
        with pytest.raises(DVAError):
            encode(source, model, steps=1, path=path)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_decoding_spares_the_decomposition_s_own_file_and_the_model(tmp_path, model):
    source = write_video(tmp_path / "video.mkv", 3)
    decomposition = encode(source, model, steps=1, path=tmp_path / "a.safetensors")
    for number, path in enumerate((tmp_path / "a.safetensors", model.path)):
        (tmp_path / f"{number}.mp4").symlink_to(path)
        with pytest.raises(DVAError, match="would overwrite"):
            decode(decomposition, model, tmp_path / f"{number}.mp4")


def test_what_decoding_is_asked_for_is_checked_when_it_is_asked(tmp_path, model):
    decomposition = encode(write_video(tmp_path / "video.mkv", 3), model, steps=1)
    with pytest.raises(DVAError, match="encoded with the model"):
        decode_crops(replace(decomposition, info=replace(decomposition.info, model_fingerprint="f" * 64)), model)
    with pytest.raises(IndexError):
        decode_crops(decomposition, model, [3])
    some = list(decode_crops(decomposition, model, np.array([True, False, True])))
    np.testing.assert_array_equal(some, decomposition.rebuilt[[0, 2]])


def test_a_pipe_is_refused(tmp_path, model):
    import os

    os.mkfifo(tmp_path / "p.mpg")
    for call in (lambda: encode(tmp_path / "p.mpg", model), lambda: open_video(tmp_path / "p.mpg"), lambda: encode("", model)):
        with pytest.raises(DVAError, match=r"pipe|is empty"):
            call()
