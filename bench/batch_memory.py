"""Memory of the client of a batch over many jobs: all of it runs as on real workers, but these, which answer at once.

    PYTHONPATH=. python bench/batch_memory.py [--jobs 10000] [--workers 8] [--engine servers|ray]

Prints the resident memory after each tenth of the jobs, and what of it Python has allocated since the first.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from dva_core.batch import make_manifest, make_plan
from dva_core.batch.ray_run import Cluster
from dva_core.batch.run import Run
from dva_core.batch.servers import Executor


class Server:
    """Stands where client.Client does: takes prompts, has done them when it is asked."""

    def __init__(self, number: int) -> None:
        self.url = f"http://server{number}"

    async def check(self, kinds) -> None: ...

    async def queued(self):
        return set(), set()

    async def upload(self, path: Path) -> str:
        return path.name

    async def queue(self, prompt, prompt_id: str) -> None:
        json.dumps(prompt)

    async def outcome(self, prompt_id: str):
        return {"save": {"images": [{"filename": "x", "subfolder": "", "type": "output"}]}}

    async def fetch(self, result, place: Path) -> int:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"result")
        return 6

    async def listen(self, hear) -> None:
        await asyncio.Event().wait()

    async def cancel(self, prompts) -> None: ...

    def forget(self) -> None: ...


class Method:
    """Stands where the method of an actor does: its calls are done at once."""

    def __init__(self, answer: dict) -> None:
        self.answer = answer

    def remote(self, *_) -> Ref:
        return Ref(self.answer)


class Ref:
    def __init__(self, answer: dict) -> None:
        self.answer = answer


class Actor:
    def __init__(self, *_) -> None:
        self.progress, self.encode = Method({"done": 1, "total": 2, "phase": "decode"}), Method({})
        self.edit = Method({"content": np.zeros(6, np.uint8)})


class Ray:
    """Stands where the module ray does."""

    class exceptions:
        RayError, RayActorError = RuntimeError, ChildProcessError

    def remote(self, _) -> Ray:
        return self

    def options(self, **_) -> Ray:
        self.remote = Actor
        return self

    def cluster_resources(self) -> dict:
        return {"CPU": 1000}

    def wait(self, refs: list, num_returns: int = 1, timeout: float | None = None) -> tuple[list, list]:
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref: Ref) -> dict:
        return ref.answer


def resident() -> float:
    """MB."""
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--engine", choices=("servers", "ray"), default="servers")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder, "videos")
        videos.mkdir()
        for number in range(args.jobs // 4):
            (videos / f"{number}.mp4").write_bytes(b"video")
        edits = {name: {"Young": strength} for name, strength in zip("abcd", (0.2, 0.4, 0.6, 0.8))}
        plan = make_plan(make_manifest({"videos": ["videos"], "edits": edits}), folder)
        done, began = 0, time.monotonic()

        def watch(event) -> None:
            nonlocal done
            done += event["event"] == "done"
            if event["event"] == "done" and done % (args.jobs // 10) == 0:
                gc.collect()
                if done == args.jobs // 10:
                    tracemalloc.start()
                since = tracemalloc.get_traced_memory()[0] / 1e6
                seconds = time.monotonic() - began
                print(json.dumps({"jobs": done, "resident MB": round(resident(), 1), "since MB": round(since, 2), "s": round(seconds, 1)}))

        async def work(run: Run) -> None:
            await Executor(run, None, [Server(n) for n in range(args.workers)], 60.0).run()

        with Run.of(plan, watch) as run:
            if args.engine == "servers":
                asyncio.run(work(run))
            else:
                Cluster(run, Ray(), None, args.workers, None, 1, 60.0, sends=False).work()
            assert run.summary.done == len(plan.jobs) == args.jobs


if __name__ == "__main__":
    main()
