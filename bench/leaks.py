"""What a ComfyUI keeps after many prompts: its memory, open files and temporary files. Rows of CSV, one each so many prompts.

PYTHONPATH=.:tests python bench/leaks.py VIDEO [--comfy ~/comfy/ComfyUI] [--prompts 200] [--every 20] [--frames 2]

Every prompt decodes with another strength; each fifth also encodes another part of the video, so that nothing comes from the cache.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from host.comfy_server import Server, comfy_python, find_comfy
from host.graphs import example, of_class, quick


def open_files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: PTH208 (they vanish while one looks)


def files_in(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--comfy", type=Path, default=find_comfy())
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--frames", type=int, default=2)
    args = parser.parse_args()
    table = csv.writer(sys.stdout)
    table.writerow(["prompts", "seconds", "MB", "open files", "files in temp", "files in the system's temp", "files in output"])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
        os.environ["TMPDIR"] = scratch
        server = Server(Path(folder), args.comfy, comfy_python(args.comfy)).start()
        try:
            shutil.copyfile(args.video, server.base / "input" / args.video.name)
            prompt = quick(example("edit_by_attribute"), steps=1, quality=30, file=args.video.name, max_frames=args.frames)
            (edit,), (video,) = (of_class(prompt, kind) for kind in ("DVAEditIdentityClassifier", "DVALoadVideo"))
            began = time.monotonic()
            for number in range(args.prompts + 1):
                if number % args.every == 0:
                    places = (server.base / "temp", Path(scratch), server.base / "output")
                    row = [number, round(time.monotonic() - began), round(server.memory, 1), open_files(server), *map(files_in, places)]
                    table.writerow(row)
                    sys.stdout.flush()
                prompt[edit]["inputs"]["attributes"] = json.dumps({"Male": 0.1 + number / 1000})
                prompt[video]["inputs"]["start"] = number // 5 * 0.04 % 1.6
                answer = server.run(prompt, 3600)
                if not answer.succeeded:
                    sys.exit(f"prompt {number}: {answer.error}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
