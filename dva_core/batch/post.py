"""One server in a run: it is given jobs one after another, and their results are fetched while it does the next."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DVAError
from .client import Client, JobFailed, ServerLost, UnusableServer
from .jobs import Job
from .journal import DiskError
from .prompts import files_of, make_prompt, saver_of

POLL, DISK_POLL = 2.0, 5.0  # seconds
ENDED = ("execution_error", "execution_interrupted", "execution_success")


@dataclass
class Sent:
    """A job that is on a server. `ours`: this run sent it; `ended`: all that is left is to fetch its result."""

    job: Job
    prompt: str
    encodes: bool = False
    ours: bool = True
    ended: bool = False
    uploaded: dict[Path, str] = field(default_factory=dict)  # what the server calls its files

    def in_words(self, error: DVAError) -> str:
        """What the server said, with files called as they are here."""
        text = str(error)
        for path, name in self.uploaded.items():
            text = re.sub(rf"\S*{re.escape(Path(name).name)}", lambda _, path=path: str(path), text)
        return text


async def until_set(event: asyncio.Event, seconds: float) -> None:
    """Waits for an event, so long at most. (`asyncio.wait_for` loses a cancellation that comes at the same moment, up to Python 3.11.)"""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


class Post:
    """Works on one server for `whole`, a servers.Executor, which has the scheduler and the books."""

    def __init__(self, whole: Any, client: Client) -> None:
        self.whole, self.client, self.name = whole, client, client.url
        self.sent: dict[str, Sent] = {}  # by prompt
        self._poke = asyncio.Event()
        self._heard: dict[str, float] = {}

    async def settle(self) -> list[Sent]:
        """Joins the run. What an earlier one left here is taken up again where it is still wanted, and taken back where not."""
        scheduler, books = self.whole.scheduler, self.whole.books
        running, pending = await self.client.queued()
        self.sent.clear()
        scheduler.join(self.name)
        left = {prompt: entry for (where, prompt), entry in books.journal.sent.items() if where == self.name}
        unwanted, adopted = [], []
        for prompt, (name, fingerprint) in left.items():
            job, there = self.whole.jobs.get(name), prompt in running or prompt in pending
            wanted = job is not None and scheduler.waits(name) and fingerprint == books.plan.fingerprint(job)
            if wanted and (there or await self.ended_well(prompt)) and scheduler.adopt(self.name, name):
                self.sent[prompt] = Sent(job, prompt, ours=False, ended=not there)
                adopted.append(self.sent[prompt])
            else:
                unwanted += [prompt] if there else []
                self.whole.note("dropped", name, where=self.name, prompt=prompt)
        if unwanted:
            await self.client.cancel(unwanted)
        return adopted

    async def ended_well(self, prompt: str) -> bool:
        with suppress(JobFailed):
            return await self.client.outcome(prompt) is not None
        return False

    async def attend(self, adopted: list[Sent]) -> None:
        """Gives the server its jobs for as long as it is there. ServerLost when it is not."""
        listening = asyncio.ensure_future(self.client.listen(self.hear))
        fetching: asyncio.Task | None = None
        try:
            while True:
                if fetching is not None and fetching.done():
                    fetching.result()
                    fetching = None
                sent = adopted.pop(0) if adopted else await self.begin()
                if sent is None:
                    continue
                ended = await self.until_ended(sent)
                if fetching is not None:
                    await asyncio.wait({fetching})
                    fetching.result()
                fetching = ended and asyncio.ensure_future(self.bring(sent, *ended))
        finally:
            tasks = [task for task in (listening, fetching) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def begin(self) -> Sent | None:
        """Sends the next job, if there is one; else waits a little for something to change."""
        job = None if self.whole.disk_is_full else self.whole.scheduler.next(self.name)
        if job is None:
            await self.whole.wait_for_change()
            return None
        self.whole.change()  # there is less to take over
        return await self.send(job)

    async def send(self, job: Job) -> Sent | None:
        """Puts a job on the server; None where that did not succeed, which is then seen to."""
        whole, scheduler = self.whole, self.whole.scheduler
        sent = Sent(job, str(uuid.uuid4()), scheduler.workers[self.name].running[job.name])
        try:
            for path in files_of(whole.plan, job):
                sent.uploaded[path] = await self.client.upload(path)
            prompt = make_prompt(whole.plan, whole.workflow, job, sent.uploaded, f"dva/{Path(job.name).name}_{sent.prompt[:8]}")
            self.sent[sent.prompt] = sent
            whole.books.journal.note("sent", job.name, where=self.name, prompt=sent.prompt, fingerprint=whole.plan.fingerprint(job))
            await self.client.queue(prompt, sent.prompt)
        except DiskError as error:
            self.sent.pop(sent.prompt, None)
            scheduler.give_back(self.name, job.name)
            whole.full(error)
            return None
        except UnusableServer:
            raise
        except DVAError as error:
            self.failed(sent, error)
            return None
        whole.books.tell("begun", job=job.name, worker=self.name, encodes=sent.encodes)
        following = scheduler.ahead(self.name)
        if following is not None and following.group != job.group:
            upload = asyncio.ensure_future(self.client.upload(whole.jobs[following.name].video))
            upload.add_done_callback(lambda task: task.cancelled() or task.exception())  # whoever needs it will hear of it
        return sent

    def hear(self, kind: str, data: dict[str, Any]) -> None:
        """A message of the server."""
        sent = self.sent.get(data.get("prompt_id"))
        if sent is None:
            return
        self._heard[sent.prompt] = time.monotonic()
        if kind == "progress":
            about = {"done": data["value"], "total": data["max"], "part": str(data.get("node"))}
            self.whole.books.tell("progress", job=sent.job.name, worker=self.name, **about)
        elif kind in ENDED or (kind == "executing" and data.get("node") is None):
            self._poke.set()

    async def until_ended(self, sent: Sent) -> tuple[dict[str, Any], float] | None:
        """Waits for the end of a job: its outputs and seconds, None where it failed. ServerLost where the server has forgotten it."""
        began, absent = time.monotonic(), 0
        try:
            while (outputs := await self.client.outcome(sent.prompt)) is None:
                if self._heard.get(sent.prompt, 0) < time.monotonic() - POLL:
                    queue = await self.client.queued()
                    absent = 0 if sent.prompt in queue[0] | queue[1] else absent + 1
                    if absent == 2:  # on its way from queue to history it is nowhere once at most
                        raise ServerLost(f"{self.name} was started anew and has forgotten its queue.")
                await until_set(self._poke, POLL)
                self._poke.clear()
        except JobFailed as error:
            self.failed(sent, error)
            return None
        finally:
            self._heard.pop(sent.prompt, None)
        sent.ended = True
        return outputs, time.monotonic() - began

    async def bring(self, sent: Sent, outputs: dict[str, Any], seconds: float) -> None:
        """Fetches a result and books it; waits where the disk is full."""
        whole, job, there = self.whole, sent.job, False
        lists = [entries for entries in outputs.get(saver_of(whole.workflow), {}).values() if isinstance(entries, list)]
        shown = next((entry for entries in lists for entry in entries if isinstance(entry, dict) and "filename" in entry), None)
        if shown is None:
            self.failed(sent, JobFailed("The server says that it is done, but names no video."))
            return
        while True:
            try:
                if not there:
                    await self.client.fetch(shown, job.result)
                there = True
                whole.books.done(job, self.name, seconds, sent.encodes, prompt=sent.prompt)
                break
            except DiskError as error:
                whole.full(error, holds=True)
                await asyncio.sleep(DISK_POLL)
            except JobFailed as error:
                self.failed(sent, error)
                return
        self.sent.pop(sent.prompt, None)
        whole.scheduler.done(self.name, job.name, seconds if sent.ours else None)
        whole.has_room()

    def failed(self, sent: Sent, error: DVAError) -> None:
        """A job did not succeed here: it is tried once more, or reported."""
        whole, job = self.whole, sent.job
        self.sent.pop(sent.prompt, None)
        whole.note("dropped", job.name, where=self.name, prompt=sent.prompt)
        if whole.scheduler.fail(self.name, job.name):
            whole.books.again(job, self.name, sent.in_words(error))
        else:
            whole.give_up(job, self.name, sent.in_words(error))
        whole.change()

    async def take_back(self) -> None:
        """Cancels what is still on the server; results that wait to be fetched are left for the next run."""
        left = [sent for sent in self.sent.values() if not sent.ended]
        if not left:
            return
        with suppress(ServerLost, DVAError, asyncio.TimeoutError):
            await asyncio.wait_for(self.client.cancel(sent.prompt for sent in left), 15.0)
            for sent in left:
                self.whole.note("dropped", sent.job.name, where=self.name, prompt=sent.prompt)
