"""Apply Direction, Combine Directions."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.decomposition.people import choose, people_of
from dva_core.edit.curves import strengths, with_envelope
from dva_core.edit.directions import (
    add_directions,
    apply_direction,
    from_attribute,
    identity_std,
    orthogonal_to,
    scale_direction,
)
from dva_core.edit.scores import measure_direction, table
from dva_core.errors import DVAError

from . import status
from .edit_classifier import factors, over_time_input
from .schema import schema
from .types import CATEGORY, DecompositionType, Model, check_person, person_input
from .types import Direction as DirectionType


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
                person_input(),
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
    def validate_inputs(cls, person: str | None = None) -> bool | str:
        return check_person(person)

    @classmethod
    def execute(cls, decomposition, model, direction, scale: float, over_time=None, person: str = "") -> io.NodeOutput:
        strength = scale if over_time is None else with_envelope(scale, factors(over_time, decomposition))
        result = apply_direction(decomposition, model, direction, strength, person=person)
        strongest = max(strengths(strength), key=abs)
        people = [people_of(decomposition)[place] for place in choose(decomposition, person)]
        tables = [table(measure_direction(direction, model, one.current_z_id, strongest)) for one in people]
        if len(people) > 1:
            tables = [f"Person {one.info.who}:\n\n{scores}" for one, scores in zip(people, tables)]
        return io.NodeOutput(result, "\n\n".join(tables))


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
