"""Client of one ComfyUI server: uploads files by content, queues, watches and cancels prompts, downloads results atomically."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp

from ..decomposition.info import source_hash
from ..errors import DVAError, one_line
from ..files import atomic_write
from .journal import disk_errors
from .manifest import Server
from .messages import flatten

AUTHORIZATION = "Authorization"
FOLDER = "dva"  # in the server's input folder
NAME_DIGITS, BLOCK = 32, 1 << 18
MOST_NAMES = 100  # names of uploaded files that are remembered
GATEWAY = (502, 503, 504)  # what a proxy says when the server behind it is away
NETWORK = (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError)


class ServerLost(Exception):
    """The server does not answer or has lost its state; it may come back."""


class UnusableServer(DVAError):
    """The server answers but cannot be used: the pack is not installed, or a password is required."""


class JobFailed(DVAError):
    """The server refused a job or failed to finish it; the message is the server's."""


class Client:
    """HTTP and websocket client of one server, an async context manager. `timeout`: seconds without an answer until it counts as lost."""

    def __init__(self, server: Server, timeout: float = 60.0, ca: str | Path | None = None) -> None:
        self.url, self._headers = address_of(server)
        self.id = hashlib.sha256(os.urandom(16)).hexdigest()[:32]
        self.timeout = timeout
        context = None if ca is None else aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(ca)))
        limit = aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=limit, connector=context)
        self._names: dict[tuple[Path, int, int], asyncio.Future[str]] = {}

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_) -> None:
        await self._session.close()

    def forget(self) -> None:
        """Forget which files were uploaded, as the server may have been replaced."""
        self._names.clear()

    # -- questions -------------------------------------------------------------------------------------------

    async def check(self, kinds: Iterable[str]) -> None:
        """Check that the server answers and has the nodes. Raises ServerLost or UnusableServer."""
        await self._json("GET", "/system_stats")
        lacking = [kind for kind in sorted(set(kinds)) if not await self._json("GET", f"/object_info/{kind}")]
        if lacking:
            raise UnusableServer(f"{self.url} lacks {', '.join(lacking)}; install the pack there, or update ComfyUI.")

    async def queue_contents(self) -> tuple[set[str], set[str]]:
        """Fetch the running and the pending prompts of all clients."""
        queue = await self._json("GET", "/queue")
        return tuple({entry[1] for entry in queue[name]} for name in ("queue_running", "queue_pending"))

    async def outcome(self, prompt_id: str) -> dict[str, Any] | None:
        """Fetch the outputs of a finished prompt; None if it is not finished. JobFailed with the server's message."""
        entry = (await self._json("GET", f"/history/{prompt_id}")).get(prompt_id)
        if entry is None:
            return None
        status = entry.get("status") or {}
        if status.get("status_str") == "success":
            return entry.get("outputs") or {}
        for kind, about in status.get("messages") or ():
            if kind == "execution_error":
                raise JobFailed(flatten(about.get("exception_message")) or "It failed; the server's log says why.")
        raise JobFailed("It was cancelled on the server.")

    # -- work ------------------------------------------------------------------------------------------------

    async def upload(self, path: Path) -> str:
        """Upload a file once, under a name made of its hash, and return that name. DVAError if the file cannot be read."""
        try:
            stat = path.stat()
        except OSError as error:
            raise DVAError(f"{path} cannot be read ({error.strerror}).") from error
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._names or (self._names[key].done() and (self._names[key].cancelled() or self._names[key].exception())):
            self._names[key] = asyncio.ensure_future(self._upload(path, stat.st_size))
            if len(self._names) > MOST_NAMES:
                del self._names[next(iter(self._names))]  # the server is asked for the file again
        return await asyncio.shield(self._names[key])

    async def _upload(self, path: Path, size: int) -> str:
        digest = await asyncio.get_running_loop().run_in_executor(None, source_hash, path)
        try:
            name = f"{digest[:NAME_DIGITS]}{path.suffix.lower()}"
            if await self._has(name, size):
                return f"{FOLDER}/{name}"
            with TimedReader(path) as stream:
                form = aiohttp.FormData({"type": "input", "subfolder": FOLDER})
                form.add_field("image", stream, filename=name, content_type="application/octet-stream")
                answer = await self._watch(self._json("POST", "/upload/image", data=form), stream)
            return f"{answer['subfolder']}/{answer['name']}"
        except OSError as error:
            raise DVAError(f"{path} cannot be read ({error.strerror}).") from error

    async def _has(self, name: str, size: int) -> bool:
        """Tell whether the server has a file of that name and size; a partial upload is shorter."""
        query = {"filename": name, "subfolder": FOLDER, "type": "input"}
        try:
            async with self._session.head(self._at("/view"), params=query) as answer:
                return answer.status == 200 and answer.content_length == size
        except NETWORK as error:
            raise ServerLost(f"{self.url} does not answer ({reason_of(error)}).") from error

    async def _watch(self, request, stream: TimedReader) -> Any:
        """Await the response to an upload; ServerLost if the server stops reading."""
        task = asyncio.ensure_future(request)
        try:
            while not (await asyncio.wait({task}, timeout=1.0))[0]:
                if time.monotonic() - stream.last_read > 2 * self.timeout:
                    raise ServerLost(f"{self.url} takes no more of the upload.")
            return task.result()
        finally:
            task.cancel()

    async def queue(self, prompt: dict[str, Any], prompt_id: str) -> None:
        """Queue a prompt under an id chosen here. JobFailed if the server refuses it."""
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": self.id}
        answer = await self._json("POST", "/prompt", json=body)
        if answer.get("node_errors") or answer.get("prompt_id") != prompt_id:
            await self.cancel([answer.get("prompt_id", prompt_id)])
            raise JobFailed(reasons(answer) or "The server gave the job an id of its own; update ComfyUI there.")

    async def cancel(self, prompts: Iterable[str]) -> None:
        """Cancel prompts of this client, running or pending."""
        prompts = list(prompts)
        await self._json("POST", "/queue", json={"delete": prompts})
        running, _ = await self.queue_contents()
        for prompt_id in running.intersection(prompts):
            await self._json("POST", "/interrupt", json={"prompt_id": prompt_id})

    async def fetch(self, output: dict[str, str], place: Path) -> int:
        """Download an output to `place` atomically and return its size in bytes. DiskError or NameRefused if it cannot be written."""
        query = {name: output[name] for name in ("filename", "subfolder", "type")}
        try:
            async with self._session.get(self._at("/view"), params=query) as answer:
                if answer.status != 200:
                    raise JobFailed(f"The result {output['filename']} is not there any more (status {answer.status}).")
                return await self._store(answer, place)
        except NETWORK as error:
            raise ServerLost(f"{self.url} does not answer ({reason_of(error)}).") from error

    async def _store(self, answer: aiohttp.ClientResponse, place: Path) -> int:
        size, expected = 0, answer.content_length
        with disk_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(place) as partial:
                with open(partial, "wb") as stream:
                    async for block in blocks(answer, self.url):
                        stream.write(block)
                        size += len(block)
                if not size or (expected is not None and size != expected):
                    raise ServerLost(f"{self.url} sent {size} of {expected} bytes of a result.")
        return size

    async def listen(self, hear: Callable[[str, dict[str, Any]], None]) -> None:
        """Call hear(kind, data) for every message of the server, reconnecting whenever the connection ends; never returns."""
        while True:
            with contextlib.suppress(*NETWORK):
                query = {"clientId": self.id}
                async with self._session.ws_connect(self._at("/ws"), params=query, heartbeat=self.timeout, max_msg_size=0) as socket:
                    async for message in socket:
                        if message.type == aiohttp.WSMsgType.TEXT:
                            with contextlib.suppress(ValueError, KeyError, TypeError):
                                event = json.loads(message.data)
                                hear(event["type"], event["data"])
            await asyncio.sleep(1.0)

    # -- inside ----------------------------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        return self.url + path

    async def _json(self, method: str, path: str, **content: Any) -> Any:
        try:
            # a redirect would turn POST into GET
            async with self._session.request(method, self._at(path), allow_redirects=False, **content) as answer:
                body = await answer.read()
                if answer.status in (401, 403):
                    raise UnusableServer(self._refusal(answer.status))
                if 300 <= answer.status < 400:
                    elsewhere = flatten(answer.headers.get("Location")).removesuffix(path)
                    raise UnusableServer(f"{self.url} sends on to {elsewhere}; name that address, or log in with --header.")
                if answer.status in GATEWAY:
                    raise ServerLost(f"The server behind {self.url} is away (status {answer.status}).")
                if answer.status == 413:
                    raise JobFailed(f"{self.url} takes no file of that size; start it with a larger --max-upload-size.")
                return parse_answer(answer.status, body, f"{self.url}{path}")
        except aiohttp.ClientConnectorCertificateError as error:
            raise UnusableServer(f"{self.url} has a certificate that is not trusted here; give its issuer's with --ca.") from error
        except NETWORK as error:
            raise ServerLost(f"{self.url} does not answer ({reason_of(error)}).") from error

    def _refusal(self, status: int) -> str:
        if any(name.lower() == AUTHORIZATION.lower() for name in self._headers):
            return f"{self.url} refuses the authorisation that it was given (status {status}); check the header, or the user and password."
        return f"{self.url} asks for authorisation (status {status}); give it --header 'Authorization: ...'."


def address_of(server: Server) -> tuple[str, dict[str, str]]:
    """Address and headers of a server. A user and password in its URL become a header: the address appears in journals and reports.

    DVAError if a header names a variable that is not in the environment.
    """
    headers = {name: os.path.expandvars(value) for name, value in server.headers.items()}
    for name, value in server.headers.items():
        unset = [variable for variable in re.findall(r"\$\{?(\w+)", value) if variable not in os.environ]
        if unset:
            raise DVAError(f"The header {name} names ${unset[0]}, which is not in the environment; set it there.")
    parts = urlsplit(server.url.rstrip("/"))
    if parts.username is None:
        return urlunsplit(parts), headers
    login = base64.b64encode(f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()).decode()
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), {AUTHORIZATION: f"Basic {login}", **headers}


class TimedReader(io.BufferedReader):
    """File object that records the time of its last read."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.last_read = time.monotonic()

    def read(self, size: int | None = -1, /) -> bytes:
        self.last_read = time.monotonic()
        return super().read(size)


def reason_of(error: Exception) -> str:
    """The system's reason in an error of the network, such as "Connection refused"."""
    inner = getattr(error, "os_error", None)
    if isinstance(inner, (socket.gaierror, ssl.SSLError)):
        return flatten(inner.strerror or inner)
    return os.strerror(inner.errno) if inner is not None and inner.errno else one_line(error)


async def blocks(answer: aiohttp.ClientResponse, url: str):
    """Yield the body of a response in blocks; a connection that ends early raises an error of the server, not of the disk."""
    try:
        async for block in answer.content.iter_chunked(BLOCK):
            yield block
    except (*NETWORK, OSError) as error:
        raise ServerLost(f"{url} broke off a result ({reason_of(error)}).") from error


def parse_answer(status: int, body: bytes, where: str) -> Any:
    """Parse the JSON of a response; {} if there is none. JobFailed for a refusal, UnusableServer for anything but ComfyUI."""
    try:
        content = json.loads(body) if body.strip() else {}
    except ValueError:
        content = None
    if status < 300 and content is not None:
        return content
    if isinstance(content, dict) and (content.get("error") or content.get("node_errors")):
        raise JobFailed(reasons(content) or f"The server refused it (status {status}).")
    if status >= 500:
        raise JobFailed(f"The server failed (status {status}); its log says why.")
    raise UnusableServer(f"{where} does not answer as ComfyUI does (status {status}); check the address.")


def reasons(answer: dict[str, Any]) -> str:
    """Extract from a response why a prompt was refused."""
    details = [
        error.get("details") or error.get("message", "") for node in (answer.get("node_errors") or {}).values() for error in node["errors"]
    ]
    error = answer.get("error")
    if not details and error:
        details = [str(error.get("message", error)) if isinstance(error, dict) else str(error)]
    return flatten("; ".join(dict.fromkeys(filter(None, details))))
