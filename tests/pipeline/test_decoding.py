"""A decomposition becomes a video: no edit is no change, an edit stays in its square, what was there is not written over."""

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from bundles import tiny_config, write_tiny
from standin import WIDTH, draw, write_video

from dva_core.decomposition.info import DecompositionInfo
from dva_core.diffusion import solvers
from dva_core.edit import apply_attributes
from dva_core.errors import DVAError
from dva_core.model.loader import load_model
from dva_core.pipeline import decode, decode_crops, encode
from dva_core.pipeline.masks import SoftMasks
from dva_core.video import Frame, VideoInfo, VideoWriter, open_video

from .conftest import STEPS, pictures

pytestmark = pytest.mark.usefixtures("bright_finder")


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
    monkeypatch.setattr("dva_core.pipeline.masks.soften", lambda masks, centre: asked.append((masks[:, 0, 0].tolist(), centre)) or masks[0])
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


def test_memory_does_not_grow_with_the_video(tmp_path, model, monkeypatch):
    monkeypatch.setattr("dva_core.pipeline.store.IN_MEMORY", 0)
    peaks = []
    for frames in (15, 60):
        video = write_video(tmp_path / f"{frames}.mkv", frames)
        tracemalloc.start()
        decode(encode(video, model, steps=1, batch_size=4), model, tmp_path / "out.mkv", codec="ffv1")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 15 * WIDTH * 80 * 3  # 45 frames more cost less than 15 of them, however many are on their way


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
