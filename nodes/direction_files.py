"""Save Direction, Load Direction."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.edit.directions import (
    SMALL,
    Direction,
)

from . import folders, status
from .schema import check_texts, file_name_input, schema
from .types import CATEGORY
from .types import Direction as DirectionType

KIND, USUAL_NAME = "direction", "dva/direction"


class SaveDirection(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVASaveDirection",
            display_name="Save Direction",
            category=CATEGORY,
            description="Saves a direction as a file of a few kB in the output folder, to load again or to share. It can be applied to "
            "any video made with the same identity encoder.",
            search_aliases=["slider", "share", "export"],
            inputs=[
                DirectionType.Input("direction", display_name="direction", tooltip="The direction to keep."),
                file_name_input(USUAL_NAME),
            ],
            outputs=[io.String.Output("path", display_name="path", tooltip="The file that was written.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, direction, filename_prefix: str) -> io.NodeOutput:
        path = direction.save(folders.output_path(filename_prefix, ".safetensors", USUAL_NAME))
        status.tell(cls.hidden.unique_id, f"Saved {direction.name} as {path.name}")
        return io.NodeOutput(str(path), ui={"text": [str(path)]})


class LoadDirection(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVALoadDirection",
            display_name="Load Direction",
            category=CATEGORY,
            description="Opens a direction that was saved here or made by somebody else: a small .safetensors file in the output or the "
            "input folder.",
            search_aliases=["slider", "import"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=folders.saved_files(smaller_than=SMALL),
                    display_name="file",
                    tooltip="A file that Save Direction or the command line wrote. Put one from elsewhere into the input folder.",
                ),
            ],
            outputs=[
                DirectionType.Output("direction", display_name="direction", tooltip="The direction, for Apply or Combine Directions."),
                io.String.Output("about", display_name="about", tooltip="Its name, how it was made and sensible strengths."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return check_texts(lambda name: Direction.load(folders.listed_file(name, KIND)), file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> float:
        return folders.modified_at(file, KIND)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        direction = Direction.load(folders.listed_file(file, KIND))
        status.tell(cls.hidden.unique_id, direction.about)
        return io.NodeOutput(direction, direction.about)
