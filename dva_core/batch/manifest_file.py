"""Reading manifests from YAML, JSON and CSV files; errors are one sentence with the position in the file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import DVAError, MissingDependencyError, MissingFileError
from ..files import to_path
from .manifest import Manifest, Settings
from .validation import in_words

SUFFIXES = (".yaml", ".yml", ".json", ".csv", ".tsv")
LARGEST_FILE = 50_000_000  # bytes
LOOK = ("guidance", "tone", "region", "normalize")
WORDS = ("video", "edit", "person", "face", "keep")  # columns of text, in which a comma is not a decimal comma
TEXT = {"text_source": "source", "text_target": "target", "text_scale": "scale"}


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest, by its suffix YAML, JSON or CSV. DVAError if it cannot be read or is invalid."""
    path = to_path(path, "batch")
    if path.suffix.lower() not in SUFFIXES:
        raise DVAError(f"The batch {path} is in an unknown format; use a .yaml, .json or .csv file.")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DVAError(f"The batch {path} is larger than {LARGEST_FILE // 10**6} MB; name videos by patterns, or divide it.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError(f"There is no batch {path}; check the path.") from error
    except OSError as error:
        raise DVAError(f"The batch {path} cannot be read ({error.strerror}); check its permissions.") from error
    except UnicodeDecodeError as error:
        raise DVAError(f"The batch {path} is not text in UTF-8; save it in that encoding (a spreadsheet: as CSV UTF-8).") from error
    if path.suffix.lower() in (".csv", ".tsv"):
        return make_manifest(from_csv(text, path), path)
    return make_manifest(from_json(text, path) if path.suffix.lower() == ".json" else from_yaml(text, path), path)


def make_manifest(content: Any, where: str | Path = "the batch") -> Manifest:
    """Validate a manifest of plain dicts and lists; DVAError with the first error and its position in `where`."""
    if not isinstance(content, Mapping):
        raise DVAError(f"{where} is no batch; it starts with names such as videos, edits and results.")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise DVAError(f"{where}: {in_words(error)}") from error
    except RecursionError as error:
        raise DVAError(f"{where} is nested too deeply; write it flatter.") from error


def from_json(text: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise DVAError(f"{path}: {first_duplicate(names)!r} is there twice; give each name once.")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise DVAError(f"{path} is not valid JSON: {error.msg} in line {error.lineno}{advice_for(error.msg)}.") from error
    except RecursionError as error:
        raise DVAError(f"{path} is nested too deeply; write it flatter.") from error
    except DVAError:
        raise
    except ValueError as error:  # of more than 4300 digits
        raise DVAError(f"{path} is not valid JSON: a number in it is far too long.") from error


def from_yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingDependencyError("Reading YAML needs PyYAML: pip install pyyaml; or write the batch as .json or .csv.") from error

    class Loader(yaml.SafeLoader):
        """YAML loader that refuses duplicate keys and aliases, a few lines of which can expand to gigabytes."""

        def compose_node(self, parent, index):
            if self.check_event(yaml.events.AliasEvent):
                raise DVAError(f"{path}: references (*name) are not followed; write it out, or use a list of edits by name.")
            return super().compose_node(parent, index)

        def construct_mapping(self, node, deep=False):
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            if len(set(map(str, names))) < len(names):
                raise DVAError(f"{path}: {first_duplicate([str(name) for name in names])!r} is there twice; give each name once.")
            return {name: self.construct_object(value, deep=deep) for name, (_, value) in zip(names, node.value)}

    def plain_map(loader, node):
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, plain_map)
    try:
        return yaml.load(text, Loader)  # a SafeLoader: plain values only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "odd characters"
        raise DVAError(f"{path} is not valid YAML: {problem}{where}{advice_for(problem)}.") from error
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, DVAError):
            raise
        raise DVAError(f"{path} is not valid YAML: a name in it is no plain word.") from error


def advice_for(problem: str) -> str:
    """What to do about two usual problems: a Windows path in double quotes, and a pattern without quotes."""
    if "escape" in problem.lower():
        return "; in a path, write / instead of \\"
    if "alphabetic or numeric" in problem or "']'" in problem or "'}'" in problem:
        return """; put patterns in quotes, such as "*.mp4\""""
    return ""


def first_duplicate(names: list[str]) -> str:
    return next(name for i, name in enumerate(names) if name in names[:i])


def from_csv(text: str, path: Path) -> dict[str, Any]:
    """Make a manifest of a CSV file with one row per video (or pattern) and edit.

    Columns: video, edit, person, face, keep, guidance, tone, region, text_source, text_target, text_scale, those of the settings (the
    same in all rows); every other column is an attribute with its strength, empty for none.
    Cells are separated by commas, semicolons or tabs; numbers may have a decimal comma unless commas separate the cells. DVAError,
    naming the row, for anything else.
    """
    lines = text.splitlines()
    head = lines[0] if lines else ""
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DVAError(f"{path} is not valid CSV: {error}.") from error
    names = [(name or "").strip() for name in (next(csv.reader([head], delimiter=delimiter), []))]
    if "video" not in names:
        raise DVAError(f"{path} has no column video; the first row names the columns: video, edit, and attributes such as Young.")
    if len(set(names)) < len(names):
        raise DVAError(f"{path} has the column {first_duplicate(names)!r} twice; give each name once.")
    videos, settings = [], {}
    for number, row in enumerate(rows, 2):
        if None in row:
            raise DVAError(f"{path}: row {number} has more cells than there are columns.")
        cells = {(name or "").strip(): (value or "").strip() for name, value in row.items()}
        cells = {name: value if name in WORDS else as_cell(value, delimiter) for name, value in cells.items() if name and value}
        if not cells:
            continue
        file, edit_name, person, face, keep = (str(cells.pop(name, "")) for name in ("video", "edit", "person", "face", "keep"))
        for name in [name for name in cells if name in Settings.model_fields and name not in LOOK]:
            value = cells.pop(name)
            if settings.setdefault(name, value) != value:
                raise DVAError(f"{path}: row {number} has another {name} than the rows before; settings hold for all of a batch.")
        edit: dict[str, Any] = {name: as_setting(cells.pop(name)) for name in LOOK if name in cells}
        words = {TEXT[name]: cells.pop(name) for name in list(cells) if name in TEXT}
        edit |= {"text": words} if words else {}
        edit |= {"attributes": cells} if cells else {}
        video = {"face": face, "keep": keep} | ({} if face else {"person": person})
        edit |= {"person": person} if face and person else {}
        videos.append(
            {"file": file, "edits": {edit_name or usual_name(cells): edit}, **{name: value for name, value in video.items() if value}}
        )
    people = {video["person"]: video["person"] for video in videos if "person" in video}
    settings = {name: as_setting(value) for name, value in settings.items()}
    return {"videos": videos, "people": people, **({"settings": settings} if settings else {})}


def as_cell(value: str, delimiter: str) -> str:
    """Text of a cell; a decimal comma becomes a point unless commas separate the cells."""
    return value.replace(",", ".") if delimiter != "," and re.fullmatch(r"[+-]?\d+,\d+", value) else value


def as_setting(value: str) -> Any:
    """Convert the cell of a setting to its JSON value."""
    try:
        return json.loads(value.lower() if value.lower() in ("true", "false") else value)
    except (ValueError, RecursionError):
        return value


def usual_name(attributes: Mapping[str, str]) -> str:
    """Default name of the edit of a row: "Young_-0.8"."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", "_".join(f"{name}_{scale}" for name, scale in attributes.items()))[:80] or "edit"
