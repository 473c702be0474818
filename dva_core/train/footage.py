"""Footage to be prepared for training: the list of videos and their names."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path

from dva_core.errors import DVAError, MissingFileError
from dva_core.video import VIDEO_SUFFIXES
from dva_core.video.images import SUFFIXES

LONGEST_NAME = 200  # bytes of a video's name; most disks take files of 255


def find_videos(sources: Sequence[Path], aligned: bool = False, earlier: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Map names to video files, folders of pictures (as frames of a video) or, with `aligned`, folders of aligned frames.

    Folders are searched recursively. Names are unique even if letter case is ignored. `earlier`: names of an earlier run and their paths,
    which keep them. DVAError where there are no videos, or a path does not exist.
    """
    places: dict[Path, str] = {}
    for source in sources:
        if not source.exists():
            raise MissingFileError(f"There is no {source}; give video files, or a folder that holds some.")
        root = source if source.is_dir() else source.parent
        paths = sorted(source.rglob("*")) if source.is_dir() else [source]
        folders = {path.parent for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()}
        videos = [] if aligned else [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES or (path == source and path.is_file())]
        for path in sorted([*folders, *videos]):
            where = path.relative_to(root) if path != root else Path(root.resolve().name or "clip")
            places.setdefault(path.resolve(), plain_name(where if path.is_dir() else where.with_suffix("")))
    if not places:
        raise DVAError(f"{', '.join(map(str, sources))} holds no videos{' of aligned frames' if aligned else ''}; name a folder that does.")
    return assign_names(places, earlier or {})


def plain_name(where: Path) -> str:
    """Make a name for the video at `where`, short enough for file names."""
    name = "_".join(where.parts).replace(".", "_").replace(" ", "_")
    data = os.fsencode(name)
    if len(data) <= LONGEST_NAME:
        return name
    return f"{data[: LONGEST_NAME - 9].decode(errors='ignore')}_{hashlib.sha256(data).hexdigest()[:8]}"


def assign_names(places: Mapping[Path, str], earlier: Mapping[str, str]) -> dict[str, Path]:
    """Map unique names to paths with plain names: names in `earlier` are kept, later duplicates are extended."""
    names_before = {source: name for name, source in earlier.items()}
    names_in_use = {fold_case(name) for name, source in earlier.items() if Path(source).exists()}
    names: dict[str, Path] = {}
    for path, plain in places.items():
        name = names_before.get(str(path))
        if name is None:
            ending = [f"{plain}_{path.suffix[1:]}"] if path.suffix and path.is_file() else []
            others = chain([plain, *ending], (f"{plain}_{number}" for number in count(2)))
            name = next(other for other in others if fold_case(other) not in names_in_use)
            names_in_use.add(fold_case(name))
        names[name] = path
    return names


def fold_case(name: str) -> str:
    """Normalise names that are one file on systems that ignore case or normalise accents."""
    return unicodedata.normalize("NFC", name).casefold()
