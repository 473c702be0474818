"""Own Attribute."""

from __future__ import annotations

import numpy as np
from comfy_api.latest import io

from dva_core.edit.own import FEWEST, own_attribute, read_folder, read_pairs
from dva_core.errors import DVAError
from dva_core.faces.regions import OFF

from . import folders, status
from .frames import as_uint8
from .schema import schema
from .types import CATEGORY, Direction, Model, region_input, region_or_none

KINDS = ("with", "without")


def pictures_of(kind: str, images, folder: str) -> list[np.ndarray]:
    """List the pictures of one kind from the batch or the folder; DVAError unless exactly one of them is given."""
    if (images is None) == (not folder.strip()):
        raise DVAError(f"Give the pictures {kind} it either as images or as a folder, one of the two.")
    return read_folder(folders.input_folder(folder)) if images is None else [as_uint8(image) for image in images]


class OwnAttribute(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVAOwnAttribute",
            display_name="Own Attribute",
            category=CATEGORY,
            description=f"Makes a direction of your own from pictures of faces with something and without it, at least {FEWEST} of each. "
            "The score on the node is measured on pictures that were left out.",
            search_aliases=["train attribute", "custom attribute", "slider", "concept", "glasses", "beard"],
            inputs=[
                Model.Input("model", display_name="model", tooltip="The model whose identity (or motion) encoder looks at the pictures."),
                io.Image.Input(
                    "with_it",
                    optional=True,
                    display_name="with",
                    tooltip="Pictures of faces that have it, one face each. Vary everything else: sex, age, light, pose.",
                ),
                io.Image.Input(
                    "without",
                    optional=True,
                    display_name="without",
                    tooltip="Pictures of faces that do not have it, as varied and otherwise alike.",
                ),
                io.String.Input(
                    "name",
                    default="My attribute",
                    dynamic_prompts=False,
                    display_name="name",
                    tooltip="Name of the direction and of its file.",
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
                    tooltip="The pictures come in pairs: the same person with and without it, in the same order, or of the same name in "
                    "two folders. Needs fewer pictures.",
                ),
                *(
                    io.String.Input(
                        f"{kind}_folder",
                        default="",
                        dynamic_prompts=False,
                        display_name=f"folder {kind}",
                        tooltip=f"Instead of pictures {kind}: the name of a folder of them in ComfyUI's input folder. Sizes may differ.",
                    )
                    for kind in KINDS
                ),
                io.Boolean.Input(
                    "shown",
                    default=True,
                    optional=True,
                    display_name="as shown",
                    tooltip="Also uses what the model's own pictures show, for a clearer edit that leaves the skin's colour alone. Turn it "
                    "off for a tan or a blush. Takes some seconds; identity only.",
                ),
                region_input(),
            ],
            outputs=[
                Direction.Output("direction", display_name="direction", tooltip="The direction, to apply or to save."),
                io.Float.Output(
                    "score", display_name="score", tooltip="Share of held-out pictures that are classified correctly; 0.5 is chance."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, with_folder: str | None = None, without_folder: str | None = None, **_) -> list[float]:
        paths = [folders.input_folder(name) for name in (with_folder, without_folder) if name and name.strip()]
        return [path.stat().st_mtime for folder in paths for path in sorted(folder.iterdir()) if path.is_file()]

    @classmethod
    def execute(
        cls,
        model,
        name: str,
        space: str,
        pairs: bool,
        with_folder: str,
        without_folder: str,
        with_it=None,
        without=None,
        shown: bool = False,  # the behaviour of older prompts, without this input
        region: str = OFF,
    ) -> io.NodeOutput:
        names = (with_folder, without_folder)
        if pairs and with_it is None and without is None and all(name.strip() for name in names):
            pictures = read_pairs(*map(folders.input_folder, names))
        else:
            pictures = [pictures_of(*pair) for pair in zip(KINDS, (with_it, without), names)]
        attribute = own_attribute(
            model, *pictures, name, space=space, pairs=pairs, shown=shown, region=region_or_none(region), progress=status.NodeProgress(1)
        )
        status.tell(cls.hidden.unique_id, attribute.describe())
        return io.NodeOutput(attribute.direction, attribute.score)
