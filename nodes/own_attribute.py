"""Own Attribute."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.edit.own import FEWEST, own_attribute
from dva_core.hosts import comfy as host

from .types import CATEGORY, Direction, Model
from .video import as_uint8


class OwnAttribute(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DVAOwnAttribute",
            display_name="Own Attribute",
            category=CATEGORY,
            description=f"Makes a direction of your own from pictures of faces with something and without it, at least {FEWEST} of each. "
            "The score on the node is measured on pictures that were left out.",
            inputs=[
                Model.Input("model", display_name="model", tooltip="The model whose identity (or motion) encoder looks at the pictures."),
                io.Image.Input(
                    "with_it",
                    display_name="with",
                    tooltip="Pictures of faces that have it, one face each. Vary everything else: sex, age, light, pose.",
                ),
                io.Image.Input(
                    "without", display_name="without", tooltip="Pictures of faces that do not have it, as varied and otherwise alike."
                ),
                io.String.Input(
                    "name", default="My attribute", dynamic_prompts=False, display_name="name", tooltip="What it is, for people and files."
                ),
                io.Combo.Input(
                    "space",
                    options=["identity", "motion"],
                    default="identity",
                    display_name="space",
                    tooltip="identity for what someone looks like (glasses, beard, age), motion for what a face does (a smile).",
                ),
                io.Boolean.Input(
                    "pairs",
                    default=False,
                    display_name="pairs",
                    tooltip="The pictures come in pairs: the same person with and without it, in the same order. Needs fewer pictures.",
                ),
            ],
            outputs=[
                Direction.Output("direction", display_name="direction", tooltip="The direction, to apply to a clip or to save."),
                io.Float.Output(
                    "score", display_name="score", tooltip="Share of left-out pictures that are told apart rightly; 0.5 is chance."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, with_it, without, name: str, space: str, pairs: bool) -> io.NodeOutput:
        pictures = ([as_uint8(image) for image in batch] for batch in (with_it, without))
        made = own_attribute(model, *pictures, name, space=space, pairs=pairs)
        host.tell(cls.hidden.unique_id, made.describe())
        return io.NodeOutput(made.direction, made.score)
