"""What it costs to find and follow several people: one face, two and four, in scenes made of clips side by side.

python bench/people.py CLIP CLIP [CLIP CLIP] --repeats 5

Milliseconds of processor time a frame of everything up to the tracks (video, survey, following), in turn; medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import dva_core
from dva_core.pipeline.finding import find_faces
from dva_core.pipeline.settings import EncodeSettings
from dva_core.video import Frame, VideoInfo, VideoWriter, open_video

WIDTH, HEIGHT, FRAMES = 600, 576, 125  # of a scene; a quarter of it for each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = dva_core.load_model(args.model)
    with tempfile.TemporaryDirectory() as folder:
        scenes = {count: scene(Path(folder) / f"{count}.mp4", args.clips[:count]) for count in (1, 2, 4) if count <= len(args.clips)}
        works: dict[str, Callable[[], object]] = {"one, largest": lambda: follow(scenes[1], model, "largest", 1)}
        for count, video in scenes.items():
            works[f"{count}, all"] = lambda video=video, count=count: follow(video, model, "all", count)
            works[f"{count}, video"] = lambda video=video: read(video)
        for work in works.values():
            work()
        taken: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(args.repeats):
            for name, work in works.items():
                began = time.process_time()
                work()
                taken[name].append(1000 * (time.process_time() - began) / FRAMES)
    one = statistics.median(taken["one, largest"])
    for name, values in taken.items():
        middle = statistics.median(values)
        sys.stdout.write(f"{name}: {middle:.1f} ms ({min(values):.1f} to {max(values):.1f}), {middle / one:.2f} times one\n")


def scene(path: Path, clips: list[Path]) -> Path:
    """The people of the clips in the quarters of one picture, forth and back."""
    pictures = []
    for clip in clips:
        with open_video(clip) as reader:
            own = [frame.rgb[: HEIGHT // 2, (frame.rgb.shape[1] - WIDTH // 2) // 2 :][:, : WIDTH // 2].copy() for frame in reader]
        pictures.append([*own, *own[-2:0:-1]])
    with VideoWriter(path, VideoInfo.for_images(WIDTH, HEIGHT, 25, FRAMES)) as writer:
        for n in range(FRAMES):
            rgb = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
            for k, own in enumerate(pictures):
                y, x = k // 2 * HEIGHT // 2, k % 2 * WIDTH // 2
                rgb[y : y + HEIGHT // 2, x : x + WIDTH // 2] = own[n % len(own)]
            writer.write(Frame.from_rgb(rgb, n))
    return path


def follow(video: Path, model, face: str, count: int) -> None:
    settings = EncodeSettings(face=face).resolve(model)
    with settings.frames(video) as frames:
        found = find_faces(frames, model, video, settings, sha256="0" * 64)
    assert len(found) == count, f"{len(found)} of {count} people were found"


def read(video: Path) -> None:
    with EncodeSettings().frames(video) as frames:
        for _ in frames:
            pass


if __name__ == "__main__":
    main()
