"""Edit Identity (Classifier)."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.edit import apply_attributes, parse_scales
from dva_core.errors import DVAError

from .types import CATEGORY, Clip, Model


class EditIdentityClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DVAEditIdentityClassifier",
            display_name="Edit Identity (Classifier)",
            category=CATEGORY,
            description="Changes attributes of the face, the same in all frames: one step of the clip's identity, or of its motion for "
            "expressions. "
            "Takes milliseconds; chain several to edit step by step.",
            inputs=[
                Clip.Input(
                    "decomposition", display_name="decomposition", tooltip="The clip taken apart, from Encode Decomposed or another edit."
                ),
                Model.Input("model", display_name="model", tooltip="The model the clip was encoded with; it brings the attributes."),
                io.String.Input(
                    "attributes",
                    default="{}",
                    multiline=True,
                    dynamic_prompts=False,
                    display_name="attributes",
                    tooltip='Names and signed strengths as JSON, such as {"Young": -0.6, "Smiling": 0.4}; usually 0.2 to 1 either way.',
                ),
                io.Boolean.Input(
                    "normalize",
                    default=True,
                    display_name="normalise",
                    tooltip="Step in the standardised identity space, as in the paper. Off: in the raw one, where strengths differ "
                    "between attributes.",
                ),
            ],
            outputs=[Clip.Output("edited", display_name="decomposition", tooltip="The clip with this edit; the one put in is unchanged.")],
        )

    @classmethod
    def validate_inputs(cls, attributes: str | None = None) -> bool | str:
        try:
            return attributes is None or isinstance(parse_scales(attributes), dict)
        except DVAError as error:
            return str(error)

    @classmethod
    def execute(cls, decomposition, model, attributes: str, normalize: bool) -> io.NodeOutput:
        return io.NodeOutput(apply_attributes(decomposition, model, parse_scales(attributes), normalize))
