"""A pretended ComfyUI for tests of batches: the routes that batches use, with a queue, a history and a cache of one video, on loopback.

A result is made of the video's bytes and the prompt alone, so that it can be told whether it is the right one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web
from waiting import LONG


def result_of(content: bytes, attributes: str) -> bytes:
    """What a server makes of a video."""
    return b"result " + hashlib.sha256(content + attributes.encode()).hexdigest().encode() * 40


class FakeComfy:
    """Runs in a thread of its own. `seconds`: of an encode and of a decode. Change the public flags while it runs."""

    def __init__(self, encode: float = 0.0, decode: float = 0.0, token: str = "", lacks: str = "", ssl_context=None) -> None:
        self.seconds, self.token, self.lacks, self.ssl_context = (encode, decode), token, lacks, ssl_context
        self.port = 0
        self.files: dict[str, bytes] = {}  # of the input folder
        self.outputs: dict[str, bytes] = {}
        self.history: dict[str, Any] = {}
        self.pending: list[tuple[int, str, dict]] = []
        self.running: list[tuple[int, str, dict]] = []
        self.encodes: Counter[str] = Counter()
        self.decodes: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()
        self.requests = 0
        self.hangs = False
        self.sends_on = ""  # to another address
        self.begun = 0  # jobs
        self.holds: Callable[[], Any] | None = None  # while it does, the job that runs goes on until it is interrupted
        self.fails_on: set[bytes] = set()  # contents of videos
        self.cut_results = 0  # how many results break off half-way
        self.interrupted: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self.ssl_context else ''}://127.0.0.1:{self.port}"

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> FakeComfy:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        assert self._ready.wait(LONG)
        return self

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=1 << 30, middlewares=[self._door])
        app.add_routes(
            [
                web.get("/ws", self._ws),
                web.get("/system_stats", self._empty),
                web.get("/object_info/{kind}", self._info),
                web.get("/view", self._view),
                web.post("/upload/image", self._upload),
                web.post("/prompt", self._prompt),
                web.get("/queue", self._queue),
                web.post("/queue", self._delete),
                web.post("/interrupt", self._interrupt),
                web.get("/history/{id}", self._history),
            ]
        )
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._work = asyncio.Event()
        self._stop = asyncio.Event()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.ssl_context)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self._worker = asyncio.ensure_future(self._work_off())

    def kill(self) -> None:
        """As kill -9: connections break, the queue and the history are forgotten; `revive` starts it anew, with its files."""

        async def die() -> None:
            self._worker.cancel()
            for connection in list(self._runner.server.connections) if self._runner.server else ():
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()
            self.pending, self.running, self.history = [], [], {}

        asyncio.run_coroutine_threadsafe(die(), self._loop).result(LONG)

    def revive(self) -> None:
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(LONG)

    def stop(self) -> None:
        self.hangs = False
        if self._thread is not None:
            self.kill()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(LONG)

    def __enter__(self) -> FakeComfy:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    # -- work ------------------------------------------------------------------------------------------------

    async def _work_off(self) -> None:
        encoded = None
        while True:
            if not self.pending:
                self._work.clear()
                await self._work.wait()
                continue
            entry = self.pending.pop(0)
            self.running = [entry]
            self.begun += 1
            _, prompt_id, prompt, client = entry
            about = {node["class_type"]: (key, node["inputs"]) for key, node in prompt.items()}
            file, edit = about["DVALoadVideo"][1]["file"], about["DVAEditIdentityClassifier"][1]["attributes"]
            messages, outputs, status = [], {}, "success"
            content = self.files[file]
            if content in self.fails_on:
                status, messages = (
                    "error",
                    [["execution_error", {"exception_message": f"No face was found in /comfy/input/{file}; use another.\n"}]],
                )
            else:
                if encoded != file:
                    self.encodes[file] += 1
                    await self._take(self.seconds[0], prompt_id)
                    encoded = file
                await self._take(self.seconds[1], prompt_id)
                if prompt_id in self.interrupted:
                    status, messages = "error", [["execution_interrupted", {}]]
                else:
                    key, inputs = about["SaveVideo"]
                    name = f"{inputs['filename_prefix'].split('/')[-1]}_00001_.mp4"
                    self.decodes[f"{file} {edit}"] += 1
                    self.outputs[name] = result_of(content, edit)
                    output = {"filename": name, "subfolder": "dva", "type": "output"}
                    outputs = {key: {"images": [output], "animated": [True]}}
            self.history[prompt_id] = {"outputs": outputs, "status": {"status_str": status, "messages": messages}}
            self.running = []
            await self._say(client, "executing", {"node": None, "prompt_id": prompt_id})

    async def _take(self, seconds: float, prompt_id: str) -> None:
        until = self._loop.time() + seconds
        while self.hangs or (prompt_id not in self.interrupted and (self._loop.time() < until or (self.holds and self.holds()))):
            client = self.running[0][3] if self.running else ""
            await self._say(client, "progress", {"value": 1, "max": 2, "prompt_id": prompt_id, "node": "x"})
            await asyncio.sleep(min(0.05, seconds) or 0.02)

    async def _say(self, client: str, kind: str, data: dict[str, Any]) -> None:
        socket = self._sockets.get(client)
        if socket is not None and not socket.closed and not self.hangs:
            with contextlib.suppress(ConnectionError):  # the client was killed
                await socket.send_str(json.dumps({"type": kind, "data": data}))

    # -- routes ----------------------------------------------------------------------------------------------

    @web.middleware
    async def _door(self, request: web.Request, handler) -> web.StreamResponse:
        self.requests += 1
        while self.hangs:
            await asyncio.sleep(0.02)
        if self.token and request.headers.get("Authorization") != self.token:
            return web.Response(status=401)
        if self.sends_on:
            return web.Response(status=301, headers={"Location": self.sends_on + request.path_qs})
        return await handler(request)

    async def _empty(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _info(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        return web.json_response({} if kind == self.lacks else {kind: {}})

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets[request.query["clientId"]] = socket
        async for message in socket:
            if message.type == WSMsgType.ERROR:
                break
        return socket

    async def _view(self, request: web.Request) -> web.StreamResponse:
        name, subfolder = request.query["filename"], request.query["subfolder"]
        content = self.files.get(f"{subfolder}/{name}") if request.query["type"] == "input" else self.outputs.get(name)
        if content is None:
            return web.Response(status=404)
        if self.cut_results and request.query["type"] == "output":
            self.cut_results -= 1
            answer = web.StreamResponse(headers={"Content-Length": str(len(content))})
            await answer.prepare(request)
            await answer.write(content[: len(content) // 2])
            request.transport.abort()
            return answer
        return web.Response(body=content)

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        name, content = f"{form['subfolder']}/{form['image'].filename}", form["image"].file.read()
        self.uploads[name] += 1
        assert form.get("overwrite") is None and self.files.setdefault(name, content) == content
        return web.json_response({"name": form["image"].filename, "subfolder": form["subfolder"], "type": "input"})

    async def _prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        prompt = body["prompt"]
        edits = [node["inputs"]["attributes"] for node in prompt.values() if node["class_type"] == "DVAEditIdentityClassifier"]
        if any("Refused" in edit for edit in edits):
            errors = {"edit": {"errors": [{"message": "Custom validation failed", "details": "This model has no attribute Refused."}]}}
            return web.json_response({"error": {"message": "failed"}, "node_errors": errors}, status=400)
        self.pending.append((0, body["prompt_id"], prompt, body["client_id"]))
        self._work.set()
        return web.json_response({"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}})

    async def _queue(self, request: web.Request) -> web.Response:
        return web.json_response({"queue_running": [list(e) for e in self.running], "queue_pending": [list(e) for e in self.pending]})

    async def _delete(self, request: web.Request) -> web.Response:
        gone = set((await request.json())["delete"])
        self.pending = [entry for entry in self.pending if entry[1] not in gone]
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        self.interrupted.append((await request.json())["prompt_id"])
        return web.Response()

    async def _history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        return web.json_response({prompt_id: self.history[prompt_id]} if prompt_id in self.history else {})
