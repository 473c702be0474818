"""Edit Expression."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.decomposition.people import parse_whom
from dva_core.edit import apply_direction
from dva_core.edit.curves import parse_text, with_envelope
from dva_core.edit.expression import REGIONS, expression_direction, shown_person
from dva_core.errors import DVAError

from . import models
from .edit_classifier import factors, over_time_input
from .schema import check_texts, schema
from .types import CATEGORY, DecompositionType, Direction, Model, person_input

FROM_FRAMES = "two frames"


class EditExpression(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVAEditExpression",
            display_name="Edit Expression",
            category=CATEGORY,
            description="Changes the expression in all frames alike: one shift of the landmarks, from the model's expressions or from two "
            "frames of the video, restricted to natural motion.",
            search_aliases=["smile", "emotion", "mouth", "eyes", "brows", "blink", "wink", "frown", "expression"],
            advanced=("project",),
            inputs=[
                DecompositionType.Input("decomposition", display_name="decomposition", tooltip="The decomposition, edited or not."),
                Model.Input("model", display_name="model", tooltip="The model the video was encoded with."),
                io.String.Input(
                    "expression",
                    default="Smiling",
                    dynamic_prompts=False,
                    display_name="expression",
                    tooltip=f"An expression of the model, such as Smiling or Closed_Eyes; or {FROM_FRAMES}, which uses the frames below.",
                ),
                io.String.Input(
                    "scale",
                    default="0.5",
                    dynamic_prompts=False,
                    display_name="scale",
                    tooltip="How much, either way; usually 0.2 to 1. Or a curve over time, such as 0s:0, 1.5s:0.8, smooth.",
                ),
                io.Int.Input(
                    "neutral_frame",
                    default=0,
                    min=0,
                    max=10**6,
                    display_name="neutral frame",
                    tooltip=f"For {FROM_FRAMES}: the frame without the expression, counted from 0.",
                ),
                io.Int.Input(
                    "expressive_frame",
                    default=0,
                    min=0,
                    max=10**6,
                    display_name="expressive frame",
                    tooltip=f"For {FROM_FRAMES}: the frame with the expression, counted from 0.",
                ),
                *(
                    io.Boolean.Input(region, default=True, display_name=region, tooltip=f"Whether the {region} may move.")
                    for region in REGIONS
                ),
                io.Boolean.Input(
                    "project",
                    default=True,
                    display_name="keep natural",
                    tooltip="Keep the shift within the main ways in which landmarks of real faces move.",
                ),
                over_time_input(),
                person_input("Whose expression to change"),
            ],
            outputs=[
                DecompositionType.Output(
                    "edited", display_name="decomposition", tooltip="The decomposition with this expression; the input is unchanged."
                ),
                Direction.Output("direction", display_name="direction", tooltip="The shift itself, to save or to apply to other videos."),
            ],
        )

    @classmethod
    def validate_inputs(cls, scale: str | None = None, expression: str | None = None, person: str | None = None) -> bool | str:
        return check_texts(_check, scale, expression, person)

    @classmethod
    def execute(
        cls,
        decomposition,
        model,
        expression: str,
        scale: str,
        neutral_frame: int,
        expressive_frame: int,
        brows: bool,
        nose: bool,
        eyes: bool,
        mouth: bool,
        project: bool,
        over_time=None,
        person: str = "",
    ) -> io.NodeOutput:
        moving = [region for region, moves in zip(REGIONS, (brows, nose, eyes, mouth)) if moves]
        if not moving:
            raise DVAError("No part of the face may move; switch on brows, nose, eyes or mouth.")
        pair = expression.strip().lower() == FROM_FRAMES
        strength = parse_text(scale, "the expression")
        direction = expression_direction(
            shown_person(decomposition, person, pair),
            model,
            None if pair else expression.strip(),
            frames=(neutral_frame, expressive_frame) if pair else None,
            regions=moving if len(moving) < len(REGIONS) else (),
            project=project,
        )
        strength = strength if over_time is None else with_envelope(strength, factors(over_time, decomposition))
        return io.NodeOutput(apply_direction(decomposition, model, direction, strength, person=person), direction)


def _check(scale: str | None, expression: str | None, person: str | None) -> None:
    parse_whom(person)
    if expression is not None and not expression.strip():
        raise DVAError(f"The expression is empty; name one of the model, such as Smiling or Closed_Eyes, or write {FROM_FRAMES}.")
    strength = 0.0 if scale is None else parse_text(scale, "the expression")
    if expression is not None and expression.strip().lower() != FROM_FRAMES:
        models.check_scales({expression.strip(): strength})
