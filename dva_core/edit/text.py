"""Editing by text: `apply_text` finds a direction (`text_search`) and applies it like any other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..decomposition import Decomposition
from ..decomposition.people import AnyDecomposition, Whom, one_person
from ..progress import Progress
from .curves import Scale
from .directions import Direction, apply_direction, check_scale_of
from .scope import find_region
from .text_model import DEFAULT, ImageTextModel, load_clip
from .text_search import TextSearch
from .text_settings import TextSettings

TextModel = str | ImageTextModel | None
OLDER = {"clip": "clip_model", "steps": "iterations", "checkpoint": "save_memory"}  # former names of settings


def text_search(
    decomposition: Decomposition,
    model,
    source: str = "face",
    target: str = "",
    *,
    clip_model: TextModel = None,
    weights: str | Path | None = None,
    folders: Iterable[str | Path] | None = None,
    **settings: Any,
) -> TextSearch:
    """Make a search to be started by `run`; unlike `apply_text` it can be stopped early with the best result so far.

    clip_model   the image-text model: open_clip's name for it (None: the paper's), or an ImageTextModel
    weights      its .safetensors file; None: from `folders`, see text_model.load_clip
    settings     of text_settings.TextSettings: frames, images, iterations, settle, seed, clip_weight, ...

    Raises DVAError for invalid settings, missing weights, or a decomposition of another model.
    """
    settings = {OLDER.get(name, name): value for name, value in settings.items()}
    clip_model = settings.pop("clip_model", clip_model)
    search_settings = TextSettings(source, target, **settings)
    search_settings.check()
    if clip_model is None or isinstance(clip_model, str):
        clip_model = load_clip(clip_model or DEFAULT, weights, folders)
    return TextSearch(one_person(decomposition, None, "A search by text"), model, clip_model, search_settings)


def find_text_direction(
    decomposition: Decomposition, model, source: str = "face", target: str = "", *, progress: Progress | None = None, **settings: Any
) -> Direction:
    """Find the identity direction whose scale 1 changes the face in the chosen frames from the text `source` to the text `target`.

    `settings` are those of `text_search`. `progress("text", iteration, iterations, images)` may raise to cancel; the result so far is
    then lost (`text_search` keeps it).
    """
    search = text_search(decomposition, model, source, target, **settings)
    search.run(progress)
    return search.direction()


def apply_text(
    decomposition: AnyDecomposition,
    model,
    source: str = "face",
    target: str = "",
    *,
    scale: Scale = 1.0,
    region: str | None = None,
    progress: Progress | None = None,
    person: Whom = None,
    **settings: Any,
) -> AnyDecomposition:
    """Change the face from the text `source` to the text `target` (Kim et al. 2023, sec. 3.4): z' = l2norm(z_id + scale (z - z_0)).

    scale     of the step; 1 is the step itself, a curve changes it over time
    region    the only region of the face that may change (see faces.regions), recorded with the edit; None: the whole face
    person    whom of several people to search on and edit, by number or name
    settings  those of `text_search`: clip_model, weights, folders, frames, images, iterations, settle, seed, ...

    The direction is recorded, so that repeating the edit needs no search. Raises DVAError as `text_search` does.
    """
    check_scale_of(target, scale)
    if region is not None:
        find_region(model, region)
    one = one_person(decomposition, person, "A search by text")
    direction = replace(find_text_direction(one, model, source, target, progress=progress, **settings), region=region)
    return apply_direction(decomposition, model, direction, scale, person=person)
