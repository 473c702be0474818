"""The manifest of a batch: videos, edits, settings, folder of results. The JSON schema is generated from these classes.

version: 1
videos: [clips/*.mp4, {file: interviews/anna.mov, edits: [older], person: anna}]
people: {anna: "reference:anna.jpg", left: "position:0.2,0.5"}
edits:
  younger: {Young: 0.8}
  older: {attributes: {Young: {0s: 0, 1.5s: -0.8, curve: smooth}}, guidance: 2}
  glasses: {text: {source: face, target: face with glasses}}
settings: {steps: 10, quality: 18}          or: workflow: edit_by_attribute.json
results: out
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ..faces.choice import is_people
from .fields import LARGEST, Face, Guidance, Name, PathText, Person, Region, Seconds, Strength, Text, Tone, means_several

PLACEHOLDERS = ("video", "edit", "person")
USUAL_NAME = "{video}_{edit}"


class Part(BaseModel):
    """Base of the manifest's models: unknown names are errors, instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextEdit(Part):
    """An edit described by two texts; `clip_model` is the name of an image-text model in open_clip (None: the default)."""

    source: Text = "face"
    target: Text
    scale: Strength = 1.0
    clip_model: Text | None = None
    iterations: int = Field(2000, ge=1, le=100_000, serialization_alias="steps")  # the name in fingerprints of earlier versions
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def former_names(cls, value: Any) -> Any:
        """Accept `steps`, the former name of `iterations`."""
        if isinstance(value, Mapping) and "steps" in value and "iterations" not in value:
            return {"iterations" if name == "steps" else name: content for name, content in value.items()}
        return value


class Edit(Part):
    """Attributes, directions (files) and a text, each with its strength or curve.

    `person` chooses the face by its name under `people`, or, if `face` stands for several people, whom to edit. `face` and `keep`
    override those of the video.
    `inputs` are set in a workflow wherever an input has that name. A mapping of attributes only may stand for an Edit.
    """

    attributes: dict[Text, Strength] = {}
    directions: dict[Text, Strength] = {}
    text: TextEdit | None = None
    person: Person | None = None
    face: Face | None = None
    keep: PathText | None = None
    normalize: bool = True
    guidance: Guidance = None
    tone: Tone = None
    region: Region = None
    inputs: dict[Text, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def attributes_alone(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value and not any(name in cls.model_fields for name in value):
            return {"attributes": dict(value)}
        return value

    @model_validator(mode="after")
    def changes_something(self) -> Edit:
        if not (self.attributes or self.directions or self.text or self.inputs):
            raise ValueError('there is nothing to change; give for example {"Young": 0.8}')
        return self


class Video(Part):
    """A video, a folder of videos or a pattern such as clips/**/*.mp4, with its edits (None: all) and its face.

    `face` is a face or several people, as of the option `--face`, `person` a name under `people`. `keep`: masks of what stays in front, a
    picture, a folder or a video; {video} in it stands for the video's name.
    """

    file: PathText
    name: Name | None = None
    edits: list[Name] | dict[Name, Edit] | None = None
    person: Text | None = None
    face: Face | None = None
    keep: PathText | None = None


class Settings(Part):
    """Settings of encoding and decoding; None is the default of the library (`encode`, `decode`)."""

    model: Text = "starter"
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    steps: int | None = Field(None, ge=1, le=1000)
    solver: Text | None = None
    power: float | None = Field(None, gt=0, le=100)
    clamp: bool = True
    start: Seconds = 0.0
    length: Seconds | None = Field(None, gt=0)
    every: int = Field(1, ge=1, le=1000)
    max_frames: int | None = Field(None, ge=1)
    detector: Literal["own", "insightface"] = "own"
    batch_size: int | None = Field(None, ge=1, le=1024)
    detail: Literal["transfer", "model"] = "transfer"
    codec: Literal["h264", "h265", "ffv1"] = "h264"
    quality: int = Field(18, ge=0, le=51)
    compatible: bool = False
    guidance: Guidance = None
    tone: Tone = None
    region: Region = None

    @property
    def suffix(self) -> str:
        """File suffix of the results."""
        return ".mkv" if self.codec == "ffv1" else ".mp4"


class Server(Part):
    """A ComfyUI server; `headers` (such as Authorization) are sent with every request, $NAME in them is read from the environment."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+[^\s]*$")]
    headers: dict[Text, Text] = {}

    @model_validator(mode="before")
    @classmethod
    def address_alone(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value


class Manifest(Part):
    """A whole batch. Paths are relative to the file it was read from."""

    version: Literal[1] = 1
    videos: list[Video] = Field(min_length=1)
    edits: dict[Name, Edit] = {}
    people: dict[Text, Face] = {}
    settings: Settings | None = None
    workflow: PathText | None = None
    inputs: dict[Text, Any] = {}
    results: PathText = "results"
    name: Text = USUAL_NAME
    servers: list[Server] = []
    keep_clips: bool = False
    """On servers: keep decompositions in the folder that these share (see docs/batch.md)."""
    clips: PathText | None = None
    """With Ray: the folder of decompositions that all machines see."""

    @model_validator(mode="before")
    @classmethod
    def short_forms(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        value = dict(value)
        if isinstance(value.get("videos"), str):
            value["videos"] = [value["videos"]]
        if isinstance(value.get("videos"), list):
            value["videos"] = [{"file": entry} if isinstance(entry, str) else entry for entry in value["videos"]]
        return value

    @model_validator(mode="after")
    def fits_together(self) -> Manifest:
        if self.workflow is not None and self.settings is not None:
            raise ValueError("a workflow has settings of its own; give either `workflow` (with `inputs`) or `settings`")
        if self.workflow is None and self.inputs:
            raise ValueError("`inputs` belong to a workflow; name one, or give `settings`")
        if not self.edits and not all(isinstance(video.edits, dict) for video in self.videos):
            raise ValueError('there are no edits; give for example edits: {"younger": {"Young": 0.8}}')
        for video in self.videos:
            for name in video.edits if isinstance(video.edits, list) else ():
                if name not in self.edits:
                    raise ValueError(f"{video.file} asks for the edit {name!r}, which is not there; there are {', '.join(self.edits)}")
        for name, edit in self.all_edits():
            if self.workflow is None and edit.inputs:
                raise ValueError(f"the edit {name!r} has `inputs`, which belong to a workflow; name one")
            if self.workflow is not None and (edit.directions or edit.text or edit.person or edit.face or edit.keep):
                raise ValueError(f"the edit {name!r} has a text, a direction, a face or masks, which a workflow says itself; use `inputs`")
        for video in self.videos:
            self._check_people(video)
        check_pattern(self.name)
        return self

    def _check_people(self, video: Video) -> None:
        """Check the people of a video and its edits; ValueError if one does not exist, or two settings contradict each other."""
        if self.workflow is not None and (video.face or video.keep):
            raise ValueError(f"{video.file} has a face or masks, which a workflow says itself; use `inputs`")
        if video.face and video.person:
            raise ValueError(f"{video.file} has both a `face` and a `person`; give one of them")
        if video.person and video.person not in self.people:
            raise ValueError(self._nobody(video.person))
        for name, edit in self.edits_of(video):
            if edit.face and edit.person in self.people:
                raise ValueError(f"the edit {name!r} has both a `face` and {edit.person!r} of `people`; give one of them")
            face, whom = self.face_of(video, edit)
            if whom and not is_people(face):
                raise ValueError(self._nobody(whom))
            if edit.text and not whom and means_several(face):
                raise ValueError(f"the edit {name!r} searches by text for one person; give its `person`, such as 1")

    def _nobody(self, person: str) -> str:
        """The message that there is no such person."""
        advice = f"name them under `people`, such as {{{person}: reference:picture.jpg}}"
        return f"there is no person {person!r}; {advice}, or give `face: all` to choose by number"

    def face_of(self, video: Video, edit: Edit) -> tuple[str, str]:
        """The face of an edit of a video, and whom of several people to edit: "" for all."""
        if edit.person in self.people:
            return self.people[edit.person], ""
        return edit.face or video.face or self.people.get(video.person, LARGEST), edit.person or ""

    def edits_of(self, video: Video) -> list[tuple[str, Edit]]:
        """List the edits of a video: its own, those it names, or all."""
        if isinstance(video.edits, dict):
            return list(video.edits.items())
        return [(name, self.edits[name]) for name in (self.edits if video.edits is None else video.edits)]

    def all_edits(self) -> list[tuple[str, Edit]]:
        """List the named edits and those defined beside a video."""
        own = [edit for video in self.videos if isinstance(video.edits, dict) for edit in video.edits.items()]
        return [*self.edits.items(), *own]


def check_pattern(pattern: str) -> None:
    """Check the pattern of result names: {video} and {edit} are required, {person} is optional, no path outside. ValueError if not."""
    rest = re.sub("|".join(f"{{{name}}}" for name in PLACEHOLDERS), "", pattern)
    if "{video}" not in pattern or "{edit}" not in pattern or "{" in rest or "}" in rest:
        raise ValueError(f"results cannot be named {pattern!r}; use {{video}} and {{edit}}, such as {USUAL_NAME}")
    if pattern.startswith(("/", "\\")) or ".." in pattern or re.search(r'[\\:*?"<>|\x00-\x1f]', rest):
        raise ValueError(f"results cannot be named {pattern!r}; give a plain name, with / for folders")


def schema() -> dict[str, Any]:
    """Make the JSON schema of a manifest, short forms included, for completion and checks in editors."""
    result = Manifest.model_json_schema()
    path = {"type": "string", "description": "A video, a folder or a pattern."}
    alone = {**result["$defs"]["Edit"]["properties"]["attributes"], "description": "Attributes and their strengths.", "minProperties": 1}
    short = {"Video": path, "Server": {"type": "string", "description": "An address."}, "Edit": alone}

    def with_short_forms(part: Any) -> Any:
        if isinstance(part, list):
            return [with_short_forms(entry) for entry in part]
        if not isinstance(part, dict):
            return part
        if part.get("$ref", "").removeprefix("#/$defs/") in short:
            return {"anyOf": [part, short[part["$ref"].removeprefix("#/$defs/")]]}
        return {name: with_short_forms(value) for name, value in part.items()}

    result = with_short_forms(result)
    result["properties"]["videos"] = {"anyOf": [path, result["properties"]["videos"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result, "title": "A batch of edits"}
