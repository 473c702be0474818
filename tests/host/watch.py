"""Run by ComfyUI's own interpreter: queues a prompt, follows it over the websocket, and says what it saw as JSON.

stdin: {"server": URL, "prompt": {...}, "cancel": the id of a node or null}. Cancels at the first progress of that node.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import uuid
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

ENDS = ("execution_success", "execution_error", "execution_interrupted")
PICTURE, HEADER = 1, 8  # a binary message: its kind and the picture's format, four bytes each, then the picture


def picture(message: bytes) -> dict[str, Any]:
    """Format, size and contrast of a preview."""
    image = Image.open(io.BytesIO(message[HEADER:]))
    return {"format": image.format, "size": image.size, "contrast": float(np.asarray(image).std())}


async def follow(server: str, prompt: dict[str, Any], cancel: str | None) -> dict[str, Any]:
    """`steps`: [node, value, max] in order; `pictures` by node; `late`: steps that the server told of once it had taken the cancel."""
    client, prompt_id, node, cancelled = uuid.uuid4().hex, str(uuid.uuid4()), "", False
    record: dict[str, Any] = {"prompt_id": prompt_id, "steps": [], "pictures": {}, "end": "", "late": None}
    timeout = aiohttp.ClientTimeout(total=None)
    address = f"/ws?clientId={client}"
    async with aiohttp.ClientSession(server, timeout=timeout) as session, session.ws_connect(address) as socket:
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client}
        async with session.post("/prompt", json=body) as answer:
            answer.raise_for_status()
        while not record["end"]:
            message = await socket.receive()
            if message.type == aiohttp.WSMsgType.BINARY:
                if int.from_bytes(message.data[:4], "big") == PICTURE:
                    record["pictures"].setdefault(node, []).append(picture(message.data))
                continue
            if message.type != aiohttp.WSMsgType.TEXT:
                raise ConnectionError(str(message))
            event = json.loads(message.data)
            kind, data = event["type"], event["data"]
            if kind == "status" and cancelled and record["late"] is None:
                record["late"] = 0
            if data.get("prompt_id") != prompt_id:
                continue
            if kind == "progress":
                node = data["node"]
                record["steps"].append([node, data["value"], data["max"]])
                if record["late"] is not None:
                    record["late"] += 1
                if node == cancel and not cancelled:
                    cancelled = True
                    # the empty queue is cleared: that is told behind all that came before, however long anyone had to wait
                    for path, body in (("/interrupt", {}), ("/queue", {"clear": True})):
                        async with session.post(path, json=body) as answer:
                            answer.raise_for_status()
            elif kind in ENDS:
                record["end"] = kind
    if cancelled and record["late"] is None:
        record["late"] = 0
    return record


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(follow(**json.load(sys.stdin)))))
