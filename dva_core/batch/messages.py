"""Text of messages: those of other programs as one line, and the one about a missing package."""

from __future__ import annotations

from typing import Any

from ..errors import MissingDependencyError

LONGEST = 500
EXTRAS = {"pydantic": "batch", "aiohttp": "batch", "yaml": "batch", "ray": "ray"}


def flatten(text: Any) -> str:
    """Join any text into one line of at most LONGEST characters; "" for None."""
    return " ".join(str(text or "").split())[:LONGEST]


def missing_package(error: ModuleNotFoundError) -> Exception:
    """Make the error that says how to install a missing optional package; other import errors are returned unchanged."""
    package = (error.name or "").split(".")[0]
    if package not in EXTRAS:
        return error
    return MissingDependencyError(
        f"Batches need {package}, which is not installed: pip install 'diffusion-video-autoencoder[{EXTRAS[package]}]', or {package} alone."
    )
