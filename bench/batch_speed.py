"""A batch by one worker and by two, in turn: ComfyUI servers pinned to a core each, or Ray actors of one thread each. Linux.

    PYTHONPATH=.:tests python bench/batch_speed.py VIDEO [VIDEO ...] [--engine servers|ray] [--comfy DIR] [--frames 25] [--repeats 3]

Every round has pictures of its own, so that no server has them encoded. Seconds are those from the first worker ready to the last result.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from host.comfy_server import Server, comfy_python, find_comfy
from timing import markdown, median, spread

from dva_core.batch import Plan, Summary, make_manifest, make_plan, run_on_ray, run_on_servers
from dva_core.video import VideoWriter, open_video

EDITS = {"older": {"Young": -1.0}, "glasses": {"Eyeglasses": 1.0}}
Engine = Callable[[Plan, int, Callable], Summary]


def cut(video: Path, out: Path, start: float, frames: int) -> None:
    """`frames` pictures of a video from `start` seconds on."""
    with open_video(video, start=start) as reader, VideoWriter(out, reader.info, quality=10) as writer:
        for _, frame in zip(range(frames), reader):
            writer.write(frame)


def pin(process: int, core: int) -> None:
    """All threads of a process, and those it begins later, to one core."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


@contextlib.contextmanager
def servers(comfy: Path) -> Iterator[Engine]:
    cores = sorted(os.sched_getaffinity(0))[:2]
    with contextlib.ExitStack() as stack:
        running = []
        for core in cores:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = Server(folder, comfy, comfy_python(comfy)).start()
            stack.callback(server.stop)
            pin(server.process.pid, core)
            running.append(server.url)
        yield lambda plan, workers, watch: run_on_servers(plan, running[:workers], watch=watch)


@contextlib.contextmanager
def actors() -> Iterator[Engine]:
    yield lambda plan, workers, watch: run_on_ray(plan, workers=workers, watch=watch)


def seconds_of(engine: Engine, workers: int, videos: list[Path], frames: int, steps: int, start: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "videos").mkdir()
        for video in videos:
            cut(video, Path(folder) / "videos" / f"{video.stem}.mp4", start, frames)
        plan = make_plan(make_manifest({"videos": ["videos"], "edits": EDITS, "settings": {"steps": steps}}), folder)
        times: list[float] = []

        def watch(event: dict) -> None:
            if event["event"] in ("begun", "done"):
                times.append(time.monotonic())

        summary = engine(plan, workers, watch)
        if summary.done != len(plan.jobs):
            raise SystemExit(f"{summary.done} of {len(plan.jobs)} jobs were done: {summary.failed}")
        return times[-1] - times[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--engine", choices=("servers", "ray"), default="servers")
    parser.add_argument("--comfy", type=Path, default=find_comfy())
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of each worker
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with servers(args.comfy) if args.engine == "servers" else actors() as engine:
        for repeat in range(args.repeats + 1):  # the first warms up
            for workers in seconds:
                start = 0.08 * (2 * repeat + workers)
                seconds[workers].append(seconds_of(engine, workers, args.videos, args.frames, args.steps, start))
    rows = [[str(workers), f"{median(values[1:]):.1f}", spread(values[1:])] for workers, values in seconds.items()]
    print(markdown([f"{args.engine}: workers", "seconds", "lowest to highest"], rows))
    print(f"one : two = {median([one / two for one, two in zip(seconds[1][1:], seconds[2][1:])]):.2f}")


if __name__ == "__main__":
    main()
