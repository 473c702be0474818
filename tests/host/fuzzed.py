"""Run by ComfyUI's own interpreter, in its folder: API graphs as damaged files, put to its check of prompts. Prints nothing when all holds.

Argument: how many. Whatever a graph holds, no node of the pack raises while it is checked, and what it says is one sentence.
"""
# ruff: noqa: E402 (the device and the folders are chosen before anything asks for them)

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path.cwd()))

import utils.install_util  # noqa: F401 (before a module of the environment takes the name)
from comfy.cli_args import args

args.cpu = True
BASE = tempfile.TemporaryDirectory()
args.base_directory = BASE.name

import execution
import folder_paths
from damage import damaged

import nodes


def complaints(prompt: dict[str, Any], errors: dict[str, Any]) -> list[str]:
    """What the pack's nodes said that is no sentence, or raised."""
    wrong = []
    for key, about in errors.items():
        if not str(about.get("class_type", "")).startswith("DVA"):
            continue
        for error in about["errors"]:
            if "exception" in error["type"] and str(ROOT) in "".join(error["extra_info"].get("traceback", ())):
                wrong.append(f"{about['class_type']} raised {error['details']}: {json.dumps(prompt[key])[:300]}")
            elif error["type"] == "custom_validation_failed" and ("\n" in error["details"] or len(error["details"]) > 2000):
                wrong.append(f"{about['class_type']} says {error['details'][:2100]!r}")
    return wrong


async def main(count: int) -> None:
    folder = Path.cwd() / "comfy_extras"
    assert await nodes.load_custom_node(str(folder / "nodes_video.py"), module_parent="comfy_extras")
    assert await nodes.load_custom_node(str(ROOT))
    inputs = Path(folder_paths.get_input_directory())
    inputs.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "example_workflows" / "dva_example.mp4", inputs)
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "example_workflows" / "api").glob("*.json"))]
    kinds = [name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("DVA")]
    rng, wrong, checked = random.Random(count), [], 0
    logging.disable(logging.CRITICAL)  # ComfyUI tells what it refuses
    for number in range(count):
        prompt = damaged(texts[number % len(texts)], rng, kinds)
        if not isinstance(prompt, dict):
            continue
        try:
            answer = await execution.validate_prompt(str(number), prompt, None)
        except Exception as error:  # noqa: BLE001 (of ComfyUI itself, which expects a graph; the pack's own are its answer)
            trace = error.__traceback__
            while trace is not None:
                if str(ROOT) in trace.tb_frame.f_code.co_filename and trace.tb_frame.f_code.co_filename != __file__:
                    wrong.append(f"{type(error).__name__}: {error}: {json.dumps(prompt)[:300]}")
                trace = trace.tb_next
            continue
        checked += 1
        wrong += complaints(prompt, answer[3])
    assert checked > count / 3, checked
    assert not wrong, "\n".join(wrong[:40])


asyncio.run(main(int(sys.argv[1])))
