"""Save, Load, Apply and Combine Directions."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.edit.curves import strengths, with_envelope
from dva_core.edit.directions import (
    SMALL,
    Direction,
    add_directions,
    apply_direction,
    from_attribute,
    identity_std,
    orthogonal_to,
    scale_direction,
)
from dva_core.edit.scores import measure_direction, table
from dva_core.errors import DVAError

from . import folders, status
from .edit_classifier import factors, over_time_input
from .schema import need_text, schema
from .types import CATEGORY, DecompositionType, Model
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
                io.String.Input(
                    "filename_prefix",
                    default=USUAL_NAME,
                    display_name="file name",
                    tooltip="Name in the output folder, folders included; a number is added. May hold %year%, %month%, %day% and the like.",
                ),
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
                io.String.Output("about", display_name="about", tooltip="Its name, how it was made and which strengths make sense."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        try:
            need_text(file)
            return file is None or bool(Direction.load(folders.listed_file(file, KIND)))
        except DVAError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> float:
        return folders.modified_at(file, KIND)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        direction = Direction.load(folders.listed_file(file, KIND))
        status.tell(cls.hidden.unique_id, direction.about)
        return io.NodeOutput(direction, direction.about)


class ApplyDirection(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVAApplyDirection",
            display_name="Apply Direction",
            category=CATEGORY,
            description="Moves the identity or motion along a direction, the same in all frames. Takes milliseconds; outputs how the score "
            "of every attribute of the model changes.",
            search_aliases=["slider", "age", "deaging", "beard", "face edit"],
            inputs=[
                DecompositionType.Input("decomposition", display_name="decomposition", tooltip="The decomposition, edited or not."),
                Model.Input("model", display_name="model", tooltip="The model the video was encoded with."),
                DirectionType.Input("direction", display_name="direction", tooltip="What to change; made with the same identity encoder."),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    display_name="strength",
                    tooltip="How much, of either sign; usually between -1 and 1.",
                ),
                over_time_input(),
            ],
            outputs=[
                DecompositionType.Output(
                    "edited", display_name="decomposition", tooltip="The decomposition with this edit; the input is unchanged."
                ),
                io.String.Output(
                    "scores",
                    display_name="scores",
                    tooltip="How each attribute's score, by the model's classifiers, changes at the greatest strength.",
                ),
            ],
        )

    @classmethod
    def execute(cls, decomposition, model, direction, scale: float, over_time=None) -> io.NodeOutput:
        strength = scale if over_time is None else with_envelope(scale, factors(over_time, decomposition))
        result = apply_direction(decomposition, model, direction, strength)
        strongest = max(strengths(strength), key=abs)
        return io.NodeOutput(result, table(measure_direction(direction, model, decomposition.current_z_id, strongest)))


class CombineDirections(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVACombineDirections",
            display_name="Combine Directions",
            category=CATEGORY,
            description="Makes a direction of two: their sum, one times a factor, or one without its part along the other (Beard without "
            "changing Male).",
            search_aliases=["add", "mix", "orthogonal", "disentangle"],
            inputs=[
                Model.Input("model", display_name="model", tooltip="The model whose attributes measure what is independent of what."),
                DirectionType.Input("direction", display_name="direction", tooltip="The direction to change."),
                io.Combo.Input(
                    "operation",
                    options=["add", "scale", "orthogonal"],
                    display_name="operation",
                    tooltip="add: factor x direction + other factor x other. scale: factor x direction. orthogonal: factor x direction, "
                    "without its component along the other.",
                ),
                io.Float.Input(
                    "factor",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.05,
                    display_name="factor",
                    tooltip="What the direction is multiplied by.",
                ),
                io.Float.Input(
                    "other_factor",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.05,
                    display_name="other factor",
                    tooltip="What the other is multiplied by, for add only.",
                ),
                DirectionType.Input(
                    "other", optional=True, display_name="other", tooltip="The second direction, for add and orthogonal; of the same space."
                ),
                io.String.Input(
                    "attribute",
                    optional=True,
                    default="",
                    display_name="other attribute",
                    tooltip="In place of a second direction: attributes of the model by name, such as Male, or Male, Young.",
                ),
            ],
            outputs=[
                DirectionType.Output("combined", display_name="direction", tooltip="The new direction; the ones put in are unchanged.")
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, model, direction, operation: str, factor: float, other_factor: float, other=None, attribute: str = ""
    ) -> io.NodeOutput:
        others = [] if other is None else [other]
        others += [from_attribute(model, name.strip()) for name in attribute.split(",") if name.strip()]
        if operation != "scale" and not others:
            raise DVAError(f"There is nothing to {operation} with; connect another direction, or name an attribute.")
        if operation == "add":
            result = add_directions([direction, *others], [factor] + [other_factor] * len(others))
        else:
            result = direction if operation == "scale" else orthogonal_to(direction, others, identity_std(model))
            result = result if factor == 1 else scale_direction(result, factor)
        status.tell(cls.hidden.unique_id, result.name)
        return io.NodeOutput(result)
