"""Mistakes in the options, the inputs and the outputs of edit, encode and decode: one sentence, and nothing is left."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from bundles import tiny_tensors, write_tiny
from safetensors import safe_open
from safetensors.torch import save_file
from standin import write_video

from dva_core.commands import edit as edit_command

from .answers import YOUNG, refused

pytestmark = pytest.mark.usefixtures("bright_finder")


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
    whole = write_video(inputs / "whole.mp4", 30, codec="h264").read_bytes()
    (inputs / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (inputs / "empty.mp4").write_bytes(b"")
    (inputs / "folder").mkdir()
    write_video(inputs / "faceless.mkv", 5, faceless=range(5))
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
    refused(call("encode", video, "-o", "decomposition.mp4"), "decomposition.safetensors")
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


def damaged(bundle, path, change):
    """The tiny bundle with its tensors changed, under its old fingerprint and, harder, under a new one that fits."""
    from dva_core.model.bundle import fingerprint

    with safe_open(bundle, "pt") as file:
        metadata = file.metadata()
    tensors = change({name: tensor.clone() for name, tensor in tiny_tensors().items()})
    metadata["fingerprint"] = fingerprint(json.loads(metadata["config"]), tensors)
    save_file(tensors, path, metadata)
    return path


def test_a_bad_bundle_is_one_sentence(call, video, bundle, tmp_path):
    changes = {
        "missing": lambda t: {name: tensor for name, tensor in t.items() if name != "fusion.weight"},
        "shape": lambda t: t | {"fusion.weight": torch.zeros(3, 3)},
        "nan": lambda t: t | {"fusion.weight": t["fusion.weight"] * float("nan")},
    }
    for name, change in changes.items():
        bad = damaged(bundle, tmp_path / f"{name}.safetensors", change)
        refused(call("edit", video, *YOUNG, "--steps", 1, "-o", "out.mp4", model=bad), "fusion.weight", name)
        bad.unlink()
    (tmp_path / "cut.safetensors").write_bytes(bundle.read_bytes()[:-100])
    refused(call("edit", video, *YOUNG, "--steps", 1, "-o", "out.mp4", model=tmp_path / "cut.safetensors"), "cut.safetensors")
    refused(call("edit", video, *YOUNG, "--steps", 1, "-o", "out.mp4", model="nothing"), "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.safetensors"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(call, video, tmp_path, disk_that_fills):
    code, out, err = call("encode", video, "-o", "out.safetensors", "--steps", 1)
    assert (code, out) == (2, "") and "is full" in err.strip().splitlines()[-1] and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_decomposition_file_is_checked_before_work(call, video, tmp_path):
    moved = tmp_path / "moved.mkv"
    moved.write_bytes(video.read_bytes())
    call("encode", moved, "-o", "decomposition.safetensors", "--steps", 1)
    refused(call("edit", "decomposition.safetensors", *YOUNG, "--steps", 5, "-o", "out.mp4"), "--steps", "encoded")
    refused(call("encode", "decomposition.safetensors", "-o", "again.safetensors"), "decomposed already")
    other = write_tiny(tmp_path / "other.safetensors", precision="fp16")
    refused(call("decode", "decomposition.safetensors", "-o", "out.mp4", model=other), "encoded with the model tiny")
    moved.rename(tmp_path / "elsewhere.mkv")
    refused(call("decode", "decomposition.safetensors", "-o", "out.mp4"), "moved.mkv", "--video")
    refused(call("edit", "decomposition.safetensors", *YOUNG, "-o", "out.mp4"), "moved.mkv", "--video")
    assert call("decode", "decomposition.safetensors", "-o", "out.mp4", "--video", "elsewhere.mkv")[0] == 0
    with open("elsewhere.mkv", "ab") as file:
        file.write(b"x")
    refused(call("decode", "decomposition.safetensors", "-o", "out2.mp4", "--video", "elsewhere.mkv"), "changed")
    Path("decomposition.safetensors").write_bytes(Path("decomposition.safetensors").read_bytes()[:-10])
    refused(call("decode", "decomposition.safetensors", "-o", "out2.mp4"), "truncated")
    assert not Path("out2.mp4").exists()


def test_options_that_have_no_say_are_refused(call, video, tmp_path):
    refused(call("edit", video, *YOUNG, "-o", "a.mp4", "--rate", 50), "--rate is for a folder of pictures")
    refused(call("edit", video, *YOUNG, "-o", "a.mkv", "--codec", "ffv1", "--quality", 4), "lossless and has no quality")
    refused(call("edit", video, *YOUNG, "-o", "a.safetensors", "--codec", "ffv1", "--detail", "model"), "--detail, --codec cannot be used")
    refused(call("edit", video, *YOUNG, "-o", "a.safetensors", "--quality", 400), "--quality cannot be used")
    refused(call("edit", video, *YOUNG, "-o", "a.mkv", "--codec", "ffv1", "--compatible"), "every player shows is h264, not ffv1")
    refused(call("edit", video, *YOUNG, "-o", "a.mp4", "--scratch", "none"), "no folder none for --scratch")
    assert not list(tmp_path.iterdir())
