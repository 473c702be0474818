"""Run by ComfyUI's own interpreter, in its folder: scripts one after the other, each in a fork that has the large libraries already.

stdin: a line of JSON each, {"script": path, "arguments": [...], "log": a file for what it says}. stdout: its exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys

from comfy_server import die_with_parent

# of what ComfyUI imports, what takes seconds and starts no thread; nothing of ComfyUI itself, which scripts set up in their own ways
LIBRARIES = (
    "torch",
    "torchvision",
    "transformers",
    "scipy",
    "scipy.stats",
    "av",
    "aiohttp",
    "cv2",
    "einops",
    "safetensors.torch",
    "PIL.Image",
)


def become(script: str, arguments: list[str], log: str) -> None:
    """This process runs a script as if it had been started with it."""
    if die_with_parent is not None:
        die_with_parent()
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
    sys.exit()


def main() -> None:
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # not every host has all
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            become(**order)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
