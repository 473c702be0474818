"""Load Video."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.errors import DVAError
from dva_core.video import open_video

from . import folders
from .schema import check_texts, schema
from .types import CATEGORY
from .video import VideoPart


class LoadVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVALoadVideo",
            display_name="Load Video (DVA)",
            category=CATEGORY,
            description="Takes a part of a video. Nothing is decoded here: later nodes read it frame by frame, so its length costs no "
            "memory.",
            search_aliases=["video", "load", "trim", "import"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.input_videos(),
                    upload=io.UploadType.video,
                    display_name="file",
                    tooltip="A video in ComfyUI's input folder; the button uploads one.",
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=1e6,
                    step=0.1,
                    round=False,
                    display_name="start",
                    tooltip="Seconds to skip at the beginning.",
                ),
                io.Float.Input(
                    "length",
                    default=0.0,
                    min=0.0,
                    max=1e6,
                    step=0.1,
                    round=False,
                    display_name="length",
                    tooltip="Seconds to take from there; 0 takes everything up to the end.",
                ),
                io.Int.Input(
                    "every",
                    default=1,
                    min=1,
                    max=1000,
                    display_name="every n-th frame",
                    tooltip="1 takes every frame, 2 every second one, and so on. The video keeps its duration, at a lower frame rate.",
                ),
            ],
            outputs=[
                io.Video.Output(
                    "video", display_name="video", tooltip="The chosen part, with its sound; upright even if it was stored turned."
                ),
                io.Int.Output("frame_count", display_name="frame count", tooltip="How many frames the chosen part has."),
                io.Float.Output("rate", display_name="frame rate", tooltip="Frames a second of the chosen part."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return check_texts(lambda name: folders.listed_file(name, "video"), file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **_) -> float:
        return folders.modified_at(file, "video")

    @classmethod
    def execute(cls, file: str, start: float, length: float, every: int) -> io.NodeOutput:
        video = VideoPart(folders.listed_file(file, "video"), start, length or None, every)
        with open_video(video.path, **video.part) as reader:
            count, rate = reader.count_frames(), float(reader.info.rate)
        if not count:
            raise DVAError(f"No frame of {file} lies in the part asked for; choose a start inside the video.")
        return io.NodeOutput(video, count, rate)
