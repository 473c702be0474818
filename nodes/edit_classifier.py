"""Edit Identity (Classifier)."""

from __future__ import annotations

import numpy as np
from comfy_api.latest import io

from dva_core.decomposition.people import AnyDecomposition, parse_whom
from dva_core.edit import apply_attributes, parse_scales
from dva_core.edit.curves import with_envelope

from . import models
from .schema import check_texts, has_type, schema
from .types import CATEGORY, DecompositionType, Floats, Model, person_input


def over_time_input() -> io.MultiType.Input:
    """Make the input for a strength over time: a list of numbers, as ComfyUI's nodes (FLOATS) and others (FLOAT) pass it, or one number.

    If the host has curves, also one of its Curve Editor.
    """
    return io.MultiType.Input(
        "over_time",
        [io.Float, Floats, *([io.Curve] if has_type("Curve") else [])],
        optional=True,
        display_name="over time",
        tooltip="Factors of the strengths over time: a list with one number per frame, whose last number repeats; or a curve of ComfyUI's "
        "Curve Editor, from the first frame to the last.",
    )


def factors(over_time, decomposition: AnyDecomposition):
    """Convert the value of `over_time_input` to a number or to one number a frame."""
    if not hasattr(over_time, "interp_array"):
        return over_time
    return over_time.interp_array(np.linspace(0, 1, decomposition.info.frames)).tolist()


class EditIdentityClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVAEditIdentityClassifier",
            display_name="Edit Identity (Classifier)",
            category=CATEGORY,
            description="Changes attributes of the face, the same in all frames: one step of the video's identity, or of its motion for "
            "expressions. "
            "Takes milliseconds; chain several to edit step by step.",
            search_aliases=["age", "deaging", "young", "old", "beard", "glasses", "hair", "gender", "smile", "face edit"],
            advanced=("normalize",),
            inputs=[
                DecompositionType.Input(
                    "decomposition", display_name="decomposition", tooltip="The decomposition, from Encode Decomposed or another edit."
                ),
                Model.Input("model", display_name="model", tooltip="The model the video was encoded with; it brings the attributes."),
                io.String.Input(
                    "attributes",
                    default="{}",
                    multiline=True,
                    dynamic_prompts=False,
                    display_name="attributes",
                    tooltip='Names and signed strengths as JSON, such as {"Young": -0.6, "Smiling": 0.4}; usually 0.2 to 1 either way. '
                    'Over time: {"Young": {"0s": 0, "1.5s": -0.8, "curve": "smooth"}}, in seconds or frames.',
                ),
                io.Boolean.Input(
                    "normalize",
                    default=True,
                    display_name="normalise",
                    tooltip="Step in the standardised identity space, as in the paper. Off: in the raw one, where strengths differ "
                    "between attributes.",
                ),
                over_time_input(),
                person_input(),
            ],
            outputs=[
                DecompositionType.Output(
                    "edited", display_name="decomposition", tooltip="The decomposition with this edit; the input is unchanged."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, attributes: str | None = None, person: str | None = None) -> bool | str:
        return check_texts(_check, attributes, person)

    @classmethod
    def execute(cls, decomposition, model, attributes: str, normalize: bool, over_time=None, person: str = "") -> io.NodeOutput:
        scales = parse_scales(attributes)
        if over_time is not None:
            scales = {name: with_envelope(scale, factors(over_time, decomposition)) for name, scale in scales.items()}
        return io.NodeOutput(apply_attributes(decomposition, model, scales, normalize, person=person))


def _check(attributes: str | None, person: str | None) -> None:
    parse_whom(person)
    if attributes is not None:
        models.check_scales(parse_scales(attributes))
