"""The pack as ComfyUI imports it, for scripts that run in ComfyUI's own interpreter without a server."""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load_pack(name: str = "nodes") -> ModuleType:
    """The module `name` of the pack, such as "nodes" or "nodes.models"; `dva_core` can be imported then."""
    if "pack" not in sys.modules:
        spec = spec_from_file_location("pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
        pack = sys.modules["pack"] = module_from_spec(spec)
        spec.loader.exec_module(pack)
        pack._provide_library()
    return importlib.import_module(f"pack.{name}")
