"""ComfyUI's folders: listing, resolving and naming files in them."""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
import stat
from pathlib import Path

import folder_paths

from dva_core.errors import DVAError
from dva_core.files import atomic_write

SUFFIX = ".safetensors"
DECOMPOSITIONS = "dva_clips"
FACES = "dva_faces"
NAME_DIGITS = 32  # of a hash, in the name of a file
EXAMPLES = Path(__file__).resolve().parents[1] / "example_workflows"
EXAMPLE_VIDEOS = ("dva_example.mp4", "dva_example_two.mp4")  # made by commands.demo_video


def temp_path(suffix: str, content: str = "") -> Path:
    """Make a path in ComfyUI's temporary folder: an unused one, or the one of `content`, a hash."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"dva_{content[:NAME_DIGITS] or secrets.token_hex(8)}{suffix}"


def is_temporary(path: Path) -> bool:
    """Tell whether ComfyUI will delete the file."""
    return path.is_relative_to(Path(folder_paths.get_temp_directory()).resolve())


def scratch_folder() -> Path:
    """Folder for unnamed temporary files."""
    return temp_path("").parent


def faces_folder() -> Path:
    """Folder of the surveys of faces, a subfolder of the temporary one, whose pictures the page can request."""
    return temp_path("").parent / FACES


def decompositions_folder() -> Path:
    """Folder of decompositions: `dva_clips` of extra_model_paths.yaml, which servers may share, or one in the output folder."""
    registered = folder_paths.folder_names_and_paths.get(DECOMPOSITIONS)
    return Path(registered[0][0]) if registered and registered[0] else Path(folder_paths.get_output_directory()) / DECOMPOSITIONS


def file_size(path: Path) -> int | None:
    """Size in bytes of a file, links followed; None if it is not a file or cannot be read."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def input_videos() -> list[str]:
    """List the videos in ComfyUI's input folder and the example videos, which are copied there on use."""
    folder, _, names = next(os.walk(folder_paths.get_input_directory()), ("", [], []))
    names = [name for name in names if file_size(Path(folder, name)) is not None]
    videos = set(folder_paths.filter_files_content_types(names, ["video"]))
    return sorted(videos | {name for name in EXAMPLE_VIDEOS if (EXAMPLES / name).is_file()})


def provide_example(name: str) -> Path:
    """Copy an example video to ComfyUI's input folder, unless a file of that name exists, and return its path."""
    place = Path(folder_paths.get_input_directory()) / name
    if file_size(place) is None and (EXAMPLES / name).is_file():
        try:
            with atomic_write(place) as partial:
                shutil.copyfile(EXAMPLES / name, partial)
        except OSError as error:
            raise DVAError(f"The example video cannot be put into {place.parent} ({error.strerror}); make that folder writable.") from error
    return place


def saved_files(smaller_than: float = math.inf) -> list[str]:
    """List the .safetensors files of fewer bytes in the input and output folders, annotated as ComfyUI does.

    ComfyUI asks for lists while it loads the pack: files that cannot be examined are left out, and nothing is raised.
    """
    files = []
    for folder, mark in ((folder_paths.get_output_directory(), " [output]"), (folder_paths.get_input_directory(), "")):
        for place, _, names in os.walk(folder):  # not rglob: ComfyUI asks often, and an output folder may hold very many pictures
            for path in (Path(place, name) for name in names if name.endswith(SUFFIX)):
                size = file_size(path)
                if size is not None and size < smaller_than:
                    files.append(path.relative_to(folder).as_posix() + mark)
    return sorted(files, key=lambda name: (not name.endswith("]"), name))


def path_inside(folder: str, name: str) -> Path | None:
    """Resolve `name` below `folder`; None if it leads outside. Symbolic links inside the folder may point anywhere."""
    root = Path(os.path.normpath(Path(folder).absolute()))
    path = Path(os.path.normpath(root / name))
    return path if path != root and path.is_relative_to(root) else None


def listed_file(name: str, kind: str) -> Path:
    """Resolve an entry of `saved_files`. DVAError if the file is missing."""
    mark = re.search(r" ?\[(input|output|temp)\]$", name)
    folder = folder_paths.get_directory_by_type(mark[1] if mark else "input")
    path = provide_example(name) if name in EXAMPLE_VIDEOS else path_inside(folder, name[: mark.start()] if mark else name)
    if path is None or file_size(path) is None:
        raise DVAError(f"There is no {kind} {name[:100]!r} in {folder}; upload it, put it there, or choose another.")
    return path


def modified_at(name: str | None, kind: str) -> float:
    """Time of the last change of a listed file, for ComfyUI's cache; 0 if the name comes from another node."""
    return 0.0 if name is None else listed_file(name, kind).stat().st_mtime


def input_folder(name: str) -> Path:
    """Resolve a folder inside ComfyUI's input folder; DVAError if it is missing."""
    root = folder_paths.get_input_directory()
    path = path_inside(root, name)
    if not name.strip() or path is None or not path.is_dir():
        raise DVAError(f"There is no folder {name[:100]!r} in {root}; make it there, with the pictures in it.")
    return path


def output_path(prefix: str, suffix: str, usual: str = "dva/unnamed") -> Path:
    """Make an unused, numbered path in ComfyUI's output folder; `prefix` may contain folders and %date%-like placeholders.

    If it has no file name, the `usual` one is appended: the file would be hidden otherwise.
    """
    prefix = usual if os.path.normpath(prefix.strip()) == "." else prefix
    try:
        folder, stem, count, *_ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    except OSError as error:
        raise DVAError(f"The folder of {prefix!r} cannot be made in the output folder ({error.strerror}); choose another name.") from error
    except Exception as error:
        raise DVAError(f"The name {prefix!r} leads out of ComfyUI's output folder; choose one inside.") from error
    return Path(folder) / f"{stem}_{count:05}_{suffix}"


def file_reference(path: Path) -> dict[str, str]:
    """Describe a file in the temporary or output folder as the page requests it."""
    for kind in ("temp", "output"):
        folder = Path(folder_paths.get_directory_by_type(kind))
        if path.is_relative_to(folder):
            relative = path.relative_to(folder)
            return {"filename": relative.name, "subfolder": "" if relative.parent == Path() else relative.parent.as_posix(), "type": kind}
    raise DVAError(f"{path} lies in none of ComfyUI's folders; choose a place in its output folder.")
