"""Preview Edit."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io

from dva_core.decomposition.people import one_person
from dva_core.pipeline.preview import PREVIEW_STEPS, nearest_row, stills
from dva_core.video.images import save_picture

from . import folders, status
from .image import to_image
from .schema import schema
from .types import AUTO, CATEGORY, DecompositionType, Model, frame_input, keep_input, look_inputs, look_of, one_person_input


class PreviewEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVAPreviewEdit",
            display_name="Preview Edit",
            category=CATEGORY,
            description="Shows one frame with the edits in a second or two, to try strengths before the whole video is decoded. Only "
            "that frame is computed; the video is not encoded again.",
            search_aliases=["preview", "compare", "before after", "single frame"],
            advanced=("detail", "tone", "region"),
            has_intermediate_output=True,
            inputs=[
                DecompositionType.Input("decomposition", display_name="decomposition", tooltip="The decomposition, edited or not."),
                Model.Input("model", display_name="model", tooltip="The model the video was encoded with."),
                frame_input(),
                io.Int.Input(
                    "steps",
                    default=PREVIEW_STEPS,
                    min=0,
                    max=1000,
                    display_name="steps",
                    tooltip="Diffusion steps of the preview, used if they take less work than the stored noise map; fewer are coarser. "
                    "0, or the number the video was encoded with, shows what Decode DDIM will make.",
                ),
                io.Combo.Input(
                    "detail",
                    options=["transfer", "model"],
                    default="transfer",
                    display_name="detail",
                    tooltip="As on Decode DDIM: transfer keeps the original's fine detail, model shows the decoded face itself.",
                ),
                *look_inputs(),
                keep_input(),
                one_person_input(),
            ],
            outputs=[
                io.Image.Output("after", display_name="after", tooltip="The face square of that frame with the edits."),
                io.Image.Output("before", display_name="before", tooltip="The same square as it is in the source."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        decomposition,
        model,
        frame: int,
        steps: int,
        detail: str,
        guidance: float = 0.0,
        tone: str = AUTO,
        region: str = AUTO,
        keep: torch.Tensor | None = None,
        person: str = "",
    ) -> io.NodeOutput:
        decomposition = one_person(decomposition, person, "A preview")
        row = nearest_row(decomposition, frame)
        progress = status.NodeProgress(2 * (steps or decomposition.info.steps))
        look = look_of(guidance, tone, region)
        still = stills([decomposition], model, row, steps=steps or None, detail=detail, progress=progress, keep=keep, **look)
        after, before = still.edited[0], still.original
        page = {"images": [for_page(after)], "dva_before": [for_page(before)]}
        return io.NodeOutput(to_image(after[None]), to_image(before[None]), ui=page)


def for_page(picture: np.ndarray) -> dict[str, str]:
    """Save a picture as a temporary file and describe it in the form in which the page requests it."""
    path = folders.temp_path(".png")
    save_picture(path, picture)
    return folders.file_reference(path)
