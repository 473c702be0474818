"""The bridge to ComfyUI's memory management, and what the pack's import costs; each in a process without a server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from .comfy_server import READY_SECONDS, comfy_python, die_with_parent
from .graphs import HERE


@pytest.fixture(scope="module")
def holds(comfy, tmp_path_factory) -> Iterator[Callable[..., None]]:
    """Runs one of the scripts in ComfyUI's own interpreter and folder; where there are forks, with what they all import only once."""
    if not hasattr(os, "fork"):
        yield lambda *script_and_arguments: holds_by_itself(comfy, *script_and_arguments)
        return
    command, log = [comfy_python(comfy), HERE / "forks.py"], tmp_path_factory.mktemp("forks") / "log"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, cwd=comfy, **pipes, preexec_fn=die_with_parent) as process:

        def run(script: str, *arguments: str) -> None:
            log.write_bytes(b"")
            process.stdin.write(json.dumps({"script": str(HERE / script), "arguments": arguments, "log": str(log)}) + "\n")
            process.stdin.flush()
            status = process.stdout.readline().strip()
            assert status == "0", f"{status}\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}"

        yield run
        process.terminate()


def holds_by_itself(comfy, script: str, *arguments: str) -> None:
    command = [comfy_python(comfy), HERE / script, *arguments]
    done = subprocess.run(command, cwd=comfy, capture_output=True, text=True, encoding="utf-8", timeout=READY_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_the_packs_import_costs(comfy):
    holds_by_itself(comfy, "starting.py")


@pytest.mark.parametrize("script", ["inside.py", "bare_all.py"])
def test_inside_comfyui(holds, script):
    holds(script)


def test_damaged_graphs_are_answered_in_sentences(holds):
    holds("fuzzed.py", os.environ.get("DVA_FUZZ", "60"))


def test_on_a_card(holds):
    """Every way to manage memory that this ComfyUI has, in one process: most of the time goes to what they are compared with."""
    holds("on_card.py")
