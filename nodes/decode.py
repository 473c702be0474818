"""Decode DDIM."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comfy_api.input_impl import VideoFromFile
from comfy_api.latest import io

from dva_core.decomposition.info import DecompositionInfo
from dva_core.decomposition.people import people_of
from dva_core.pipeline.report import describe_decode, describe_model

from . import folders, status
from .image import rows_to_show, to_image
from .schema import schema
from .types import AUTO, CATEGORY, DecompositionType, Model, keep_input, look_inputs, look_of
from .video import source_inputs, source_of


class DecodeDDIM(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVADecodeDDIM",
            display_name="Decode DDIM",
            category=CATEGORY,
            description="Decodes the edited decomposition to a video with the frames, sound, frame rate and size of the source; only the "
            "face changes. The video is streamed to a temporary file, so long ones need no more memory.",
            search_aliases=["face", "render", "decode video", "before after", "compare"],
            advanced=("detail", "batch_size", "max_images", "tone", "region"),
            has_intermediate_output=True,
            inputs=[
                DecompositionType.Input("decomposition", display_name="decomposition", tooltip="The decomposition, edited or not."),
                Model.Input("model", display_name="model", tooltip="The model the video was encoded with."),
                io.Video.Input(
                    "video",
                    optional=True,
                    display_name="source video",
                    tooltip="The source video; only needed for a loaded decomposition whose source has moved.",
                ),
                io.Combo.Input(
                    "detail",
                    options=["transfer", "model"],
                    default="transfer",
                    display_name="detail",
                    tooltip="transfer adds the change of the edit to the original frame, which keeps its fine detail; model pastes the "
                    "decoded face itself, as in the paper.",
                ),
                io.Int.Input(
                    "quality",
                    default=18,
                    min=0,
                    max=51,
                    display_name="quality",
                    tooltip="Constant rate factor of the H.264 video: 18 looks like the source; lower values look better and make larger "
                    "files; 0 is lossless.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=0,
                    min=0,
                    max=1024,
                    display_name="batch size",
                    tooltip="Frames decoded together; 0 chooses. Changes the speed, not the result; halved if memory runs out.",
                ),
                io.Int.Input(
                    "max_images",
                    default=64,
                    min=0,
                    max=10**6,
                    display_name="most images",
                    tooltip="Number of crops in the two image outputs, spread evenly over the video, to save memory; 0: all.",
                ),
                io.Boolean.Input(
                    "compare",
                    default=True,
                    display_name="compare",
                    tooltip="Also write a copy of the source for the player on this node, which shows before and after.",
                ),
                *source_inputs(),
                *look_inputs(),
                keep_input(),
            ],
            outputs=[
                io.Video.Output(
                    "result", display_name="video", tooltip="The edited video with its sound, for Save Video or any other video node."
                ),
                io.Image.Output("before", display_name="crops before", tooltip="Face crops as the model decodes them without the edits."),
                io.Image.Output("after", display_name="crops after", tooltip="The same crops as the model decodes them with the edits."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        decomposition,
        model,
        detail: str,
        quality: int,
        batch_size: int,
        max_images: int,
        compare: bool,
        video=None,
        images=None,
        audio=None,
        guidance: float = 0.0,
        tone: str = AUTO,
        region: str = AUTO,
        keep: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        from dva_core.pipeline import decode

        people = people_of(decomposition)
        rows = rows_to_show(people, max_images)
        source = source_of(decomposition, video, images, audio)
        after: dict[tuple[int, int], np.ndarray] = {}

        def gather(index: int, row: Any, original: np.ndarray, result: np.ndarray, crop: Any) -> None:
            for number, (own_row, own_crop) in enumerate(zip(row, crop) if isinstance(row, list) else [(row, crop)]):
                if own_row in rows[number]:
                    after[number, own_row] = own_crop.astype(np.float16)

        out = folders.temp_path(".mp4")
        report = decode(
            decomposition,
            model,
            out,
            detail=detail,
            quality=quality,
            video=source,
            batch_size=batch_size or None,
            progress=status.NodeProgress(decomposition.info.steps),
            watch=gather,
            **look_of(guidance, tone, region),
            keep=keep,
        )
        status.tell(cls.hidden.unique_id, f"{describe_decode(report)}. {describe_model(model)}")
        page = {"images": [folders.file_reference(out)], "animated": (True,)}
        if compare:
            player = folders.file_reference(plain_copy(source, decomposition.info))
            page["dva_before"] = [{**player, "rate": float(decomposition.info.rate)}]  # else another tile in the queue
        before = np.concatenate([one.rebuilt[own] for one, own in zip(people, rows)])
        edited = np.stack([after[number, row] for number, own in enumerate(rows) for row in own])
        return io.NodeOutput(VideoFromFile(str(out)), to_image(before), to_image(edited), ui=page)


def plain_copy(source: Path, info: DecompositionInfo) -> Path:
    """Write the source frames of a decomposition as a video without sound that browsers can play; shared by all its edits."""
    from dva_core.decomposition.info import source_frames
    from dva_core.video import VideoWriter

    part = (info.sha256, info.start, info.length, info.every, info.max_frames)
    out = folders.temp_path(".mp4", hashlib.sha256(repr(part).encode()).hexdigest())
    if out.is_file():
        return out
    progress = status.NodeProgress(1)
    with source_frames(source, info) as frames, VideoWriter(out, frames.info, quality=23, preset="ultrafast") as writer:
        for done, frame in enumerate(frames):
            progress("compare", done, info.frames)
            writer.write(frame)
    return out
