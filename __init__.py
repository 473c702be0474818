"""ComfyUI's door to the pack: hands on the nodes and the page's files. Without ComfyUI, import dva_core instead."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

WEB_DIRECTORY = "./web"
REQUIRED = ("torch", "numpy", "einops", "safetensors", "av", "PIL", "scipy", "tqdm", "cv2", "filelock")  # as requirements.txt, as modules
__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


def _provide_library() -> None:
    """Makes `dva_core` importable from this folder, unless it is already; sys.path stays as it is, since `nodes` is ComfyUI's name."""
    if "dva_core" in sys.modules:
        return
    folder = Path(__file__).resolve().parent / "dva_core"
    spec = spec_from_file_location("dva_core", folder / "__init__.py", submodule_search_locations=[str(folder)])
    module = module_from_spec(spec)
    sys.modules["dva_core"] = module
    spec.loader.exec_module(module)


async def comfy_entrypoint():
    """The pack's nodes, as ComfyUI asks for them when it starts."""
    try:
        _provide_library()
        from .nodes import DVAExtension
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in REQUIRED:
            raise
        folder = Path(__file__).resolve().parent
        raise ImportError(f"{error.name} is missing; in ComfyUI's environment run: pip install -r {folder / 'requirements.txt'}") from error

    return DVAExtension()
