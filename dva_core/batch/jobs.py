"""The jobs of a manifest: each edit of each video, with a unique name for its result; patterns are expanded to videos."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import DVAError, MissingFileError
from ..files import VIDEOS
from .manifest import Edit, Manifest, Settings
from .manifest import Video as Entry

LONGEST_NAME = 255  # bytes, of a file on the usual disks
STATE = ".dva-batch"  # folder in the results for the files of a run, such as its journal


@dataclass(frozen=True, slots=True)
class Job:
    """One edit of one video. `name` is the unique path of the result in the folder of results, without suffix.

    group  jobs of one group share the decomposition
    size   of the video, in bytes
    face   as of the option `--face`
    whom   whom of several people to edit, "" for all
    keep   the picture, folder or video of masks of what stays in front
    """

    name: str
    video: Path
    edit: str
    spec: Edit
    face: str
    result: Path
    group: str
    size: int
    whom: str = ""
    keep: Path | None = None


@dataclass(frozen=True)
class Plan:
    """All jobs of a manifest, grouped by video; `base` is the folder of relative paths, `results` the folder of results."""

    manifest: Manifest
    base: Path
    results: Path
    jobs: tuple[Job, ...]

    @property
    def settings(self) -> Settings:
        return self.manifest.settings or Settings()

    @property
    def state(self) -> Path:
        """Folder of the journal of a run."""
        return self.results / STATE

    def missing(self) -> Iterator[Job]:
        """Yield the jobs that have no result yet."""
        return (job for job in self.jobs if not job.result.exists())

    def place(self, path: str) -> Path:
        """Resolve a path of the manifest."""
        return self.base / Path(path).expanduser()

    def look(self, job: Job) -> dict[str, Any]:
        """Guidance, tone and region of a job: its own or those of the settings."""
        own, usual = job.spec, self.settings
        return {name: getattr(usual, name) if getattr(own, name) is None else getattr(own, name) for name in ("guidance", "tone", "region")}

    def fingerprint(self, job: Job) -> str:
        """Hash everything in the manifest that determines the result of a job."""
        parts = [job.spec.model_dump(mode="json", exclude={"face", "keep"}, by_alias=True), job.face, str(job.video), job.size]
        parts += [self.manifest.workflow, self.manifest.inputs, self.settings.model_dump(mode="json", exclude={"batch_size"})]
        parts += [{"whom": job.whom}] if job.whom else []
        parts += [{"keep": str(job.keep)}] if job.keep else []
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def make_plan(manifest: Manifest, base: str | Path = ".", results: str | Path | None = None) -> Plan:
    """Make the jobs of a manifest; `base` is the folder of its relative paths, `results` overrides its folder of results.

    DVAError if a video or another file is missing, or two results would have the same name.
    """
    base = Path(base).absolute()
    root = (Path(results) if results is not None else base / Path(manifest.results).expanduser()).absolute()
    matches = [(entry, video, name) for entry in manifest.videos for video, name in videos_of(entry, base, root)]
    if not matches:
        paths = ", ".join(entry.file for entry in manifest.videos)[:200]
        raise DVAError(f"There are no videos in {paths}; {path_advice(paths)}.")
    names = distinct_names({(video, name) for _, video, name in matches})
    suffix = (manifest.settings or Settings()).suffix
    jobs: dict[str, Job] = {}
    for entry, video, name in matches:
        size = video.stat().st_size
        for edit_name, edit in manifest.edits_of(entry):
            face, whom = manifest.face_of(entry, edit)
            person = edit.person or entry.person
            face = with_full_path(face, base, f"picture of {person}" if person else "reference picture")
            own = {"video": names[video, name], "edit": edit_name, "person": re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", person or "face")}
            place = manifest.name.format(**own)
            if any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(f"{place}{suffix}").parts):
                raise DVAError(f"The result of {video} would have too long a name, {place[:60]}...; give the video a shorter `name`.")
            keep = keep_of(edit.keep or entry.keep, name, base)
            job = Job(place, video, edit_name, edit, face, root / f"{place}{suffix}", f"{video}|{face}", size, whom, keep)
            other = jobs.setdefault(place.casefold(), job)
            if (other.video, other.spec, other.face, other.keep) != (job.video, job.spec, job.face, job.keep):
                raise DVAError(
                    f"{other.video} and {video} would share one result, {place}{suffix}; list one with a `name` of its own, or both by one "
                    "pattern with folders, such as shots/**/*.mp4."
                    if other.video != video
                    else f"Two edits of {video} would share one result, {place}{suffix}; give each edit a name of its own."
                )
    for edit_name, edit in manifest.all_edits():
        for direction in edit.directions:
            need_file(base / Path(direction).expanduser(), f"direction of the edit {edit_name}")
    if manifest.workflow is not None:
        need_file(base / Path(manifest.workflow).expanduser(), "workflow")
    first = {group: number for number, group in reversed(list(enumerate(job.group for job in jobs.values())))}
    return Plan(manifest, base, root, tuple(sorted(jobs.values(), key=lambda job: first[job.group])))


def with_full_path(face: str, base: Path, what: str) -> str:
    """Resolve the path of a reference picture; DVAError if it is missing. Other faces are returned unchanged."""
    kind, _, rest = face.partition(":")
    return f"reference:{need_file(base / Path(rest).expanduser(), what)}" if kind == "reference" else face


def keep_of(keep: str | None, video: str, base: Path) -> Path | None:
    """Resolve the masks of what stays in front of the video called `video`; DVAError if they are missing."""
    if keep is None:
        return None
    path = base / Path(keep.replace("{video}", video)).expanduser()
    if not path.exists():
        raise MissingFileError(f"The masks of what stays in front, {path}, are not there; check the path.")
    return path


def need_file(path: Path, what: str) -> Path:
    if not path.is_file():
        raise MissingFileError(f"The {what}, {path}, is not there; check the path.")
    return path


def videos_of(entry: Entry, base: Path, results: Path) -> list[tuple[Path, str]]:
    """List the files of an entry, each with its `{video}`: its path below the fixed part of the pattern, without suffix.

    Files in the folder of results, and in those of other batches below the fixed part, are not taken for videos. DVAError if a file
    named in the manifest is missing, or the folder of results holds the videos.
    """
    where = Path(entry.file).expanduser()
    place = base / where
    if not glob.has_magic(entry.file) or place.exists():
        if place.is_file():
            return [(place, entry.name or place.stem)]
        if not place.is_dir():
            raise MissingFileError(f"There is no video {place}; {path_advice(entry.file)}.")
        root, pattern = place, "*"
    else:
        root, pattern = split_pattern(base, where)
    others = results_below(root, results, entry.file)
    suffixes = VIDEOS | ({Path(pattern).suffix.lower()} - {""})  # one that is named may be any
    files = sorted(path for path in root.glob(any_case(pattern)) if is_video(path, suffixes) and not others(path.parent))
    if entry.name and len(files) > 1:
        raise DVAError(f"{entry.file} is {len(files)} videos and cannot be called {entry.name!r} as a whole; leave out the name.")
    return [(path, entry.name or path.relative_to(root).with_suffix("").as_posix()) for path in files]


def split_pattern(base: Path, pattern: Path) -> tuple[Path, str]:
    """Split a pattern into the folder that it starts from and the rest. A folder that is there is none, such as "shot [3]"."""
    root, parts = base, list(pattern.parts)
    while len(parts) > 1 and (not glob.has_magic(parts[0]) or (root / parts[0]).is_dir()):
        root /= parts.pop(0)
    return root, str(Path(*parts))


def any_case(pattern: str) -> str:
    """Let a pattern's suffix match in capitals too: cameras write .MP4, and the same batch is to be the same on all systems."""
    stem, dot, suffix = pattern.rpartition(".")
    if not dot or not re.fullmatch(r"[A-Za-z0-9]+", suffix):
        return pattern
    return f"{stem}." + "".join(f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter for letter in suffix)


def results_below(root: Path, results: Path, pattern: str) -> Callable[[Path], bool]:
    """Make a test of folders below `root`: whether they belong to the results of this or another batch. DVAError if `root` does."""
    home, out = root.resolve(), results.resolve()
    if out == home or out in home.parents:
        raise DVAError(f"The videos {pattern} lie in the folder of results, {results}; choose another folder for the results.")
    own = root / out.relative_to(home) if home in out.parents else None

    @cache
    def is_results(folder: Path) -> bool:
        return folder != root and (folder == own or (folder / STATE).is_dir() or is_results(folder.parent))

    return is_results


def path_advice(path: str) -> str:
    """What to do about a path that leads nowhere."""
    return "write / between folders" if "\\" in path and os.sep == "/" else "check the path"


def is_video(path: Path, suffixes: Set[str]) -> bool:
    return path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith(".")


def distinct_names(videos: set[tuple[Path, str]]) -> dict[tuple[Path, str], str]:
    """Name each video in the results: its own name, with the suffix appended if several would share it (x.mp4, x.mov -> x-mov).

    All videos that share a name get the suffix, so that a later one never takes the name of an earlier result.
    """
    sharing: dict[str, set[Path]] = {}
    for path, name in videos:
        sharing.setdefault(name.casefold(), set()).add(path)
    return {(path, name): name if len(sharing[name.casefold()]) == 1 else f"{name}-{path.suffix[1:]}" for path, name in videos}
