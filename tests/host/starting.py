"""Run by ComfyUI's own interpreter, in its folder: what importing the pack costs once ComfyUI's own modules are there."""
# ruff: noqa: E402, F401, I001 (ComfyUI's modules are there before the pack is, and its settings before them)

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1.0  # of this process's own time: the machine may be busy with something else
NOT_AT_START = {
    "onnx",
    "open_clip",
    "onnxruntime",
    "insightface",
    "sklearn",
    "skimage",
    "matplotlib",
    "pandas",
    "hypothesis",
    "dva_core.train",
}
sys.path.insert(0, str(Path.cwd()))

import utils.install_util  # before a module of the environment takes the name
from comfy.cli_args import args

args.cpu = True
folder = tempfile.TemporaryDirectory()
args.base_directory = folder.name

import av
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import comfy_extras.nodes_video
import nodes
import scipy
import server

before, began = set(sys.modules), time.process_time()
spec = spec_from_file_location("pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
pack = sys.modules["pack"] = module_from_spec(spec)
spec.loader.exec_module(pack)
node_list = asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
spent, heavy = time.process_time() - began, (set(sys.modules) - before) & NOT_AT_START
folder.cleanup()
assert node_list and spent <= SECONDS, f"importing the pack takes {spent:.2f} s"
assert not heavy, f"imported at start: {', '.join(sorted(heavy))}"
