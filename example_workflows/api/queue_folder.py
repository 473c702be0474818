"""Edits every video of a folder in every way of a list, through a running ComfyUI; what is there already is left out.

    python queue_folder.py VIDEOS EDITS.json OUT [--server http://127.0.0.1:8188] [--workflow edit_by_attribute.json]

EDITS.json: {"younger": {"Young": 0.8}, "smiling": {"Smiling": 0.6}}. Results are OUT/<video>_<edit>.mp4.
Needs aiohttp and tqdm, which ComfyUI brings.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
from tqdm import tqdm

VIDEOS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".m4v"}
NOT_DONE = ("execution_error", "execution_interrupted")


def jobs(videos: Path, edits: dict[str, Any], out: Path) -> list[tuple[Path, str, Path]]:
    """(video, edit, result) of all that is still missing; all edits of a video in a row, so that ComfyUI encodes it once."""
    files = sorted(path for path in videos.iterdir() if path.suffix.lower() in VIDEOS)
    wanted = [(file, edit, out / f"{file.stem}_{edit}.mp4") for file in files for edit in edits]
    return [job for job in wanted if not job[2].exists()]


def filled_in(workflow: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """The workflow with these values wherever an input has that name (linked inputs stay)."""
    workflow = copy.deepcopy(workflow)
    for node in workflow.values():
        for name in inputs.keys() & node["inputs"].keys():
            if not isinstance(node["inputs"][name], list):
                node["inputs"][name] = inputs[name]
    return workflow


async def upload(session: aiohttp.ClientSession, file: Path) -> str:
    """Puts a video into ComfyUI's input folder; what Load Video calls it."""
    with open(file, "rb") as stream:
        form = aiohttp.FormData({"overwrite": "true"})
        form.add_field("image", stream, filename=file.name)
        async with session.post("/upload/image", data=form) as answer:
            answer.raise_for_status()
            return (await answer.json())["name"]


async def run(session: aiohttp.ClientSession, socket, client: str, prompt: dict[str, Any], bar: tqdm) -> dict[str, Any]:
    """Queues a prompt and waits for its end; its outputs. RuntimeError with ComfyUI's sentence where it fails."""
    prompt_id = str(uuid.uuid4())
    async with session.post("/prompt", json={"prompt": prompt, "prompt_id": prompt_id, "client_id": client}) as answer:
        body = await answer.json()
        if answer.status != 200 or body.get("node_errors"):
            details = [error["details"] for node in body.get("node_errors", {}).values() for error in node["errors"]]
            raise RuntimeError("; ".join(details) or body["error"]["message"])
        prompt_id = body["prompt_id"]
    try:
        return await ended(session, socket, prompt_id, bar)
    except asyncio.CancelledError:  # Ctrl-C
        await take_back(session, prompt_id)
        raise


async def ended(session: aiohttp.ClientSession, socket, prompt_id: str, bar: tqdm) -> dict[str, Any]:
    """The outputs of a queued prompt, once it has ended; as `run`."""
    while True:
        message = await socket.receive()
        if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
            raise RuntimeError("ComfyUI has closed the connection.")
        if message.type != aiohttp.WSMsgType.TEXT:
            continue  # pictures of the work in progress
        event = json.loads(message.data)
        kind, data = event["type"], event["data"]
        if data.get("prompt_id") != prompt_id:
            continue
        if kind == "progress":
            bar.total, bar.n = data["max"], data["value"]
            bar.refresh()
        elif kind in NOT_DONE:
            raise RuntimeError(data.get("exception_message", "It was cancelled.").strip())
        elif kind == "executing" and data["node"] is None:
            break  # "execution_success" comes before its history can be read, this after
    async with session.get(f"/history/{prompt_id}") as answer:
        return (await answer.json())[prompt_id]["outputs"]


async def fetch(session: aiohttp.ClientSession, shown: dict[str, str], path: Path) -> None:
    """Copies an output of ComfyUI to `path`, all or nothing."""
    partial = path.with_suffix(".part")
    async with session.get("/view", params=shown) as answer:
        answer.raise_for_status()
        with open(partial, "wb") as stream:
            async for block in answer.content.iter_chunked(1 << 16):
                stream.write(block)
    partial.replace(path)


async def take_back(session: aiohttp.ClientSession, prompt_id: str) -> None:
    """Ends a prompt of ours, whether it runs or waits; those of others go on."""
    await session.post("/queue", json={"delete": [prompt_id]})
    async with session.get("/queue") as answer:
        running = [entry[1] for entry in (await answer.json())["queue_running"]]
    if prompt_id in running:
        await session.post("/interrupt", json={"prompt_id": prompt_id})


async def main(args: argparse.Namespace) -> int:
    edits = json.loads(args.edits.read_text(encoding="utf-8"))
    workflow = json.loads(args.workflow.read_text(encoding="utf-8"))
    (saver,) = (key for key, node in workflow.items() if node["class_type"] == "SaveVideo")
    args.out.mkdir(parents=True, exist_ok=True)
    client, failed, names = uuid.uuid4().hex, 0, {}
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(args.server, timeout=timeout) as session, session.ws_connect(f"/ws?clientId={client}") as socket:
        todo = jobs(args.videos, edits, args.out)
        for video, edit, result in tqdm(todo, unit="video"):
            if video not in names:
                names[video] = await upload(session, video)
            prompt = filled_in(workflow, file=names[video], attributes=json.dumps(edits[edit]), filename_prefix=f"dva/{result.stem}")
            with tqdm(desc=result.name, leave=False, unit="step") as bar:
                try:
                    outputs = await run(session, socket, client, prompt, bar)
                except RuntimeError as error:
                    failed += 1
                    tqdm.write(f"{result.name}: {error}", file=sys.stderr)
                    continue
            await fetch(session, outputs[saver]["images"][0], result)
    return 1 if failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("edits", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    parser.add_argument("--workflow", type=Path, default=Path(__file__).with_name("edit_by_attribute.json"))
    arguments = parser.parse_args()
    try:
        sys.exit(asyncio.run(main(arguments)))
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on from here.")
    except aiohttp.ClientConnectionError:
        sys.exit(f"ComfyUI does not answer at {arguments.server}; start it, or name its address with --server.")
