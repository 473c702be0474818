"""What others say, made fit for a sentence of ours; and what to say where a package is missing."""

from __future__ import annotations

from typing import Any

from ..errors import MissingDependencyError

LONGEST = 500
EXTRAS = {"pydantic": "batch", "aiohttp": "batch", "yaml": "batch", "ray": "ray"}


def one_line(text: Any) -> str:
    """Any text in a line of bounded length; "" of nothing."""
    return " ".join(str(text or "").split())[:LONGEST]


def not_installed(error: ModuleNotFoundError) -> Exception:
    """What to say where a package of ours is not there: how to get it; the absence of others goes through."""
    package = (error.name or "").split(".")[0]
    if package not in EXTRAS:
        return error
    return MissingDependencyError(
        f"Batches need {package}, which is not installed: pip install 'diffusion-video-autoencoder[{EXTRAS[package]}]', or {package} alone."
    )
