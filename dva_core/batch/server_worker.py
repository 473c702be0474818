"""One server in a run: it gets jobs one after another, and results are fetched while it works on the next job."""

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
from .journal import DiskError, NameRefused
from .prompts import files_of, make_prompt, name_on_server, saver_of

POLL, DISK_POLL = 2.0, 5.0  # seconds
END_EVENTS = ("execution_error", "execution_interrupted", "execution_success")


@dataclass
class ServerJob:
    """A job on a server. `ours`: sent by this run; `ended`: only its result is left to fetch."""

    job: Job
    prompt: str
    encodes: bool = False
    ours: bool = True
    ended: bool = False
    file_names: dict[Path, str] = field(default_factory=dict)  # what the server calls its files

    def in_words(self, error: DVAError) -> str:
        """Format a message of the server, with the local names of files."""
        text = str(error)
        for path, name in self.file_names.items():
            text = re.sub(rf"\S*{re.escape(Path(name).name)}", lambda _, path=path: str(path), text)
        return text


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event with a timeout. (`asyncio.wait_for` can lose a simultaneous cancellation, up to Python 3.11.)"""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        waiting.cancel()


class ServerWorker:
    """Worker for one server; `executor`, a servers.Executor, holds scheduler and journal."""

    def __init__(self, executor: Any, client: Client) -> None:
        self.executor, self.client, self.name = executor, client, client.url
        self.prompts: dict[str, ServerJob] = {}  # by prompt
        self._poke = asyncio.Event()
        self._last_message: dict[str, float] = {}

    async def rejoin(self) -> list[ServerJob]:
        """Join the run: resume jobs that an earlier run left on the server, or cancel them if they are no longer wanted."""
        scheduler, run_log = self.executor.scheduler, self.executor.run_log
        running, pending = await self.client.queue_contents()
        self.prompts.clear()
        scheduler.join(self.name)
        previous = {prompt: entry for (where, prompt), entry in run_log.journal.prompts.items() if where == self.name}
        obsolete, adopted = [], []
        for prompt, (name, fingerprint) in previous.items():
            job, is_queued = self.executor.jobs.get(name), prompt in running or prompt in pending
            is_needed = job is not None and scheduler.waits(name) and fingerprint == run_log.plan.fingerprint(job)
            if is_needed and (is_queued or await self.has_succeeded(prompt)) and scheduler.adopt(self.name, name):
                self.prompts[prompt] = ServerJob(job, prompt, ours=False, ended=not is_queued)
                adopted.append(self.prompts[prompt])
            else:
                obsolete += [prompt] if is_queued else []
                self.executor.note("dropped", name, where=self.name, prompt=prompt)
        if obsolete:
            await self.client.cancel(obsolete)
        return adopted

    async def has_succeeded(self, prompt: str) -> bool:
        with suppress(JobFailed):
            return await self.client.outcome(prompt) is not None
        return False

    async def work(self, adopted: list[ServerJob]) -> None:
        """Send jobs until there are none. ServerLost if the server is gone."""
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
        """Send the next job, or wait briefly for a change if there is none."""
        job = None if self.executor.disk_is_full or self.executor.unheard else self.executor.scheduler.next(self.name)
        if job is None:
            await self.executor.wait_for_change()
            return None
        self.executor.change()  # fewer jobs can be taken over
        return await self.send(job)

    async def send(self, job: Job) -> ServerJob | None:
        """Queue a job on the server; None if that failed, which is handled here."""
        executor, scheduler = self.executor, self.executor.scheduler
        server_job = ServerJob(job, str(uuid.uuid4()), scheduler.workers[self.name].running[job.name])
        try:
            for path in files_of(executor.plan, job):
                server_job.file_names[path] = await self.client.upload(path)
            name = name_on_server(job, server_job.prompt)
            prompt = make_prompt(executor.plan, executor.workflow, job, server_job.file_names, name)
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
            upload.add_done_callback(lambda task: task.cancelled() or task.exception())  # the error is raised where the upload is awaited
        return server_job

    def on_message(self, kind: str, data: dict[str, Any]) -> None:
        """Handle a websocket message of the server."""
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
        """Wait for a job: its outputs and seconds, None if it failed. ServerLost if the server has lost it."""
        began, absent = time.monotonic(), 0
        try:
            while (outputs := await self.client.outcome(server_job.prompt)) is None:
                if self._last_message.get(server_job.prompt, 0) < time.monotonic() - POLL:
                    queue = await self.client.queue_contents()
                    absent = 0 if server_job.prompt in queue[0] | queue[1] else absent + 1
                    if absent == 2:  # between queue and history it is missing from both at most once
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
        """Fetch a result and record it; wait if the disk is full."""
        executor, job, arrived = self.executor, server_job.job, False
        lists = [entries for entries in outputs.get(saver_of(executor.workflow), {}).values() if isinstance(entries, list)]
        video = next((entry for entries in lists for entry in entries if isinstance(entry, dict) and "filename" in entry), None)
        if video is None:
            self.report_failure(server_job, JobFailed("The server says that it is done, but names no video."))
            return
        while True:
            try:
                if not arrived:
                    await self.client.fetch(video, job.result)
                arrived = True
                executor.run_log.record_done(job, self.name, seconds, server_job.encodes, prompt=server_job.prompt)
                break
            except DiskError as error:
                executor.full(error, holds=True)
                await asyncio.sleep(DISK_POLL)
            except (JobFailed, NameRefused) as error:
                self.report_failure(server_job, error)
                return
        self.prompts.pop(server_job.prompt, None)
        executor.scheduler.finish(self.name, job.name, seconds if server_job.ours else None)
        executor.has_room()

    def report_failure(self, server_job: ServerJob, error: DVAError) -> None:
        """Record a failure of a job here: it is retried or reported."""
        executor, job = self.executor, server_job.job
        self.prompts.pop(server_job.prompt, None)
        executor.note("dropped", job.name, where=self.name, prompt=server_job.prompt)
        if executor.scheduler.fail(self.name, job.name):
            executor.run_log.record_retry(job, self.name, server_job.in_words(error))
        else:
            executor.give_up(job, self.name, server_job.in_words(error))
        executor.change()

    async def take_back(self) -> None:
        """Cancel the jobs on the server, except finished ones whose results wait for the next run."""
        unfinished = [server_job for server_job in self.prompts.values() if not server_job.ended]
        if not unfinished:
            return
        with suppress(ServerLost, DVAError, asyncio.TimeoutError):
            await asyncio.wait_for(self.cancel(unfinished), 15.0)

    async def cancel(self, server_jobs: list[ServerJob]) -> None:
        """Cancel jobs; one that has just finished stays in the journal, for the next run to fetch."""
        await self.client.cancel(server_job.prompt for server_job in server_jobs)
        for server_job in server_jobs:
            if not await self.has_succeeded(server_job.prompt):
                self.executor.note("dropped", server_job.job.name, where=self.name, prompt=server_job.prompt)
