"""Kills commands at random moments (SIGKILL) and looks at what is left: nothing half under a final name, and nothing at all after a rerun.

PYTHONPATH=.:tests python bench/kills.py CLIP [--times 5] [--seed 0]

Half of the kills fall anywhere in the run, half once something is being written.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bundles import write_tiny
from PIL import Image
from test_convert import CONFIG, lightning, tiny_tensors

from dva_core.bundle import check_bundle
from dva_core.decomposition import Decomposition
from dva_core.files import PREFIX
from dva_core.train.state import read_facts
from dva_core.video import open_video

DVA = [sys.executable, "-m", "dva_core"]
CONVERT = (
    "import sys; from test_convert import CONFIG; from dva_core.convert import convert; convert(sys.argv[1], sys.argv[2], config=CONFIG)"
)


def check_video(path: Path) -> None:
    with open_video(path) as reader:
        assert sum(1 for _ in reader) == reader.count_frames()


def check_clip(path: Path) -> None:
    Decomposition.load(path).store.close()


def commands(folder: Path, clip: Path) -> dict[str, tuple[list[str], Path, str, object]]:
    """Name -> command, the folder it writes to, the output there, and what looks at it whether it is whole."""
    write_tiny(folder / "tiny.safetensors")
    torch.save(lightning(tiny_tensors(CONFIG)), folder / "published.ckpt")
    frames = folder / "frames"
    for name in "ab":
        (frames / name).mkdir(parents=True)
        for n in range(4):
            noise = np.random.default_rng(n).integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(frames / name / f"{n}.png")
    made = folder / "made.safetensors"
    part = ["--max-frames", "8", "--steps", "1"]
    subprocess.run([*DVA, "encode", str(clip), "-o", str(made), *part], check=True, capture_output=True)
    out = {name: folder / name for name in ("encode", "decode", "png", "train", "convert")}
    for place in out.values():
        place.mkdir()
    train = [*DVA, "train", "diffusion", "--data", str(frames), "--start", str(folder / "tiny.safetensors"), "--run", str(out["train"])]
    train += ["--steps", "40", "--people", "1", "--frames", "2", "--save-every", "0.000001"]
    return {
        "encode": (
            [*DVA, "encode", str(clip), "-o", str(out["encode"] / "a.safetensors"), *part],
            out["encode"],
            "a.safetensors",
            check_clip,
        ),
        "decode": ([*DVA, "decode", str(made), "-o", str(out["decode"] / "a.mp4")], out["decode"], "a.mp4", check_video),
        "png": ([*DVA, "decode", str(made), "-o", str(out["png"] / "a"), "--codec", "png"], out["png"], "a", check_video),
        "train": (train, out["train"], "diffusion/state.safetensors", read_facts),
        "convert": (
            [sys.executable, "-c", CONVERT, str(folder / "published.ckpt"), str(out["convert"] / "a.safetensors")],
            out["convert"],
            "a.safetensors",
            check_bundle,
        ),
    }


def killed(command: list[str], folder: Path, delay: float, from_writing: bool) -> bool:
    """Whether the command, started and killed after `delay` seconds (counted from its first partial file), had not ended by then."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while from_writing and process.poll() is None and not any(folder.rglob(f"{PREFIX}*")):
        time.sleep(0.002)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--times", type=int, default=5, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, wrong = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as temporary:
        for name, (command, folder, output, whole) in commands(Path(temporary), args.clip).items():
            began = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            usual = time.monotonic() - began
            expected = {path.relative_to(folder) for path in folder.rglob("*")}
            killed_count = left = 0
            for number in range(args.times):
                writing = number % 2 == 0
                killed_count += killed(command, folder, rng.uniform(0, usual if not writing else min(1.5, usual / 4)), writing)
                left += any(folder.rglob(f"{PREFIX}*"))
                whole(folder / output)  # the one of the run before, or a new one
                if strange := {p for path in folder.rglob("*") if (p := path.relative_to(folder)) not in expected and PREFIX not in str(p)}:
                    print(f"{name}: under a final name: {strange}")
                    wrong += 1
            subprocess.run(command, check=True, capture_output=True)
            whole(folder / output)
            if strays := {path.relative_to(folder) for path in folder.rglob("*")} ^ expected:
                print(f"{name}: after the rerun: {strays}")
                wrong += 1
            print(f"{name}: {usual:.1f} s, killed {killed_count} of {args.times} times, {left} left something, all gone after a rerun")
            sys.stdout.flush()
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
