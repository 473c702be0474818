"""Status of a running node: progress bar, preview picture, a line of text, and cancellation."""

from __future__ import annotations

import logging
import time
from typing import Any

import comfy.model_management as management
import comfy.utils
import numpy as np
from PIL import Image

logger = logging.getLogger(__name__)

PREVIEW_SECONDS, PREVIEW_PIXELS = 0.2, 512


class NodeProgress:
    """Progress on the running node: its bar counts frames x steps and shows the current face.

    `evaluations` are the noise predictor's for one frame. Raises ComfyUI's own exception if the user has cancelled.
    """

    def __init__(self, evaluations: int) -> None:
        self._evaluations = evaluations
        self._bar = comfy.utils.ProgressBar(1)
        self._last_preview = 0.0
        self._position: tuple[str, float] = ("", 0.0)

    def __call__(self, phase: str, done: float, total: int, preview: np.ndarray | None = None) -> None:
        management.throw_exception_if_processing_interrupted()
        before = self._position[1] if self._position[0] == phase else 0.0
        self._position = phase, max(before, done)  # frames are pasted after their batch was decoded; the bar does not go back
        scale = 1 if phase == "track" else self._evaluations
        self._bar.update_absolute(round(self._position[1] * scale), max(1, round(total * scale)), self._picture(preview))

    def looks(self) -> bool:
        """Tell whether a picture would be shown now."""
        return time.monotonic() - self._last_preview >= PREVIEW_SECONDS

    def _picture(self, preview: np.ndarray | None) -> tuple[str, Image.Image, int] | None:
        if preview is None or not self.looks():
            return None
        self._last_preview = time.monotonic()
        return "JPEG", Image.fromarray(np.ascontiguousarray(preview)), PREVIEW_PIXELS


def check_cancelled() -> None:
    """Raise ComfyUI's exception if the user has cancelled."""
    management.throw_exception_if_processing_interrupted()


def send(event: str, data: dict[str, Any]) -> None:
    """Send an event to the page that queued the run, if any."""
    server = _server()
    if server is not None:
        server.send_sync(event, data, server.client_id)


def tell(node_id: str | None, text: str, level: int = logging.INFO) -> None:
    """Show a line of text on the node, replacing the previous one, and log it."""
    logger.log(level, text)
    show = getattr(_server(), "send_progress_text", None)
    if show is not None and node_id is not None:
        show(text, node_id)


def _server() -> Any:
    """ComfyUI's server; None where the nodes run without one."""
    try:
        from server import PromptServer
    except ImportError:
        return None
    return getattr(PromptServer, "instance", None)
