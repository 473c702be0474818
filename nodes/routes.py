"""Routes of the server for the page, and node replacements registered at start."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dva_core.edit.attributes import entries_of
from dva_core.errors import DVAError
from dva_core.model.bundle import read_header
from dva_core.model.loader import STARTER

from .folders import EXAMPLE_VIDEOS, provide_example
from .models import model_path


async def register_replacements(replacements: list[dict[str, Any]]) -> None:
    """Register node replacements, each the arguments of a NodeReplace; does nothing on hosts without them."""
    from comfy_api.latest import ComfyAPI, io

    registry = getattr(ComfyAPI(), "node_replacement", None)
    if registry is not None:
        for replacement in replacements:
            await registry.register(io.NodeReplace(**replacement))


def add_routes() -> None:
    """Add GET /dva/attributes?model=NAME, the model's attributes for the sliders, and POST /dva/example?file=NAME, which copies an
    example video. Does nothing without a server.
    """
    try:
        from server import PromptServer
    except ImportError:
        return
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    from aiohttp import web

    @server.routes.get("/dva/attributes")
    async def attributes(request):
        try:
            header = read_header(model_path(request.query.get("model", STARTER)))
        except DVAError as error:
            return web.json_response({"error": str(error)}, status=404)
        return web.json_response({"attributes": [asdict(entry) for entry in entries_of(header.config)]})

    @server.routes.post("/dva/example")
    async def example(request):
        name = request.query.get("file", EXAMPLE_VIDEOS[0])
        if name not in EXAMPLE_VIDEOS:
            return web.json_response({"error": f"There is no example video {name[:100]!r}."}, status=404)
        try:
            return web.json_response({"file": provide_example(name).name})
        except DVAError as error:
            return web.json_response({"error": str(error)}, status=500)
