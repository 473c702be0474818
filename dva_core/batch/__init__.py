"""Batches: many edits of many videos from one manifest, on ComfyUI servers or on a Ray cluster (docs/batch.md).

    plan = dva_core.batch.load_plan("jobs.yaml")
    summary = dva_core.batch.run_on_servers(plan, ["http://127.0.0.1:8188", "http://127.0.0.1:8189"])

Names are imported when first used: servers need aiohttp, Ray is needed by `run_on_ray` alone.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .messages import missing_package

if TYPE_CHECKING:
    from .jobs import Job, Plan, make_plan
    from .manifest import Edit, Manifest, Server, Settings, Video, schema
    from .manifest_file import make_manifest, read_manifest
    from .ray_run import run_on_ray
    from .report import Standing, standings, write_report
    from .run import Stopped, Summary
    from .servers import run_on_servers

_HOMES = {
    "Edit": "manifest",
    "Job": "jobs",
    "Manifest": "manifest",
    "Plan": "jobs",
    "Server": "manifest",
    "Settings": "manifest",
    "Standing": "report",
    "Stopped": "run",
    "Summary": "run",
    "Video": "manifest",
    "make_manifest": "manifest_file",
    "make_plan": "jobs",
    "read_manifest": "manifest_file",
    "run_on_ray": "ray_run",
    "run_on_servers": "servers",
    "schema": "manifest",
    "standings": "report",
    "write_report": "report",
}

__all__ = [
    "Edit",
    "Job",
    "Manifest",
    "Plan",
    "Server",
    "Settings",
    "Standing",
    "Stopped",
    "Summary",
    "Video",
    "load_plan",
    "make_manifest",
    "make_plan",
    "read_manifest",
    "run_on_ray",
    "run_on_servers",
    "schema",
    "standings",
    "write_report",
]


def load_plan(path: str | Path, results: str | Path | None = None) -> Plan:
    """Read the manifest at `path` and make a plan of it; `results` overrides its folder of results. DVAError for an invalid manifest."""
    from .jobs import make_plan
    from .manifest_file import read_manifest

    return make_plan(read_manifest(path), Path(path).absolute().parent, results)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        try:
            return getattr(import_module(f".{_HOMES[name]}", __name__), name)
        except ModuleNotFoundError as error:
            raise missing_package(error) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
