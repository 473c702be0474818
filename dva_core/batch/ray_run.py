"""The Ray executor: actors that hold the model. Ray places and restarts them and moves decompositions between them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DVAError, one_line
from ..files import atomic_write
from .jobs import Job, Plan
from .journal import DiskError, NameRefused, disk_errors
from .messages import flatten, missing_package
from .ray_worker import Worker
from .run import Run, Stopped, Summary, Watch
from .scheduler import Scheduler

PACKAGE = Path(__file__).resolve().parents[1]
DISK_POLL = 5.0  # seconds
LOCAL = "local"  # the address that means: this machine alone
RESTARTS, RETRIES = -1, 1  # restarts of an actor, unlimited; retries of the call in which it died


def run_on_ray(
    plan: Plan,
    address: str | None = None,
    *,
    workers: int | None = None,
    gpus: float | None = None,
    cpus: float = 1,
    patience: float = 600.0,
    redo: bool = False,
    watch: Watch | None = None,
) -> Summary:
    """Run the missing jobs of a plan with Ray, on this machine or on the cluster at `address` ("auto", "ray://host:10001", ...).

    workers   number of actors, each with a model; None: as many as the GPUs (or, without any, the CPUs) hold
    gpus      share of a GPU that each takes, such as 0.5; None: 1 where there are GPUs
    cpus      processors for each
    patience  seconds without any worker, or with a full disk, after which the run ends
    redo, watch   as of run_on_servers

    A video is encoded once; its decomposition goes through the object store, or lies in the manifest's folder `clips`. If Ray is already
    running in this process, it is used. Raises DVAError, Stopped and KeyboardInterrupt as run_on_servers.
    """
    if plan.manifest.workflow is not None:
        raise DVAError("A workflow runs on ComfyUI servers only; give the batch `settings` for Ray, or name servers.")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    folder = None if plan.manifest.clips is None else plan.place(plan.manifest.clips)
    if folder is not None and not folder.is_dir():
        raise DVAError(f"There is no folder {folder} for the decompositions; make it first, where all machines see it.")
    with Run.of(plan, watch, redo) as run:
        if run.todo:
            ours = start(ray, address)
            try:
                Cluster(run, ray, folder, workers, gpus, cpus, patience, sends=address not in (None, LOCAL)).work()
            finally:
                if ours:
                    ray.shutdown()
        return run.summary


def start(ray: Any, address: str | None) -> bool:
    """Connect to a cluster or start a local one; True if there was no connection before. DVAError if it does not answer."""
    if ray.is_initialized():
        return False
    # workers import this very package, from its folder here or sent to where they are
    same = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))}}
    shipped = {"py_modules": [str(PACKAGE)], "excludes": ["__pycache__"]}
    local = address in (None, LOCAL)
    options: dict[str, Any] = {"include_dashboard": False} if local else {}
    try:
        ray.init(None if local else address, runtime_env=same if local else shipped, log_to_driver=False, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise DVAError(f"Ray does not answer at {address or 'this machine'} ({one_line(error)}); check the address.") from error
    return True


class Cluster:
    """One run on Ray actors; the scheduler assigns their jobs."""

    def __init__(
        self,
        run: Run,
        ray: Any,
        folder: Path | None,
        workers: int | None,
        gpus: float | None,
        cpus: float,
        patience: float,
        sends: bool,
    ) -> None:
        self.run_log, self.plan, self.ray, self.folder, self.patience, self.sends = run, run.plan, ray, folder, patience, sends
        self.jobs = {job.name: job for job in run.todo}
        self.scheduler = Scheduler(run.todo, shared=True)
        self.jobs_left: dict[str, int] = {}  # jobs of each video
        for job in run.todo:
            self.jobs_left[job.group] = self.jobs_left.get(job.group, 0) + 1
        self.decompositions: dict[str, Any] = {}  # of each video: the decomposition, made or being made
        self.videos: dict[str, list] = {}  # what is sent along
        self.running: dict[Any, tuple[str, Job, float, bool]] = {}
        resources = ray.cluster_resources()
        gpus = (1.0 if resources.get("GPU") else 0.0) if gpus is None else gpus
        fits = resources.get("GPU", 0) // gpus if gpus else resources.get("CPU", 1) // max(cpus, 0.1)
        count = max(1, int(fits)) if workers is None else workers
        count = min(count, len(run.todo))
        options = {"num_gpus": gpus, "num_cpus": cpus, "max_restarts": RESTARTS, "max_task_retries": RETRIES, "max_concurrency": 2}
        actor = ray.remote(Worker).options(**options)
        settings = run.plan.settings.model_dump()
        device = None if gpus else "cpu"
        self.actors = {f"actor {n}": actor.remote(settings, device, max(1, int(cpus))) for n in range(1, count + 1)}

    def work(self) -> None:
        """Run until every job is done or has failed."""
        ready = {handle.progress.remote(): name for name, handle in self.actors.items()}  # the call returns when the model is loaded
        began = last_report = time.monotonic()
        while self.scheduler.remaining:
            self._join_ready(ready)
            for name in [name for name in self.scheduler.workers if not any(busy == name for busy, *_ in self.running.values())]:
                self.begin(name)
            if not self.running and not self.scheduler.workers and time.monotonic() - began > self.patience:
                raise Stopped(f"Ray had no worker ready within {self.patience:.0f} s; ask for fewer, or for a smaller share of a GPU.")
            if self.scheduler.workers:
                began = time.monotonic()
            ready_refs = self.ray.wait([*self.running, *ready], timeout=1.0)[0]
            for ref in ready_refs:
                if ref in self.running:
                    self.end(ref)
            if time.monotonic() - last_report >= 1.0:
                last_report = time.monotonic()
                self.tell()

    def _join_ready(self, ready: dict[Any, str]) -> None:
        """Let actors join once their model is loaded, and report those that cannot load it."""
        if not ready:
            return
        for ref in self.ray.wait(list(ready), num_returns=len(ready), timeout=0)[0]:
            name = ready.pop(ref)
            try:
                self.ray.get(ref)
            except self.ray.exceptions.RayError as error:
                self.run_log.tell("server", worker=name, state="refused", error=cause(error))
                if not ready and not self.scheduler.workers:
                    raise DVAError(f"No worker could be started: {cause(error)}") from error
                continue
            self.scheduler.join(name)
            self.run_log.tell("server", worker=name, state="up", taken_up=[])

    def begin(self, name: str) -> None:
        """Start the next job of an actor; the decomposition of its video is passed as a dependency."""
        job = self.scheduler.next(name)
        if job is None:
            return
        handle, video = self.actors[name], str(job.video)
        try:
            content = self._video_content(job)
        except OSError as error:
            self.report_failure(name, job, f"{video} cannot be read ({error.strerror}).")
            return
        encodes = job.group not in self.decompositions
        if encodes:
            folder = None if self.folder is None else str(self.folder)
            self.decompositions[job.group] = handle.encode.remote(video, job.size, content, job.face, folder)
        spec = job.spec.model_dump() | self.plan.look(job) | {"keep": job.keep and str(job.keep), "whom": job.whom}
        spec["directions"] = {str(self.plan.place(path)): scale for path, scale in spec["directions"].items()}
        ref = handle.edit.remote(self.decompositions[job.group], video, job.size, content, spec, job.result.suffix)
        self.running[ref] = (name, job, time.monotonic(), encodes)
        self.run_log.tell("begun", job=job.name, worker=name, encodes=encodes)

    def _video_content(self, job: Job) -> list:
        """Arguments with the content of the video, for workers that do not see its file; empty if they do."""
        if not self.sends:
            return []
        if job.group not in self.videos:
            self.videos[job.group] = [ObjectReader(self.ray.put(np.fromfile(job.video, np.uint8)))]
        return self.videos[job.group]

    def end(self, ref: Any) -> None:
        name, job, began, encodes = self.running.pop(ref)
        try:
            answer = self.ray.get(ref)
        except self.ray.exceptions.RayActorError as error:
            self.run_log.tally(name).lost += 1
            self.run_log.tell("server", worker=name, state="lost", error=cause(error))
            for name_lost in self.scheduler.leave(name):
                self.give_up(self.jobs[name_lost], name, "Several workers in a row were lost on it.")
            self.decompositions.pop(job.group, None)
            self.scheduler.join(name)  # Ray has restarted it
            return
        except self.ray.exceptions.RayError as error:
            answer = {"error": cause(error)}
        if "error" in answer:
            self.decompositions.pop(job.group, None)
            self.report_failure(name, job, answer["error"])
            return
        seconds = time.monotonic() - began
        try:
            self.store(job, answer["content"], lambda: self.run_log.record_done(job, name, seconds, encodes))
        except NameRefused as error:
            self.report_failure(name, job, str(error))
            return
        self.scheduler.finish(name, job.name, seconds)
        self.forget(job)

    def store(self, job: Job, content: np.ndarray, record: Callable[[], None]) -> None:
        """Write a result atomically and record it; wait while the disk is full. NameRefused, or Stopped if no room is made in time."""
        until, written, told = time.monotonic() + self.patience, False, False
        while True:
            try:
                if not written:
                    with disk_errors(job.result):
                        job.result.parent.mkdir(parents=True, exist_ok=True)
                        with atomic_write(job.result) as partial:
                            partial.write_bytes(content.data)
                written = True
                record()
                return
            except DiskError as error:
                if time.monotonic() > until:
                    raise Stopped(f"Results cannot be written to {self.plan.results}; make room there, and run it again.") from error
                if not told:
                    self.run_log.tell("disk", error=str(error))
                told = True
                time.sleep(DISK_POLL)

    def report_failure(self, name: str, job: Job, error: str) -> None:
        if self.scheduler.fail(name, job.name):
            self.run_log.record_retry(job, name, error)
        else:
            self.give_up(job, name, error)

    def give_up(self, job: Job, name: str, error: str) -> None:
        with suppress(DiskError):  # it is in the summary
            self.run_log.record_failure(job, name, error)
        self.forget(job)

    def forget(self, job: Job) -> None:
        """Drop the video and its decomposition from the object store after its last job."""
        self.jobs_left[job.group] -= 1
        if not self.jobs_left[job.group]:
            self.decompositions.pop(job.group, None)
            self.videos.pop(job.group, None)

    def tell(self) -> None:
        """Report the progress of all workers."""
        at = {name: self.actors[name].progress.remote() for name, *_ in self.running.values()}
        jobs = {name: job.name for name, job, *_ in self.running.values()}
        done = self.ray.wait(list(at.values()), num_returns=len(at), timeout=0.2)[0] if at else []
        for name, ref in at.items():
            if ref in done:
                with suppress(self.ray.exceptions.RayError):
                    about = self.ray.get(ref)
                    if about:
                        count, total = about["done"], about["total"]
                        self.run_log.tell("progress", job=jobs[name], worker=name, done=count, total=total, part=about["phase"])
        self.run_log.tell("left", jobs=self.scheduler.remaining, seconds=self.scheduler.seconds_left())


class ObjectReader:
    """Callable that reads a video from the object store on the worker."""

    def __init__(self, ref: Any) -> None:
        self.ref = ref

    def __call__(self) -> np.ndarray:
        import ray

        return ray.get(self.ref)


def cause(error: Exception) -> str:
    """Shorten the error of a worker to one line, the last of a long report."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return flatten(lines[-1] if lines else type(error).__name__)
