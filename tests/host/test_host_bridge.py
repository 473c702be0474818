"""The bridge to ComfyUI's memory management, and what the pack's import costs; each in a process without a server."""

from __future__ import annotations

import subprocess

import pytest

from .comfy_server import READY_SECONDS, comfy_python
from .graphs import HERE


@pytest.mark.parametrize("script", ["inside.py", "starting.py", "bare.py", "bare_videos.py"])
def test_inside_comfyui(comfy, script):
    done = subprocess.run(
        [comfy_python(comfy), HERE / script], cwd=comfy, capture_output=True, text=True, encoding="utf-8", timeout=READY_SECONDS
    )
    assert done.returncode == 0, done.stderr[-3000:]
