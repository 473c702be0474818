"""The bridge to ComfyUI's memory management, and what the pack's import costs; each in a process without a server."""

from __future__ import annotations

import os
import subprocess

import pytest

from .comfy_server import READY_SECONDS, comfy_python
from .graphs import HERE


@pytest.mark.parametrize("script", ["inside.py", "starting.py", "bare.py", "bare_videos.py", "cached.py"])
def test_inside_comfyui(comfy, script):
    holds(comfy, script)


def test_damaged_graphs_are_answered_in_sentences(comfy):
    holds(comfy, "fuzzed.py", os.environ.get("DVA_FUZZ", "60"))


@pytest.mark.parametrize("way", ["everything_fits", "half_of_it_fits", "nothing_stays"])
def test_on_a_card(comfy, way):
    holds(comfy, "on_card.py", way)


@pytest.mark.parametrize("way", ["weights_come_as_they_are_used", "a_third_of_them_can_stay"])
def test_dynamic_vram(comfy, way):
    if not (comfy / "comfy" / "memory_management.py").is_file():
        pytest.skip("this ComfyUI is older than dynamic VRAM")
    holds(comfy, "on_card.py", way)


def holds(comfy, script: str, *arguments: str) -> None:
    """Runs one of the scripts in ComfyUI's own interpreter and folder."""
    command = [comfy_python(comfy), HERE / script, *arguments]
    done = subprocess.run(command, cwd=comfy, capture_output=True, text=True, encoding="utf-8", timeout=READY_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
