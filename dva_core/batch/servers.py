"""The server executor: ComfyUI servers that do the jobs assigned by the scheduler."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from ..errors import DVAError
from .client import Client, ServerLost, UnusableServer
from .jobs import Job, Plan
from .journal import DiskError
from .manifest import Server
from .prompts import check_for_servers, read_workflow
from .run import Run, Stopped, Summary, Watch
from .scheduler import Scheduler
from .server_worker import ServerWorker, wait_for_event
from .signals import run_until_signal

logger = logging.getLogger(__name__)

TIMEOUT, PATIENCE = 60.0, 600.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
NODES = ("DVALoadModel", "DVALoadVideo", "DVAEncodeDecomposed", "DVADecodeDDIM", "SaveVideo")


def run_on_servers(
    plan: Plan,
    servers: Sequence[Server | str] = (),
    *,
    timeout: float = TIMEOUT,
    patience: float = PATIENCE,
    redo: bool = False,
    ca: str | Path | None = None,
    watch: Watch | None = None,
) -> Summary:
    """Run the missing jobs of a plan on ComfyUI servers, `servers` or those of the manifest.

    timeout   seconds without a sign of life after which a server's jobs are given to others
    patience  seconds without any server, or with a full disk, after which the run ends
    redo      make results again that were made with earlier settings
    ca        file of certificates (PEM) that authenticate https servers
    watch     called with each event (see batch.run.Watch)

    Raises DVAError where nothing can be done at all, Stopped where the run cannot go on, KeyboardInterrupt when it is interrupted; jobs
    that wait on the servers are then cancelled. The same call resumes the run. Jobs that fail twice are in the summary.
    """
    addresses = [Server(url=server) if isinstance(server, str) else server for server in servers] or list(plan.manifest.servers)
    if not addresses:
        raise DVAError("No server was named; give --server http://127.0.0.1:8188, or `servers` in the batch.")
    if len({server.url.rstrip("/") for server in addresses}) < len(addresses):
        raise DVAError("A server is named twice; give each once.")
    if ca is not None and not Path(ca).is_file():
        raise DVAError(f"There are no certificates {ca}; check the path.")
    if plan.manifest.workflow is None:
        check_for_servers(plan)
        workflow = None
    else:
        workflow = read_workflow(plan.place(plan.manifest.workflow))
    with Run.of(plan, watch, redo) as run:
        if run.todo or run.journal.prompts:
            asyncio.run(_all(run, workflow, addresses, timeout, patience, ca))
        return run.summary


async def _all(run: Run, workflow: Any, servers: Sequence[Server], timeout: float, patience: float, ca: str | Path | None) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(server, timeout, ca)) for server in servers]
        executor = Executor(run, workflow, clients, patience)
        await run_until_signal(executor.run() if run.todo else executor.tidy())


class Executor:
    """One run on several servers: scheduler and journal hold the state, one task per server does the work."""

    def __init__(self, run: Run, workflow: Any, clients: Sequence[Client], patience: float) -> None:
        self.run_log, self.plan, self.workflow, self.patience = run, run.plan, workflow, patience
        self.jobs = {job.name: job for job in run.todo}
        self.scheduler = Scheduler(run.todo, shared=run.plan.manifest.keep_clips)
        self.servers = [ServerWorker(self, client) for client in clients]
        self.unusable: dict[str, str] = {}
        self.silent: set[str] = set()  # those that did not answer at the start
        # those that may have jobs of an earlier run and were not heard of yet: what they have is not begun elsewhere before
        self.unheard = {server.name for server in self.servers} & {where for where, _ in run.journal.prompts}
        self._kinds = set(NODES) if workflow is None else {node["class_type"] for node in workflow.values()}
        self._changed = asyncio.Event()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._alone_since: float | None = time.monotonic()  # time since which no server has been available
        self._full_since: float | None = None
        self._ever = False  # whether there has been a server
        self._waits_for_room = False  # whether a result waits for room

    async def run(self) -> None:
        """Run until every job is done or has failed; Stopped if it cannot go on."""
        tasks = [asyncio.ensure_future(self.serve(server)) for server in self.servers] + [asyncio.ensure_future(self.look_after())]
        first_error = asyncio.ensure_future(asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))
        try:
            await asyncio.wait({self._over, first_error}, return_when=asyncio.FIRST_COMPLETED)
            if self._over.done():
                self._over.result()
        finally:
            for task in (*tasks, first_error):
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(server.take_back() for server in self.servers if server.name in self.scheduler.workers))
        errors = [error for error in results if isinstance(error, Exception)]
        if errors:
            raise errors[0]

    async def tidy(self) -> None:
        """Cancel prompts left by an earlier run, when there is nothing else to do."""

        async def settle(server: ServerWorker) -> None:
            with suppress(ServerLost, DVAError, asyncio.TimeoutError):
                await asyncio.wait_for(server.rejoin(), 15.0)

        await asyncio.gather(*map(settle, self.servers))

    async def serve(self, server: ServerWorker) -> None:
        """Work with one server, reconnecting until the run ends."""
        pause = FIRST_PAUSE
        while True:
            try:
                await server.client.check(self._kinds)
                adopted = await server.rejoin()
                self.hear(server)
                self._alone_since, self._ever, pause = None, True, FIRST_PAUSE
                self.run_log.tell("server", worker=server.name, state="up", taken_up=[server_job.job.name for server_job in adopted])
                await server.work(adopted)
            except UnusableServer as error:
                self.hear(server)
                self.unusable[server.name] = str(error)
                self.run_log.tell("server", worker=server.name, state="refused", error=str(error))
                self.leave(server, lost=False)
                return
            except ServerLost as error:
                self.hear(server)
                was_up = server.name in self.scheduler.workers
                if was_up or server.name not in self.silent:  # reported once, not at every attempt
                    self.run_log.tell("server", worker=server.name, state="lost" if was_up else "away", error=str(error))
                server.client.forget()
                self.leave(server)
                self.silent.add(server.name)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    def hear(self, server: ServerWorker) -> None:
        """Note that a server has answered, or has not in its time."""
        if server.name in self.unheard:
            self.unheard.remove(server.name)
            self.change()

    def leave(self, server: ServerWorker, lost: bool = True) -> None:
        """Release the jobs of a lost server."""
        if server.name not in self.scheduler.workers:
            return
        self.run_log.tally(server.name).lost += lost
        for name in self.scheduler.leave(server.name, lost):
            self.give_up(self.jobs[name], server.name, "Server after server was lost over it.")
        if not self.scheduler.workers:
            self._alone_since = time.monotonic()
        self.change()

    async def look_after(self) -> None:
        """Monitor the run: end it if no server is left, check a full disk for room, report the time left."""
        while True:
            now = time.monotonic()
            none = len(self.unusable) if self._ever else len(self.unusable.keys() | self.silent)
            if self._alone_since is not None and (none == len(self.servers) or now - self._alone_since > self.patience):
                silent = [server.name for server in self.servers if server.name not in self.unusable]
                advice = "does not answer; start it, or name others" if len(silent) == 1 else "do not answer; start them, or name others"
                reasons = [self.unusable[server.name] for server in self.servers if server.name in self.unusable]  # as they were named
                reasons += [f"{', '.join(silent)} {advice}"] if silent else []
                self.stop(" ".join(f"{reason.rstrip('.')}." for reason in reasons))
            if self._full_since is not None:
                if now - self._full_since > self.patience:
                    self.stop(f"Results cannot be written to {self.plan.results}; make room there and run it again, the servers keep them.")
                elif not self._waits_for_room:
                    self.try_disk()
            self.run_log.tell("left", jobs=self.scheduler.remaining, seconds=self.scheduler.seconds_left())
            await asyncio.sleep(1.0)

    # -- what servers tell -------------------------------------------------------------------------------------

    def change(self) -> None:
        """Wake all tasks that wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()
        if not self.scheduler.remaining and not self._over.done():
            self._over.set_result(None)

    async def wait_for_change(self) -> None:
        await wait_for_event(self._changed, 2.0)

    def stop(self, why: str) -> None:
        if not self._over.done():
            self._over.set_exception(Stopped(why))

    def note(self, event: str, job: str, **about: Any) -> None:
        """Write to the journal; if it cannot be written, pause the run until there is room."""
        try:
            self.run_log.journal.note(event, job, **about)
        except DiskError as error:
            self.full(error)

    def give_up(self, job: Job, worker: str, error: str) -> None:
        try:
            self.run_log.record_failure(job, worker, error)
        except DiskError as full:
            self.full(full)

    @property
    def disk_is_full(self) -> bool:
        return self._full_since is not None

    def full(self, error: DiskError, holds: bool = False) -> None:
        """Pause new jobs until there is room on the disk. `holds`: a result waits to be written and will test for room."""
        self._waits_for_room = self._waits_for_room or holds
        if self._full_since is None:
            self._full_since = time.monotonic()
            self.run_log.tell("disk", error=str(error))

    def has_room(self) -> None:
        """Resume after a successful write."""
        self._full_since, self._waits_for_room = None, False
        self.change()

    def try_disk(self) -> None:
        """Test a full disk for room, if no result waits that would."""
        probe = self.plan.state / "probe"
        with suppress(OSError):
            probe.write_bytes(bytes(1 << 16))
            self.has_room()
        with suppress(OSError):
            probe.unlink(missing_ok=True)
