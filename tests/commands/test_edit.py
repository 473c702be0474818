"""The commands edit, encode and decode."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from standin import write_video
from video_helpers import pictures

from dva_core.commands import edit as edit_command
from dva_core.decomposition import Decomposition
from dva_core.hosts.devices import fastest_dtype
from dva_core.pipeline import decode, encode
from dva_core.video import open_video

from .answers import YOUNG, refused

FASTEST = str(fastest_dtype(torch.device("cpu"))).removeprefix("torch.")  # the default

pytestmark = pytest.mark.usefixtures("bright_finder")


def test_edit_writes_a_video_a_sheet_and_says_what_it_did(call, video, tmp_path):
    options = ("--codec", "ffv1", "--steps", 2, *YOUNG, "--attribute", "smiling", "--scale", "0.5", "--sheet", "s.png")
    code, out, err = call("edit", video, "-o", "out.mkv", *options)
    assert code == 0, err
    assert (
        out == "" and err.count(f"tiny on cpu in {FASTEST}") == 1 and "4 of 4 frames have the face" in err and "s a frame (track" not in err
    )
    assert all(re.search(rf"{phase} \d+\.\d", err) for phase in ("video", "track", "encode", "decode", "paste"))
    assert len(pictures("out.mkv")) == 4 and not np.array_equal(pictures("out.mkv")[0], pictures(video)[0])
    sheet = cv2.imread("s.png")
    assert sheet.shape[0] > 4 * 160 and sheet.shape[1] > 4 * 160
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mkv", "s.png"]


def test_encode_then_edit_then_decode_from_the_file(call, video, tmp_path):
    code, out, _ = call("encode", video, "-o", "decomposition.safetensors", "--steps", 2, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["frames"] == 4 and answer["track"]["found"] == 4 and set(answer["seconds"]) == {"video", "track", "encode"}
    code, out, _ = call("edit", "decomposition.safetensors", "-o", "a.mkv", "--codec", "ffv1", *YOUNG, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["operations"] == [{"name": "attributes", "scales": {"Young": -0.8}, "normalize": True}]
    assert answer["seconds_per_frame"] > 0 and (answer["device"], answer["precision"], answer["steps"]) == ("cpu", FASTEST, 2)
    assert (
        json.loads(call("decode", "decomposition.safetensors", "-o", "f.mkv", "--precision", "fp32", "--json")[1])["precision"] == "float32"
    )
    assert call("edit", video, "-o", "b.mkv", "--codec", "ffv1", "--steps", 2, *YOUNG)[0] == 0
    assert call("edit", "decomposition.safetensors", "-o", "c.mkv", "--codec", "ffv1", *YOUNG, "--no-normalize")[0] == 0
    assert all(np.array_equal(a, b) for a, b in zip(pictures("a.mkv"), pictures("b.mkv"), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(pictures("a.mkv"), pictures("c.mkv"), strict=True))
    assert call("decode", "decomposition.safetensors", "-o", "d.mkv", "--codec", "ffv1")[0] == 0
    assert all(np.array_equal(a, b) for a, b in zip(pictures("d.mkv"), pictures(video), strict=True))


def test_what_stays_in_front_is_kept(call, video, tmp_path, caplog):
    mask = np.zeros((80, 96), np.uint8)
    mask[:, :48] = 255
    cv2.imwrite("mask.png", mask)
    options = ("--codec", "ffv1", "--steps", 2, *YOUNG)
    assert call("edit", video, "-o", "kept.mkv", *options, "--keep", "mask.png")[0] == 0
    assert call("edit", video, "-o", "plain.mkv", *options)[0] == 0
    before, kept, plain = (np.stack(pictures(path)) for path in (video, "kept.mkv", "plain.mkv"))
    assert np.array_equal(kept[:, mask > 0], before[:, mask > 0]) and not np.array_equal(plain[:, mask > 0], before[:, mask > 0])
    assert not np.array_equal(kept, before)
    assert call("encode", video, "-o", "decomposition.safetensors", "--steps", 2)[0] == 0
    assert call("edit", "decomposition.safetensors", "-o", "edited.safetensors", *YOUNG)[0] == 0
    assert call("decode", "edited.safetensors", "-o", "again.mkv", "--codec", "ffv1", "--keep", "mask.png")[0] == 0
    assert np.array_equal(np.stack(pictures("again.mkv")), kept)
    looks = ("preview", "edited.safetensors"), ("sheet", "edited.safetensors", "--attribute", "Young", "--scales", "3")
    for look in looks:
        previews = []
        for keep in ((), ("--keep", "mask.png")):
            assert call(*look, "-o", "look.png", *keep)[0] == 0
            previews.append(cv2.imread("look.png"))
        assert not np.array_equal(*previews)
        code, _, err = call(*look, "-o", "look.png", "--frame", 99)
        said = err + caplog.text
        assert code == 0 and "There is no frame 99 in this video of 4 frames" in said and "frame 3" in said


def test_masks_that_fit_nothing_are_refused_before_any_work(call, video, tmp_path, monkeypatch):
    assert call("encode", video, "-o", "decomposition.safetensors", "--steps", 2)[0] == 0
    monkeypatch.setattr(edit_command, "encode", None)
    for name, shape, count in (("narrow", (80, 20), 1), ("three", (80, 96), 3)):
        Path(name).mkdir()
        for i in range(count):
            cv2.imwrite(f"{name}/{i}.png", np.zeros(shape, np.uint8))
    for command, *inputs in (
        ("edit", video, *YOUNG),
        ("edit", "decomposition.safetensors", *YOUNG),
        ("decode", "decomposition.safetensors"),
    ):
        refused(call(command, *inputs, "-o", "out.mp4", "--keep", "narrow"), "20x80", "96x80")
        refused(call(command, *inputs, "-o", "out.mp4", "--keep", "three"), "3 masks", "4 frames")
        refused(call(command, *inputs, "-o", "out.mp4", "--keep", "none.png"), "There is no file none.png")
    refused(call("sheet", video, "-o", "sheet.png", "--keep", "narrow"), "20x80")
    refused(call("edit", video, "-o", "edited.safetensors", *YOUNG, "--keep", "three"), "--keep cannot be used")
    refused(
        call("decode", "decomposition.safetensors", "-o", shutil.copy(video, "masks.mkv"), "--codec", "ffv1", "--keep", "masks.mkv"),
        "would overwrite",
    )
    assert not Path("out.mp4").exists()


def test_an_edited_decomposition_can_be_kept_and_decoded_later(call, video, tmp_path):
    assert call("edit", video, "-o", "a.safetensors", "--steps", 2, *YOUNG)[0] == 0
    assert call("edit", "a.safetensors", "-o", "b.safetensors", "--attribute", "Smiling", "--scale", "0.5")[0] == 0
    code, out, _ = call("decode", "b.safetensors", "-o", "b.mkv", "--codec", "ffv1", "--json")
    assert code == 0 and [op["scales"] for op in json.loads(out)["operations"]] == [{"Young": -0.8}, {"Smiling": 0.5}]
    assert call("edit", video, "-o", "c.mkv", "--codec", "ffv1", "--steps", 2, *YOUNG, "--attribute", "Smiling", "--scale", "0.5")[0] == 0
    assert all(np.array_equal(a, b) for a, b in zip(pictures("b.mkv"), pictures("c.mkv"), strict=True))
    refused(call("edit", "a.safetensors", "-o", "d.safetensors", *YOUNG, "--sheet", "s.png"), "--sheet")


def test_scale_0_gives_every_pixel_back(call, video):
    assert call("edit", video, "-o", "out.mkv", "--codec", "ffv1", "--steps", 2, "--attribute", "Young", "--scale", "0")[0] == 0
    assert all(np.array_equal(a, b) for a, b in zip(pictures("out.mkv"), pictures(video), strict=True))


def test_a_face_in_some_frames_works_and_is_reported(call, tmp_path):
    source = write_video(tmp_path / "some.mkv", 24, faceless=range(4, 20))
    code, _, err = call("edit", source, "-o", "out.mp4", "--steps", 1, *YOUNG)
    assert code == 0 and "8 of 24 frames have the face; 16 without it pass through untouched" in err
    assert len(pictures("out.mp4")) == 24


def test_the_solvers_settings_come_with_the_decomposition(call, video):
    code, out, err = call(
        "encode", video, "-o", "a.safetensors", "--steps", 2, "--solver", "angle2", "--power", 1.5, "--no-clamp", "--json"
    )
    assert code == 0, err
    assert {key: json.loads(out)[key] for key in ("steps", "solver", "power", "clamp")} == {
        "steps": 2,
        "solver": "angle2",
        "power": 1.5,
        "clamp": False,
    }
    assert Decomposition.load("a.safetensors").info.solving == "2 steps of angle2, power 1.5, no clamp"
    refused(call("edit", "a.safetensors", "-o", "b.safetensors", *YOUNG, "--no-clamp"), "encoded already", "--clamp")


def test_the_usual_settings_of_the_solver(call, video):
    """Those of the API; --solver alone brings its own power."""
    assert call("encode", video, "-o", "a.safetensors", "--max-frames", 1)[0] == 0
    assert Decomposition.load("a.safetensors").info.solving == "12 steps of angle2c, power 1.7"
    assert call("encode", video, "-o", "b.safetensors", "--max-frames", 1, "--steps", 2, "--solver", "order2")[0] == 0
    assert Decomposition.load("b.safetensors").info.solving == "2 steps of order2"


def test_compatible_output_and_a_scratch_folder(call, video, tmp_path, monkeypatch):
    settings_used = []
    monkeypatch.setattr(
        edit_command, "encode", lambda *args, **settings: settings_used.append(settings["scratch"]) or encode(*args, **settings)
    )
    monkeypatch.setattr(
        edit_command, "decode", lambda *args, **settings: settings_used.append(settings["compatible"]) or decode(*args, **settings)
    )
    (tmp_path / "there").mkdir()
    code, _, err = call("edit", video, *YOUNG, "-o", "a.mp4", "--steps", 2, "--compatible", "--scratch", "there")
    assert code == 0 and settings_used == ["there", True], err
    with open_video("a.mp4") as reader:
        assert reader.info.pix_fmt == "yuv420p"


def test_a_decomposition_is_edited_undecoded_though_its_source_is_elsewhere(call, tmp_path):
    source = write_video(tmp_path / "source.mkv", 2)
    assert call("encode", source, "-o", "a.safetensors", "--steps", 2)[0] == 0
    source.unlink()
    code, _, err = call("edit", "a.safetensors", *YOUNG, "-o", "b.safetensors")
    assert code == 0, err
    refused(call("edit", "a.safetensors", *YOUNG, "-o", "b.mp4"), "source")
