"""Kills commands while they write (SIGKILL) and looks at what is left: nothing half under a final name, nothing at all after a rerun.

PYTHONPATH=.:tests:tests/model python bench/kills.py VIDEO [--times 4] [--only NAME] [--seed 0]

A kill falls at a random moment from the one on at which the output's temporary file has something in it; it counts where that file is
left. Every other time the output of the run before is there, to be replaced; else it must be whole or not there at all.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bundles import tiny_tensors, write_tiny
from checkpoints import CONFIG, lightning
from PIL import Image

from dva_core.decomposition import Decomposition
from dva_core.leftovers import OLD, PREFIX, SUFFIX
from dva_core.model.bundle import check_bundle
from dva_core.train.state import read_facts
from dva_core.video import open_video

MOST_TRIES = 6  # of a kill that leaves something
DVA = [sys.executable, "-m", "dva_core"]
CONVERT = (
    "import sys; from checkpoints import CONFIG; from dva_core.model.convert import convert; "
    "convert(sys.argv[1], sys.argv[2], config=CONFIG)"
)


def check_video(path: Path) -> None:
    with open_video(path) as reader:
        assert sum(1 for _ in reader) == reader.count_frames()


def check_decomposition(path: Path) -> None:
    Decomposition.load(path).store.close()


def commands(folder: Path, video: Path) -> dict[str, tuple[list[str], Path, str, object]]:
    """Name -> command, the folder it writes to, the output there, and what looks at it whether it is whole."""
    write_tiny(folder / "tiny.safetensors")
    torch.save(lightning(tiny_tensors(CONFIG)), folder / "published.ckpt")
    frames = folder / "frames"
    for name in "ab":
        (frames / name).mkdir(parents=True)
        for n in range(4):
            noise = np.random.default_rng(n).integers(0, 255, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(frames / name / f"{n}.png")
    decomposed = folder / "made.safetensors"
    part = ["--max-frames", "8", "--steps", "1"]
    subprocess.run([*DVA, "encode", str(video), "-o", str(decomposed), *part], check=True, capture_output=True)
    out = {name: folder / name for name in ("encode", "decode", "png", "train", "convert")}
    for place in out.values():
        place.mkdir()
    train = [*DVA, "train", "diffusion", "--data", str(frames), "--start", str(folder / "tiny.safetensors"), "--run", str(out["train"])]
    train += ["--steps", "40", "--people", "1", "--frames", "2", "--save-every", "0.000001"]
    return {
        "encode": (
            [*DVA, "encode", str(video), "-o", str(out["encode"] / "a.safetensors"), *part],
            out["encode"],
            "a.safetensors",
            check_decomposition,
        ),
        "decode": ([*DVA, "decode", str(decomposed), "-o", str(out["decode"] / "a.mp4")], out["decode"], "a.mp4", check_video),
        "png": ([*DVA, "decode", str(decomposed), "-o", str(out["png"] / "a"), "--codec", "png"], out["png"], "a", check_video),
        "train": (train, out["train"], "diffusion/state.safetensors", read_facts),
        "convert": (
            [sys.executable, "-c", CONVERT, str(folder / "published.ckpt"), str(out["convert"] / "a.safetensors")],
            out["convert"],
            "a.safetensors",
            check_bundle,
        ),
    }


def half_written(folder: Path) -> bool:
    """Whether a temporary file or folder of frames with something in it is there."""
    with contextlib.suppress(FileNotFoundError):  # it may just have been put
        for place in folder.rglob(f"{PREFIX}*{SUFFIX}/_*"):
            if place.stat().st_size and (place.is_file() or len(list(place.iterdir())) > 1):
                return True
    return False


def watched(command: list[str], folder: Path, delay: float = math.inf) -> tuple[float, bool]:
    """Runs a command, killed at the first sight of something half written that is `delay` seconds after the first of all.

    The seconds from that sight to the last one, and whether something half written was left.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = last = math.inf
    while process.poll() is None:
        if half_written(folder):
            last = time.monotonic()
            first = min(first, last)
            if last >= first + delay:
                break
        else:
            time.sleep(0.0005 if first < math.inf else 0.002)
    process.kill()
    if process.wait() not in (0, -signal.SIGKILL):
        raise SystemExit(f"{command}: exit code {process.returncode}")
    return last - first if first < math.inf else 0.0, half_written(folder)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--times", type=int, default=4, help="kills of each command that leave something half written")
    parser.add_argument("--only", action="append", help="this command alone (encode, decode, png, train, convert); repeat for several")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, wrong = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as temporary:
        for name, (command, folder, output, whole) in commands(Path(temporary), args.video).items():
            if args.only and name not in args.only:
                continue
            span, _ = watched(command, folder)
            expected = {path.relative_to(folder) for path in folder.rglob("*")}
            tries = hits = 0
            while hits < args.times and tries < MOST_TRIES * args.times:
                tries += 1
                if tries % 2 == 0:
                    remove(folder / output)
                there = (folder / output).exists()
                hits += watched(command, folder, rng.uniform(0, span))[1]
                if (folder / output).exists():
                    whole(folder / output)  # the one of the run before, or a new one
                elif there and not list(folder.rglob(f"{PREFIX}*/{OLD}/*")):
                    wrong.append(f"{name}: the output of the run before is lost")
                final = {path.relative_to(folder) for path in folder.rglob("*") if not any(p.startswith(PREFIX) for p in path.parts)}
                if strange := final - expected:
                    wrong.append(f"{name}: under a final name: {strange}")
            subprocess.run(command, check=True, capture_output=True)
            whole(folder / output)
            if strays := {path.relative_to(folder) for path in folder.rglob("*")} ^ expected:
                wrong.append(f"{name}: after the rerun: {strays}")
            print(f"{name}: writes for {span:.2f} s; {hits} of {tries} kills left something half written, all gone after a rerun")
            sys.stdout.flush()
    print("\n".join(wrong) or "Nothing is lost, nothing half.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
