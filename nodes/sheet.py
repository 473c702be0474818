"""Attribute Sheet."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io

from dva_core.decomposition.people import one_person
from dva_core.pipeline.preview import attribute_stills, nearest_row
from dva_core.pipeline.sheet import attribute_sheet, parse_names, parse_numbers

from . import models, status
from .image import to_image
from .schema import check_texts, schema
from .types import AUTO, CATEGORY, DecompositionType, Model, frame_input, keep_input, look_inputs, look_of, one_person_input

SCALES = "-0.8, -0.4, 0, 0.4, 0.8"


class Sheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVASheet",
            display_name="Attribute Sheet",
            category=CATEGORY,
            description="Shows attributes at several strengths on one frame, as a labelled picture to choose from. All are decoded in one "
            "batch, on top of the decomposition's edits.",
            search_aliases=["grid", "contact sheet", "xy plot", "compare", "attributes"],
            advanced=("steps", "tile", "tone", "region"),
            inputs=[
                DecompositionType.Input("decomposition", display_name="decomposition", tooltip="The decomposition, edited or not."),
                Model.Input("model", display_name="model", tooltip="The model the video was encoded with; it brings the attributes."),
                io.String.Input(
                    "attributes",
                    default="",
                    dynamic_prompts=False,
                    display_name="attributes",
                    tooltip="Which attributes, by name with commas between, such as Young, Male, Smiling; empty shows all.",
                ),
                io.String.Input(
                    "scales",
                    default=SCALES,
                    dynamic_prompts=False,
                    display_name="scales",
                    tooltip="The strengths of the columns, with commas between; 0 shows the frame as it is.",
                ),
                frame_input(),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    display_name="steps",
                    tooltip="Diffusion steps. Fewer are faster and coarser; 0 takes as many as the video was encoded with.",
                ),
                io.Int.Input(
                    "tile", default=160, min=32, max=1024, display_name="tile size", tooltip="Width and height of each face, in pixels."
                ),
                *look_inputs(),
                keep_input(),
                one_person_input(),
            ],
            outputs=[
                io.Image.Output("sheet", display_name="sheet", tooltip="The labelled picture, for Preview Image or Save Image."),
                io.Image.Output("faces", display_name="faces", tooltip="The faces alone, row by row, in one batch."),
            ],
        )

    @classmethod
    def validate_inputs(cls, scales: str | None = None, attributes: str | None = None) -> bool | str:
        return check_texts(_check, scales, attributes)

    @classmethod
    def execute(
        cls,
        decomposition,
        model,
        attributes: str,
        scales: str,
        frame: int,
        steps: int,
        tile: int,
        guidance: float = 0.0,
        tone: str = AUTO,
        region: str = AUTO,
        keep: torch.Tensor | None = None,
        person: str = "",
    ) -> io.NodeOutput:
        decomposition = one_person(decomposition, person, "A sheet")
        row, numbers = nearest_row(decomposition, frame), parse_numbers(scales)
        progress = status.NodeProgress(steps or decomposition.info.steps)
        settings = {"steps": steps or None, "progress": progress, "keep": keep, **look_of(guidance, tone, region)}
        rows = attribute_stills(decomposition, model, parse_names(attributes), numbers, row, **settings)
        sheet = attribute_sheet(rows, numbers, tile)
        faces = np.stack([picture for pictures in rows.values() for picture in pictures])
        return io.NodeOutput(to_image(sheet[None]), to_image(faces))


def _check(scales: str | None, attributes: str | None) -> None:
    if scales is not None:
        parse_numbers(scales)
    if attributes is not None:
        models.check_scales(dict.fromkeys(parse_names(attributes), 0.0))
