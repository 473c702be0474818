"""The commands edit, encode, decode and what is common to all."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bundles import tiny_tensors, write_tiny
from safetensors import safe_open
from safetensors.torch import save_file
from standin import write_clip

from dva_core.commands import edit as edit_command
from dva_core.commands import main as cli
from dva_core.decomposition import Decomposition
from dva_core.hosts.devices import fastest_dtype
from dva_core.pipeline import decode, encode
from dva_core.video import open_video

from .answers import YOUNG, pictures, refused

FASTEST = str(fastest_dtype(torch.device("cpu"))).removeprefix("torch.")  # the default
ROOT = Path(cli.__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("finder")


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
    code, out, _ = call("encode", video, "-o", "clip.safetensors", "--steps", 2, "--json")
    told = json.loads(out)
    assert code == 0 and told["frames"] == 4 and told["track"]["found"] == 4 and set(told["seconds"]) == {"video", "track", "encode"}
    code, out, _ = call("edit", "clip.safetensors", "-o", "a.mkv", "--codec", "ffv1", *YOUNG, "--json")
    told = json.loads(out)
    assert code == 0 and told["operations"] == [{"name": "attributes", "scales": {"Young": -0.8}, "normalize": True}]
    assert told["seconds_per_frame"] > 0 and (told["device"], told["precision"], told["steps"]) == ("cpu", FASTEST, 2)
    assert json.loads(call("decode", "clip.safetensors", "-o", "f.mkv", "--precision", "fp32", "--json")[1])["precision"] == "float32"
    assert call("edit", video, "-o", "b.mkv", "--codec", "ffv1", "--steps", 2, *YOUNG)[0] == 0
    assert call("edit", "clip.safetensors", "-o", "c.mkv", "--codec", "ffv1", *YOUNG, "--no-normalize")[0] == 0
    assert all(np.array_equal(a, b) for a, b in zip(pictures("a.mkv"), pictures("b.mkv"), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(pictures("a.mkv"), pictures("c.mkv"), strict=True))
    assert call("decode", "clip.safetensors", "-o", "d.mkv", "--codec", "ffv1")[0] == 0
    assert all(np.array_equal(a, b) for a, b in zip(pictures("d.mkv"), pictures(video), strict=True))


def test_what_stays_in_front_is_kept(call, video, tmp_path):
    mask = np.zeros((80, 96), np.uint8)
    mask[:, :48] = 255
    cv2.imwrite("mask.png", mask)
    options = ("--codec", "ffv1", "--steps", 2, *YOUNG)
    assert call("edit", video, "-o", "kept.mkv", *options, "--keep", "mask.png")[0] == 0
    assert call("edit", video, "-o", "plain.mkv", *options)[0] == 0
    before, kept, plain = (np.stack(pictures(path)) for path in (video, "kept.mkv", "plain.mkv"))
    assert np.array_equal(kept[:, mask > 0], before[:, mask > 0]) and not np.array_equal(plain[:, mask > 0], before[:, mask > 0])
    assert not np.array_equal(kept, before)
    assert call("encode", video, "-o", "clip.safetensors", "--steps", 2)[0] == 0
    assert call("edit", "clip.safetensors", "-o", "edited.safetensors", *YOUNG)[0] == 0
    assert call("decode", "edited.safetensors", "-o", "again.mkv", "--codec", "ffv1", "--keep", "mask.png")[0] == 0
    assert np.array_equal(np.stack(pictures("again.mkv")), kept)
    looks = ("preview", "edited.safetensors"), ("sheet", "edited.safetensors", "--attribute", "Young", "--scales", "3")
    for look in looks:
        shown = []
        for keep in ((), ("--keep", "mask.png")):
            assert call(*look, "-o", "look.png", *keep)[0] == 0
            shown.append(cv2.imread("look.png"))
        assert not np.array_equal(*shown)


def test_masks_that_fit_nothing_are_refused_before_any_work(call, video, tmp_path, monkeypatch):
    assert call("encode", video, "-o", "clip.safetensors", "--steps", 2)[0] == 0
    monkeypatch.setattr(edit_command, "encode", None)
    for name, shape, count in (("narrow", (80, 20), 1), ("three", (80, 96), 3)):
        Path(name).mkdir()
        for i in range(count):
            cv2.imwrite(f"{name}/{i}.png", np.zeros(shape, np.uint8))
    for command, *inputs in (("edit", video, *YOUNG), ("edit", "clip.safetensors", *YOUNG), ("decode", "clip.safetensors")):
        refused(call(command, *inputs, "-o", "out.mp4", "--keep", "narrow"), "20x80", "96x80")
        refused(call(command, *inputs, "-o", "out.mp4", "--keep", "three"), "3 masks", "4 frames")
        refused(call(command, *inputs, "-o", "out.mp4", "--keep", "none.png"), "There is no file none.png")
    refused(call("sheet", video, "-o", "sheet.png", "--keep", "narrow"), "20x80")
    refused(call("edit", video, "-o", "edited.safetensors", *YOUNG, "--keep", "three"), "--keep have no say")
    refused(
        call("decode", "clip.safetensors", "-o", shutil.copy(video, "masks.mkv"), "--codec", "ffv1", "--keep", "masks.mkv"),
        "would overwrite",
    )
    assert not Path("out.mp4").exists()


def test_an_edited_clip_can_be_kept_and_decoded_later(call, video, tmp_path):
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
    source = write_clip(tmp_path / "some.mkv", 24, faceless=range(4, 20))
    code, _, err = call("edit", source, "-o", "out.mp4", "--steps", 1, *YOUNG)
    assert code == 0 and "8 of 24 frames have the face; 16 without it pass through untouched" in err
    assert len(pictures("out.mp4")) == 24


def test_the_solvers_settings_come_with_the_clip(call, video):
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


BAD_EDITS = {
    "an unknown attribute": ((*YOUNG[:1], "Yung", *YOUNG[2:]), ("Yung", "Young")),
    "scale nan": (("--attribute", "Young", "--scale", "nan"), ("nan", "-1 to 1")),
    "scale 1e9": (("--attribute", "Young", "--scale", "1e9"), ("1e+09", "-1 to 1")),
    "scale -1e9": (("--attribute", "Young", "--scale", "-1e9"), ("-1e+09",)),
    "scale -inf": (("--attribute", "Young", "--scale", "-inf"), ("-inf",)),
    "scale abc": (("--attribute", "Young", "--scale", "abc"), ("abc",)),
    "no attribute": ((), ("--attribute",)),
    "a scale missing": ((*YOUNG, "--attribute", "Male"), ("one scale for each",)),
    "an attribute twice": ((*YOUNG, "--attribute", "young", "--scale", "1"), ("twice",)),
    "steps 0": ((*YOUNG, "--steps", "0"), ("0 is not a number of diffusion steps",)),
    "steps 5000": ((*YOUNG, "--steps", "5000"), ("5000", "1000")),
    "steps -3": ((*YOUNG, "--steps", "-3"), ("-3",)),
    "an unknown solver": ((*YOUNG, "--solver", "magic"), ("order2",)),
    "a solver with two noise maps a frame": ((*YOUNG, "--solver", "o-belm"), ("no solver", "order2")),
    "power 0.3": ((*YOUNG, "--power", "0.3"), ("0.3 is not a power",)),
    "power 0": ((*YOUNG, "--power", "0"), ("0.0 is not a power",)),
    "quality 99": ((*YOUNG, "--quality", "99"), ("99",)),
    "codec and suffix": ((*YOUNG, "--codec", "ffv1"), ("mkv",)),
    "unknown codec": ((*YOUNG, "--codec", "vp9"), ("vp9",)),
    "an unknown face": ((*YOUNG, "--face", "left"), ("position:x,y",)),
    "a missing reference": ((*YOUNG, "--face", "reference:none.png"), ("none.png",)),
    "max frames 0": ((*YOUNG, "--max-frames", "0"), ("0",)),
    "a start behind the end": ((*YOUNG, "--start", "100"), ("100",)),
    "an unknown device": ((*YOUNG, "--device", "abacus"), ("abacus",)),
    "batch size 0": ((*YOUNG, "--batch-size", "0"), ("0",)),
    "a sheet of no known kind": ((*YOUNG, "--sheet", "sheet.docx"), (".png",)),
    "video without a video": ((*YOUNG, "--video", "x.mp4"), ("--video",)),
    "an unknown option": ((*YOUNG, "--colour", "red"), ("--colour",)),
}


@pytest.mark.parametrize("case", BAD_EDITS)
def test_a_mistake_in_the_options_is_one_sentence_before_any_work(call, video, tmp_path, monkeypatch, case):
    options, words = BAD_EDITS[case]
    monkeypatch.setattr(edit_command, "encode", lambda *_, **__: pytest.fail("work has begun"))
    refused(call("edit", video, "-o", "out.mp4", *options), *words)
    assert not list(tmp_path.iterdir())


def test_a_bad_input_is_one_sentence_and_leaves_nothing(call, video, tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "text.mp4").write_text("this is no video\n" * 100)
    whole = write_clip(inputs / "whole.mp4", 30, codec="h264").read_bytes()
    (inputs / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (inputs / "empty.mp4").write_bytes(b"")
    (inputs / "folder").mkdir()
    write_clip(inputs / "faceless.mkv", 5, faceless=range(5))
    (inputs / "text.safetensors").write_text("this is no video")
    for name in ("missing.mp4", "text.mp4", "truncated.mp4", "empty.mp4", "folder", "text.safetensors"):
        for command in (("edit", *YOUNG, "-o", "out.mp4"), ("encode", "-o", "out.safetensors")):
            refused(call(command[0], inputs / name, *command[1:], *(() if "safetensors" in name else ("--steps", "1"))), name)
    for command in (("edit", *YOUNG, "-o", "out.mp4"), ("encode", "-o", "out.safetensors")):
        code, _, err = call(command[0], inputs / "faceless.mkv", *command[1:], "--steps", 1)
        assert code == 2 and "No face was found in the 5 frames" in err.strip().splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["inputs"]


def test_a_bad_output_is_one_sentence(call, video, tmp_path, monkeypatch):
    edit = ("edit", video, *YOUNG, "--steps", "1", "-o")
    refused(call(*edit, "nowhere/out.mp4"), "nowhere", "does not exist")
    refused(call(*edit, "out.mp4", "--sheet", "nowhere/s.png"), "nowhere")
    refused(call("encode", video, "-o", "nowhere/out.safetensors"), "nowhere")
    refused(call("encode", video, "-o", "clip.mp4"), "clip.safetensors")
    refused(call(*edit, video), "would overwrite") if video.suffix == ".mp4" else None
    refused(call(*edit, "out.txt"), "out.txt")
    monkeypatch.setattr(edit_command, "encode", lambda *_, **__: pytest.fail("work has begun"))
    with monkeypatch.context() as patch:  # chmod does not bind root, so the answer of the system is put in

        def refuse(*_, **__):
            raise PermissionError(errno.EACCES, "Permission denied")

        patch.setattr("dva_core.files.Path.mkdir", refuse)
        refused(call("encode", video, "-o", "out.safetensors"), "may not be written")
    if os.geteuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        refused(call(*edit, "locked/out.mp4"), "locked")
        locked.rmdir()
    assert not list(tmp_path.iterdir())


def damaged(tiny, path, change):
    """The tiny bundle with its tensors changed, under its old fingerprint and, harder, under a new one that fits."""
    from dva_core.model.bundle import fingerprint

    with safe_open(tiny, "pt") as file:
        metadata = file.metadata()
    tensors = change({name: tensor.clone() for name, tensor in tiny_tensors().items()})
    metadata["fingerprint"] = fingerprint(json.loads(metadata["config"]), tensors)
    save_file(tensors, path, metadata)
    return path


def test_a_bad_bundle_is_one_sentence(call, video, tiny, tmp_path):
    changes = {
        "missing": lambda t: {name: tensor for name, tensor in t.items() if name != "fusion.weight"},
        "shape": lambda t: t | {"fusion.weight": torch.zeros(3, 3)},
        "nan": lambda t: t | {"fusion.weight": t["fusion.weight"] * float("nan")},
    }
    for name, change in changes.items():
        bad = damaged(tiny, tmp_path / f"{name}.safetensors", change)
        refused(call("edit", video, *YOUNG, "--steps", 1, "-o", "out.mp4", model=bad), "fusion.weight", name)
        bad.unlink()
    (tmp_path / "cut.safetensors").write_bytes(tiny.read_bytes()[:-100])
    refused(call("edit", video, *YOUNG, "--steps", 1, "-o", "out.mp4", model=tmp_path / "cut.safetensors"), "cut.safetensors")
    refused(call("edit", video, *YOUNG, "--steps", 1, "-o", "out.mp4", model="nothing"), "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.safetensors"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(call, video, tmp_path, disk_that_fills):
    code, out, err = call("encode", video, "-o", "out.safetensors", "--steps", 1)
    assert (code, out) == (2, "") and "is full" in err.strip().splitlines()[-1] and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_clip_file_is_checked_before_work(call, video, tmp_path):
    moved = tmp_path / "moved.mkv"
    moved.write_bytes(video.read_bytes())
    call("encode", moved, "-o", "clip.safetensors", "--steps", 1)
    refused(call("edit", "clip.safetensors", *YOUNG, "--steps", 5, "-o", "out.mp4"), "--steps", "encoded")
    refused(call("encode", "clip.safetensors", "-o", "again.safetensors"), "decomposed already")
    other = write_tiny(tmp_path / "other.safetensors", precision="fp16")
    refused(call("decode", "clip.safetensors", "-o", "out.mp4", model=other), "encoded with the model tiny")
    moved.rename(tmp_path / "elsewhere.mkv")
    refused(call("decode", "clip.safetensors", "-o", "out.mp4"), "moved.mkv", "--video")
    refused(call("edit", "clip.safetensors", *YOUNG, "-o", "out.mp4"), "moved.mkv", "--video")
    assert call("decode", "clip.safetensors", "-o", "out.mp4", "--video", "elsewhere.mkv")[0] == 0
    with open("elsewhere.mkv", "ab") as file:
        file.write(b"x")
    refused(call("decode", "clip.safetensors", "-o", "out2.mp4", "--video", "elsewhere.mkv"), "changed")
    Path("clip.safetensors").write_bytes(Path("clip.safetensors").read_bytes()[:-10])
    refused(call("decode", "clip.safetensors", "-o", "out2.mp4"), "truncated")
    assert not Path("out2.mp4").exists()


@pytest.mark.parametrize("command", [("edit", *YOUNG, "-o", "out.mp4"), ("encode", "-o", "out.safetensors")])
def test_interrupted_it_leaves_nothing(call, video, tmp_path, monkeypatch, command):
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    if hasattr(signal, "SIGHUP"):
        usual[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}  # nohup ignores one, a background shell another
    try:
        for number in usual:

            def interrupt(self, phase, done, total, preview=None, number=number):
                if phase == "encode":
                    os.kill(os.getpid(), number)
                    time.sleep(5)  # the signal comes first

            monkeypatch.setattr(edit_command.Bars, "__call__", interrupt)
            code, _, err = call(command[0], video, *command[1:], "--steps", 2)
            assert code == 130 and "Interrupted" in err and "Traceback" not in err
            assert not list(tmp_path.iterdir())
        assert {number: signal.getsignal(number) for number in usual} == usual
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_options_that_have_no_say_are_refused(call, video, tmp_path):
    refused(call("edit", video, *YOUNG, "-o", "a.mp4", "--rate", 50), "--rate is for a folder of pictures")
    refused(call("edit", video, *YOUNG, "-o", "a.mkv", "--codec", "ffv1", "--quality", 4), "lossless and has no quality")
    refused(call("edit", video, *YOUNG, "-o", "a.safetensors", "--codec", "ffv1", "--detail", "model"), "--detail, --codec have no say")
    refused(call("edit", video, *YOUNG, "-o", "a.safetensors", "--quality", 400), "--quality have no say")
    refused(call("edit", video, *YOUNG, "-o", "a.mkv", "--codec", "ffv1", "--compatible"), "every player shows is h264, not ffv1")
    refused(call("edit", video, *YOUNG, "-o", "a.mp4", "--scratch", "none"), "no folder none for --scratch")
    assert not list(tmp_path.iterdir())


def test_compatible_output_and_a_scratch_folder(call, video, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(edit_command, "encode", lambda *args, **settings: asked.append(settings["scratch"]) or encode(*args, **settings))
    monkeypatch.setattr(edit_command, "decode", lambda *args, **settings: asked.append(settings["compatible"]) or decode(*args, **settings))
    (tmp_path / "there").mkdir()
    code, _, err = call("edit", video, *YOUNG, "-o", "a.mp4", "--steps", 2, "--compatible", "--scratch", "there")
    assert code == 0 and asked == ["there", True], err
    with open_video("a.mp4") as reader:
        assert reader.info.pix_fmt == "yuv420p"


def test_a_clip_is_edited_undecoded_though_its_source_is_elsewhere(call, tmp_path):
    source = write_clip(tmp_path / "source.mkv", 2)
    assert call("encode", source, "-o", "a.safetensors", "--steps", 2)[0] == 0
    source.unlink()
    code, _, err = call("edit", "a.safetensors", *YOUNG, "-o", "b.safetensors")
    assert code == 0, err
    refused(call("edit", "a.safetensors", *YOUNG, "-o", "b.mp4"), "source")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_under_nohup_a_closed_terminal_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli.signals_as_interrupt():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_models_lists_what_is_found(call, tiny, monkeypatch):
    monkeypatch.setenv("DVA_MODELS", str(tiny.parent))
    code, out, _ = call("models")
    assert code == 0 and "tiny" in out and "licence: MIT" in out and "Young, Male, Smiling" in out
    code, out, _ = call("models", "--json")
    assert code == 0 and "tiny" in [info["name"] for info in json.loads(out)["models"]]


def test_convert_hands_everything_on(call, tiny, monkeypatch, tmp_path):
    import dva_core.model.convert
    from dva_core.model.bundle import bundle_info

    given = {}
    monkeypatch.setattr(dva_core.model.convert, "convert", lambda *args, **kwargs: given.update(kwargs, args=args) or bundle_info(tiny))
    for name in ("a.ckpt", "c.ckpt", "latent.pkl"):
        (tmp_path / name).write_bytes(b"x")
    convert = ("convert", "a.ckpt", "-o", "b.safetensors")
    code, _, err = call(*convert, "--classifier", "c.ckpt", "--statistics", "latent.pkl", "--precision", "fp32", "--trust-pickle")
    assert code == 0 and "16 px" in err
    assert given["args"] == ("a.ckpt", "b.safetensors") and given["classifier"] == "c.ckpt" and given["statistics"] == "latent.pkl"
    assert given["precision"] == "fp32" and given["trust_pickle"] and not given["classifier_ema"]
    refused(call("convert", "none.ckpt", "-o", "b.safetensors"), "none.ckpt")
    refused(call("convert", "a.ckpt", "-o", "nowhere/b.safetensors"), "nowhere")


def test_convert_of_a_foreign_file_is_one_sentence(call, tmp_path):
    (tmp_path / "a.ckpt").write_text("no checkpoint")
    refused(call("convert", "a.ckpt", "-o", "b.safetensors"), "a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_train_gets_its_own_arguments(call, monkeypatch):
    import types

    given = []
    monkeypatch.setitem(sys.modules, "dva_core.commands.train", types.SimpleNamespace(main=given.append))
    assert cli.main(["train", "diffusion", "--lr", "-1", "--help"]) == 0
    assert given == [["diffusion", "--lr", "-1", "--help"]]


def test_an_unknown_command_is_one_sentence(call):
    refused(call("edti"), "edti")
    assert cli.main([]) == 2


def test_as_a_program(tmp_path):
    command = [sys.executable, "-m", "dva_core", "edit", str(tmp_path / "none.mp4"), *YOUNG, "-o", str(tmp_path / "out.mp4")]
    missing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1 and "none.mp4" in missing.stderr
    assert not list(tmp_path.iterdir())


def test_training_complains_in_one_sentence_too(capsys):
    for words in (["train"], ["train", "diffusion", "--people", "x"], ["train", "nothing"], ["train", "prepare", "a.mp4", "--no-such"]):
        assert cli.main(words) == 2
        said = capsys.readouterr()
        assert not said.out and len(said.err.splitlines()) == 1 and "--help` explains." in said.err


def test_an_empty_path_is_not_the_current_folder(call, tmp_path, capsys):
    for words in ("encode | -o a.safetensors", "train prepare | -o out", "edit a.mp4 --output=", "evaluate switch a b -o |"):
        assert cli.main(["" if word == "|" else word for word in words.split()]) == 2
        assert "is empty" in capsys.readouterr().err and not list(tmp_path.iterdir())
