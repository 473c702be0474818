"""The types of the connections between the nodes, and inputs that several nodes share."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from dva_core.decomposition.people import parse_whom
from dva_core.diffusion.guidance import LARGEST_WEIGHT
from dva_core.faces.finder import DETECTORS
from dva_core.faces.regions import OFF, REGIONS
from dva_core.faces.tone import TONES

from .schema import check_texts

CATEGORY = "DVA"

Model = io.Custom("DVA_MODEL")  # dva_core.model.autoencoder.DiffusionVideoAutoencoder
DecompositionType = io.Custom("DVA_DECOMPOSITION")  # dva_core.decomposition.Decomposition or People; never changed, always a new one
Floats = io.Custom("FLOATS")  # a list of numbers, as ComfyUI's own hook keyframes take it
Direction = io.Custom("DVA_DIRECTION")  # dva_core.edit.directions.Direction; never changed, always a new one


def frame_input() -> io.Int.Input:
    """Make the input for the frame of a video to show."""
    return io.Int.Input(
        "frame",
        default=0,
        min=0,
        max=10**6,
        display_name="frame",
        tooltip="Number of the frame, from 0 over the frames read; if it shows no face, the nearest frame that does.",
    )


def rate_input(*, optional: bool = False) -> io.Float.Input:
    """Make the input for the frame rate of images."""
    return io.Float.Input(
        "rate",
        default=25.0,
        min=0.01,
        max=1000.0,
        step=0.01,
        round=False,
        optional=optional,
        display_name="frame rate",
        tooltip="Frames a second of the images input; a video brings its own.",
    )


def detector_input(tooltip: str) -> io.Combo.Input:
    """Make the input for what finds faces."""
    return io.Combo.Input(
        "detector", options=list(DETECTORS), default=DETECTORS[0], optional=True, display_name="detector", tooltip=tooltip
    )


AUTO = "auto"  # of a tone or a region: as the edit means it


def look_inputs() -> list[io.Input]:
    """Make the inputs for how an edit is decoded and pasted, appended to the nodes that show one."""
    return [
        io.Float.Input(
            "guidance",
            default=0.0,
            min=0.0,
            max=LARGEST_WEIGHT,
            step=0.1,
            optional=True,
            display_name="guidance",
            tooltip="Strength of the guidance: 1 as in the paper, 2 to 3 for visible edits; more over-saturates. 0 takes the model's own. "
            "Above 1 it costs up to twice the time.",
        ),
        io.Combo.Input(
            "tone",
            options=[AUTO, *TONES],
            default=AUTO,
            optional=True,
            display_name="tone",
            tooltip="The tone of the whole face: keep removes what the edit changes evenly over the face, change leaves it. auto: decided "
            "by the edit.",
        ),
        io.Combo.Input(
            "region",
            options=[AUTO, OFF, *REGIONS],
            default=AUTO,
            optional=True,
            display_name="region",
            tooltip="The part of the face that the edit may change. auto: the attribute's own region; off: the whole face.",
        ),
    ]


def keep_input() -> io.Mask.Input:
    """Make the input for masks of what stays in front of the face; it follows `look_inputs`."""
    return io.Mask.Input(
        "keep",
        optional=True,
        display_name="keep",
        tooltip="What stays in front of the face, such as a hand: nothing inside this mask changes. One mask, or one for each frame, of "
        "the frames or of the face crops, at any resolution; those with the frame's shape are of the frame, square ones of the crops.",
    )


def person_input(what: str = "Whom to edit") -> io.String.Input:
    """Make the input that chooses among the people of a decomposition; appended to the nodes that edit or show them."""
    return io.String.Input(
        "person",
        default="",
        dynamic_prompts=False,
        optional=True,
        display_name="person",
        tooltip=f"{what} if the decomposition holds several people: numbers or names, such as 2 or Anna, 3; empty: all.",
    )


def check_person(person: Any) -> bool | str:
    """Check the text of `person_input` before a prompt runs: True, or an error message."""
    return check_texts(parse_whom, person)


def one_person_input() -> io.String.Input:
    """Make the input that chooses the one person of a decomposition to show."""
    return io.String.Input(
        "person",
        default="",
        dynamic_prompts=False,
        optional=True,
        display_name="person",
        tooltip="The person to look at if the decomposition holds several people: a number or a name, such as 2 or Anna.",
    )


def look_of(guidance: float, tone: str, region: str) -> dict[str, Any]:
    """Convert the values of `look_inputs` to arguments of `decode` and `stills`."""
    return {
        "guidance": guidance or None,
        "tone": None if tone == AUTO else tone,
        "region": None if region == AUTO else region,
    }


def region_input() -> io.Combo.Input:
    """Make the input for the region of a direction."""
    return io.Combo.Input(
        "region",
        options=[OFF, *REGIONS],
        default=OFF,
        optional=True,
        display_name="region",
        tooltip="The only part of the face that the edit changes; off: the whole face.",
    )


def region_or_none(region: str) -> str | None:
    """Convert the value of `region_input` for a direction."""
    return None if region == OFF else region
