"""The choice of the face to follow: inputs of a node, converted to the argument of the library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from dva_core.errors import DVAError
from dva_core.faces.choice import PeopleChoice, parse_people
from dva_core.video import open_video

from . import folders
from .frames import as_uint8
from .schema import has_type

CHOSEN = "chosen"  # people by the text of the input people, or by click; as in web/encode_faces.js
FACES = ("largest", "position", "reference", "everyone", CHOSEN)


def people_or_face(people: str, face: str) -> str | PeopleChoice:
    """Parse the text of the input `people`; if it is empty, return the choice of `face`. DVAError for a text that chooses nobody."""
    if people.strip():
        return parse_people(people)
    return PeopleChoice() if face == CHOSEN else face


def face_box_inputs() -> list[io.Input]:
    """Make the input for a box around the face; empty if the host has no such type."""
    if not has_type("BoundingBox"):
        return []
    return [
        io.BoundingBox.Input(
            "face_box",
            optional=True,
            socketless=False,
            force_input=True,
            display_name="face box",
            tooltip="A box around the face to follow, in pixels of the frames, from ComfyUI's box nodes: instead of face, face x and face "
            "y.",
        )
    ]


def middle_of(box: Any, source: Path, part: dict[str, Any]) -> tuple[float, float]:
    """Compute the centre of the (first) box {"x", "y", "width", "height"}, in fractions of the frame. DVAError if it is outside."""
    while isinstance(box, (list, tuple)):
        if not box:
            raise DVAError("The face box is empty; draw one around the face, or disconnect it.")
        box = box[0]
    with open_video(source, **part) as reader:
        x = (box["x"] + box["width"] / 2) / reader.info.width
        y = (box["y"] + box["height"] / 2) / reader.info.height
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise DVAError("The middle of the face box lies outside the frames; draw it on a frame of this video.")
    return x, y


@contextmanager
def face_choice(face: str | PeopleChoice, x: float, y: float, reference: torch.Tensor | None) -> Iterator[tuple]:
    """Context manager that yields the argument `face` of `encode`; a reference picture is a temporary file during the block."""
    if isinstance(face, PeopleChoice) or face == "everyone":
        yield ("people", face if isinstance(face, PeopleChoice) else PeopleChoice(None))
        return
    if face not in FACES:
        raise DVAError(f"There is no way to choose a face called {face!r}; choose one of {', '.join(FACES)}.")
    if face != "reference":
        yield ("position", x, y) if face == "position" else (face,)
        return
    if reference is None:
        raise DVAError("To follow the face of a reference picture, connect the picture to reference face.")
    from dva_core.video.images import save_picture

    path = folders.temp_path(".png")
    try:
        save_picture(path, as_uint8(reference[0]))
        yield ("reference", path)
    finally:
        path.unlink(missing_ok=True)
