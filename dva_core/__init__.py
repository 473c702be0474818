"""Diffusion video autoencoder: edit a face in a video once, for all frames (Kim et al., CVPR 2023).

    model = dva_core.load_model("starter")
    decomposition = dva_core.encode("talk.mp4", model)
    edited = dva_core.edit.apply_attributes(decomposition, model, {"Young": -0.6})
    dva_core.decode(edited, model, "out.mp4")

Names are imported when first used, so that `import dva_core` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from . import edit, errors
    from .decomposition import Decomposition
    from .diffusion import ddim
    from .errors import DVAError
    from .model.bundle import find_models
    from .model.loader import load_model
    from .pipeline import decode, encode

__all__ = ["DVAError", "Decomposition", "ddim", "decode", "edit", "encode", "errors", "find_models", "load_model"]

_HOMES = {
    "DVAError": "errors",
    "Decomposition": "decomposition",
    "decode": "pipeline.decoding",
    "encode": "pipeline.encoding",
    "find_models": "model.bundle",
    "load_model": "model.loader",
}
_MODULES = {"ddim": "diffusion.ddim", "edit": "edit", "errors": "errors"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
