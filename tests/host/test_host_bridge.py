"""The bridge to ComfyUI's memory management, in a process without a server."""

from __future__ import annotations

import subprocess

from .comfy_server import READY_SECONDS, comfy_python
from .graphs import HERE


def test_networks_under_comfyuis_memory_management(comfy):
    done = subprocess.run(
        [comfy_python(comfy), HERE / "inside.py"], cwd=comfy, capture_output=True, text=True, encoding="utf-8", timeout=READY_SECONDS
    )
    assert done.returncode == 0, done.stderr[-3000:]
