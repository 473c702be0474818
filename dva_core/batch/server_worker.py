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
END_EVENTS = ("execution_error", "execution_interrupted", "execution_success")


@dataclass
class ServerJob:
    """A job that is on a server. `ours`: this run sent it; `ended`: all that is left is to fetch its result."""

    job: Job
    prompt: str
    encodes: bool = False
    ours: bool = True
    ended: bool = False
    file_names: dict[Path, str] = field(default_factory=dict)  # what the server calls its files

    def in_words(self, error: DVAError) -> str:
        """What the server said, with files called as they are here."""
        text = str(error)
        for path, name in self.file_names.items():
            text = re.sub(rf"\S*{re.escape(Path(name).name)}", lambda _, path=path: str(path), text)
        return text


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Waits for an event, so long at most. (`asyncio.wait_for` loses a cancellation that comes at the same moment, up to Python 3.11.)"""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


class ServerWorker:
    """Works on one server for `executor`, a servers.Executor, which has the scheduler and the books."""

    def __init__(self, executor: Any, client: Client) -> None:
        self.executor, self.client, self.name = executor, client, client.url
        self.prompts: dict[str, ServerJob] = {}  # by prompt
        self._poke = asyncio.Event()
        self._last_message: dict[str, float] = {}

    async def rejoin(self) -> list[ServerJob]:
        """Joins the run. What an earlier one left here is taken up again where it is still wanted, and taken back where not."""
        scheduler, run_log = self.executor.scheduler, self.executor.run_log
        running, pending = await self.client.queue_contents()
        self.prompts.clear()
        scheduler.join(self.name)
        left = {prompt: entry for (where, prompt), entry in run_log.journal.prompts.items() if where == self.name}
        obsolete, adopted = [], []
        for prompt, (name, fingerprint) in left.items():
            job, there = self.executor.jobs.get(name), prompt in running or prompt in pending
            is_needed = job is not None and scheduler.waits(name) and fingerprint == run_log.plan.fingerprint(job)
            if is_needed and (there or await self.has_succeeded(prompt)) and scheduler.adopt(self.name, name):
                self.prompts[prompt] = ServerJob(job, prompt, ours=False, ended=not there)
                adopted.append(self.prompts[prompt])
            else:
                obsolete += [prompt] if there else []
                self.executor.note("dropped", name, where=self.name, prompt=prompt)
        if obsolete:
            await self.client.cancel(obsolete)
        return adopted

    async def has_succeeded(self, prompt: str) -> bool:
        with suppress(JobFailed):
            return await self.client.outcome(prompt) is not None
        return False

    async def work(self, adopted: list[ServerJob]) -> None:
        """Gives the server its jobs for as long as it is there. ServerLost when it is not."""
        listener = asyncio.ensure_future(self.client.listen(self.on_message))
        fetch_task: asyncio.Task | None = None
        try:
            while True:
                if fetch_task is not None and fetch_task.done():
                    fetch_task.result()
                    fetch_task = None
                server_job = adopted.pop(0) if adopted else await self.send_next()
                if server_job is None:
                    continue
                ended = await self.wait_for_end(server_job)
                if fetch_task is not None:
                    await asyncio.wait({fetch_task})
                    fetch_task.result()
                fetch_task = ended and asyncio.ensure_future(self.fetch_result(server_job, *ended))
        finally:
            tasks = [task for task in (listener, fetch_task) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send_next(self) -> ServerJob | None:
        """Sends the next job, if there is one; else waits a little for something to change."""
        job = None if self.executor.disk_is_full else self.executor.scheduler.next(self.name)
        if job is None:
            await self.executor.wait_for_change()
            return None
        self.executor.change()  # there is less to take over
        return await self.send(job)

    async def send(self, job: Job) -> ServerJob | None:
        """Puts a job on the server; None where that did not succeed, which is then seen to."""
        executor, scheduler = self.executor, self.executor.scheduler
        server_job = ServerJob(job, str(uuid.uuid4()), scheduler.workers[self.name].running[job.name])
        try:
            for path in files_of(executor.plan, job):
                server_job.file_names[path] = await self.client.upload(path)
            prompt = make_prompt(
                executor.plan, executor.workflow, job, server_job.file_names, f"dva/{Path(job.name).name}_{server_job.prompt[:8]}"
            )
            self.prompts[server_job.prompt] = server_job
            executor.run_log.journal.note(
                "sent", job.name, where=self.name, prompt=server_job.prompt, fingerprint=executor.plan.fingerprint(job)
            )
            await self.client.queue(prompt, server_job.prompt)
        except DiskError as error:
            self.prompts.pop(server_job.prompt, None)
            scheduler.give_back(self.name, job.name)
            executor.full(error)
            return None
        except UnusableServer:
            raise
        except DVAError as error:
            self.report_failure(server_job, error)
            return None
        executor.run_log.tell("begun", job=job.name, worker=self.name, encodes=server_job.encodes)
        following = scheduler.peek(self.name)
        if following is not None and following.group != job.group:
            upload = asyncio.ensure_future(self.client.upload(executor.jobs[following.name].video))
            upload.add_done_callback(lambda task: task.cancelled() or task.exception())  # whoever needs it will hear of it
        return server_job

    def on_message(self, kind: str, data: dict[str, Any]) -> None:
        """A message of the server."""
        server_job = self.prompts.get(data.get("prompt_id"))
        if server_job is None:
            return
        self._last_message[server_job.prompt] = time.monotonic()
        if kind == "progress":
            about = {"done": data["value"], "total": data["max"], "part": str(data.get("node"))}
            self.executor.run_log.tell("progress", job=server_job.job.name, worker=self.name, **about)
        elif kind in END_EVENTS or (kind == "executing" and data.get("node") is None):
            self._poke.set()

    async def wait_for_end(self, server_job: ServerJob) -> tuple[dict[str, Any], float] | None:
        """Waits for the end of a job: its outputs and seconds, None where it failed. ServerLost where the server has forgotten it."""
        began, absent = time.monotonic(), 0
        try:
            while (outputs := await self.client.outcome(server_job.prompt)) is None:
                if self._last_message.get(server_job.prompt, 0) < time.monotonic() - POLL:
                    queue = await self.client.queue_contents()
                    absent = 0 if server_job.prompt in queue[0] | queue[1] else absent + 1
                    if absent == 2:  # on its way from queue to history it is nowhere once at most
                        raise ServerLost(f"{self.name} was started anew and has forgotten its queue.")
                await wait_for_event(self._poke, POLL)
                self._poke.clear()
        except JobFailed as error:
            self.report_failure(server_job, error)
            return None
        finally:
            self._last_message.pop(server_job.prompt, None)
        server_job.ended = True
        return outputs, time.monotonic() - began

    async def fetch_result(self, server_job: ServerJob, outputs: dict[str, Any], seconds: float) -> None:
        """Fetches a result and books it; waits where the disk is full."""
        executor, job, there = self.executor, server_job.job, False
        lists = [entries for entries in outputs.get(saver_of(executor.workflow), {}).values() if isinstance(entries, list)]
        shown = next((entry for entries in lists for entry in entries if isinstance(entry, dict) and "filename" in entry), None)
        if shown is None:
            self.report_failure(server_job, JobFailed("The server says that it is done, but names no video."))
            return
        while True:
            try:
                if not there:
                    await self.client.fetch(shown, job.result)
                there = True
                executor.run_log.record_done(job, self.name, seconds, server_job.encodes, prompt=server_job.prompt)
                break
            except DiskError as error:
                executor.full(error, holds=True)
                await asyncio.sleep(DISK_POLL)
            except JobFailed as error:
                self.report_failure(server_job, error)
                return
        self.prompts.pop(server_job.prompt, None)
        executor.scheduler.finish(self.name, job.name, seconds if server_job.ours else None)
        executor.has_room()

    def report_failure(self, server_job: ServerJob, error: DVAError) -> None:
        """A job did not succeed here: it is tried once more, or reported."""
        executor, job = self.executor, server_job.job
        self.prompts.pop(server_job.prompt, None)
        executor.note("dropped", job.name, where=self.name, prompt=server_job.prompt)
        if executor.scheduler.fail(self.name, job.name):
            executor.run_log.record_retry(job, self.name, server_job.in_words(error))
        else:
            executor.give_up(job, self.name, server_job.in_words(error))
        executor.change()

    async def take_back(self) -> None:
        """Cancels what is still on the server; results that wait to be fetched are left for the next run."""
        unfinished = [server_job for server_job in self.prompts.values() if not server_job.ended]
        if not unfinished:
            return
        with suppress(ServerLost, DVAError, asyncio.TimeoutError):
            await asyncio.wait_for(self.client.cancel(server_job.prompt for server_job in unfinished), 15.0)
            for server_job in unfinished:
                self.executor.note("dropped", server_job.job.name, where=self.name, prompt=server_job.prompt)
