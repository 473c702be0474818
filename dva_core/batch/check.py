"""Checks of a batch before it runs."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DVAError
from .jobs import Plan

CROP = 256  # pixels of a face crop; another model's differ, which matters for masks of square videos only


@dataclass
class Findings:
    """Result of `check_plan`: videos with their sizes, jobs done and missing, and a sentence for each expected failure."""

    videos: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    missing: int = 0
    problems: list[str] = field(default_factory=list)


def check_plan(plan: Plan) -> Findings:
    """Open the header of every video, and compare the attributes with the model's if the model is on this machine."""
    from ..video import open_video

    findings = Findings()
    jobs: dict[Path, int] = {}
    for job in plan.jobs:
        jobs[job.video] = jobs.get(job.video, 0) + 1
        is_done = job.result.exists()
        findings.done += is_done
        findings.missing += not is_done
    for video, count in jobs.items():
        about: dict[str, Any] = {"file": str(video), "edits": count, "bytes": video.stat().st_size}
        try:
            with open_video(video) as reader:
                info = reader.info
                about |= {"frames": info.frames, "rate": float(info.rate), "width": info.width, "height": info.height}
                about |= {"sound": info.has_audio}
        except DVAError as error:
            about["problem"] = str(error)
            findings.problems.append(str(error))
        findings.videos.append(about)
    findings.problems += unknown_solver(plan)
    findings.problems += unfit_masks(plan)
    findings.problems += unknown_attributes(plan)
    return findings


def unknown_solver(plan: Plan) -> list[str]:
    """A sentence about a solver that is not there, or none."""
    from ..diffusion.solvers import VIDEO_SOLVERS, find_solver

    try:
        if plan.settings.solver is not None:
            find_solver(plan.settings.solver, VIDEO_SOLVERS)
    except DVAError as error:
        return [f"settings.solver: {error}"]
    return []


def unfit_masks(plan: Plan) -> list[str]:
    """List masks that do not fit their video, one sentence each."""
    from ..pipeline.front import check_keep

    settings, sentences = plan.settings, []
    part = {name: getattr(settings, name) for name in ("start", "length", "every", "max_frames")}
    for video, keep in dict.fromkeys((job.video, job.keep) for job in plan.jobs if job.keep is not None):
        try:
            check_keep(keep, video, CROP, **part)
        except DVAError as error:
            sentences.append(f"{video}: {error}")
    return sentences


def unknown_attributes(plan: Plan) -> list[str]:
    """List attributes that the model does not have, one sentence each; empty if the model is not on this machine."""
    from ..model.bundle import find_models

    model = next((info for info in find_models() if info.name == plan.settings.model), None)
    if plan.manifest.workflow is not None or model is None or not model.attributes:
        return []
    names = {name.lower(): name for name in model.attributes}
    sentences = []
    for edit_name, edit in plan.manifest.all_edits():
        for name in edit.attributes:
            if name.lower() not in names:
                near = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
                advice = f"did you mean {' or '.join(names[n] for n in near)}?" if near else f"there are {', '.join(model.attributes)}."
                sentences.append(f"The edit {edit_name} names the attribute {name}, which {model.name} does not have; {advice}")
    return sentences
