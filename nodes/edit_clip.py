"""Edit Identity (CLIP)."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from comfy_api.latest import io

from dva_core.decomposition.people import one_person
from dva_core.edit import apply_direction
from dva_core.edit.text_model import clip_names, find_weights, import_open_clip
from dva_core.errors import DVAError
from dva_core.faces.regions import OFF

from . import folders, models, status
from .image import to_image
from .schema import check_texts, schema
from .types import CATEGORY, DecompositionType, Direction, Model, one_person_input, region_input, region_or_none


class EditIdentityCLIP(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVAEditIdentityCLIP",
            display_name="Edit Identity (CLIP)",
            category=CATEGORY,
            description="Changes the face as two texts say: searches for a step of the video's identity on one frame, then takes it in all "
            "frames. The search takes minutes and is only repeated if an input changes; for other strengths, connect the direction "
            "to Apply Direction. Cancelling saves the best step so far to a file.",
            search_aliases=["text edit", "prompt", "beard", "glasses", "hair", "face edit", "StyleCLIP"],
            advanced=("images", "settle", "clip_weight", "identity_weight", "l1_weight", "learning_rate", "save_memory"),
            inputs=[
                DecompositionType.Input(
                    "decomposition", display_name="decomposition", tooltip="The decomposition, from Encode Decomposed or another edit."
                ),
                Model.Input("model", display_name="model", tooltip="The model the video was encoded with."),
                io.String.Input(
                    "source",
                    default="face",
                    display_name="source text",
                    tooltip="Describes the face as it is now. Only the difference between both texts counts.",
                ),
                io.String.Input(
                    "target",
                    default="face with beard",
                    display_name="target text",
                    tooltip="Describes the face as it should be, worded like the source.",
                ),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    display_name="strength",
                    tooltip="Fraction of the step to take, usually 0.3 to 1.5; 1 is the whole step. To try several, use Apply Direction "
                    "instead.",
                ),
                io.Combo.Input(
                    "clip_model",
                    options=clip_names(models.text_model_folders()),
                    display_name="CLIP model",
                    tooltip="Name of the image-text model in open_clip; its weights belong in models/dva/open_clip. The paper uses "
                    "ViT-B-16 with OpenAI's weights. ComfyUI's clip_vision files do not fit.",
                ),
                io.String.Input(
                    "frames",
                    default="0",
                    display_name="frames",
                    tooltip="Numbers of the frames to search on, counted from 0, such as 0 or 0, 20, 40. One sharp frontal frame is "
                    "usually enough.",
                ),
                io.Int.Input(
                    "images",
                    default=5,
                    min=1,
                    max=50,
                    display_name="images a frame",
                    tooltip="S of the paper: number of images between the frame and its noise that are compared. The time grows with it.",
                ),
                io.Int.Input(
                    "steps",
                    default=2000,
                    min=1,
                    max=100_000,
                    display_name="iterations",
                    tooltip="Largest number of iterations; the paper always takes 2000.",
                ),
                io.Boolean.Input(
                    "settle",
                    default=True,
                    display_name="stop when settled",
                    tooltip="End when the loss no longer falls, usually after 100 to 300 iterations. Off: take all, as in the paper.",
                ),
                io.Float.Input(
                    "clip_weight",
                    default=3.0,
                    min=0.01,
                    max=100.0,
                    step=0.1,
                    display_name="text weight",
                    tooltip="Weight of the change that the texts describe.",
                ),
                io.Float.Input(
                    "identity_weight",
                    default=5.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    display_name="identity weight",
                    tooltip="Weight of keeping the person recognisable. Lower it, down to 1, for stronger edits.",
                ),
                io.Float.Input(
                    "l1_weight",
                    default=5.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    display_name="face weight",
                    tooltip="Weight of keeping the face's pixels unchanged.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.002,
                    min=1e-5,
                    max=0.1,
                    step=1e-5,
                    display_name="learning rate",
                    tooltip="Learning rate of the search; the paper's is 0.002.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**63 - 1,
                    display_name="seed",
                    tooltip="Random seed. The same seed gives the same result; another may find a different one.",
                ),
                io.Boolean.Input(
                    "save_memory",
                    default=False,
                    display_name="save memory",
                    tooltip="Compute one image at a time, and parts of it twice: slower, with a fraction of the memory. Turned on "
                    "automatically if memory runs out.",
                ),
                region_input(),
                one_person_input(),
            ],
            outputs=[
                DecompositionType.Output(
                    "edited", display_name="decomposition", tooltip="The decomposition with this edit; the input is unchanged."
                ),
                Direction.Output(
                    "direction",
                    display_name="direction",
                    tooltip="The step as a direction, to save, or to apply at other strengths and to other videos.",
                ),
                io.Image.Output("images_out", display_name="images", tooltip="The frame's intermediate images at the end of the search."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, clip_model: str | None = None) -> bool | str:
        # ComfyUI repeats an error message for every input named here, and this one is long
        def check(name: str) -> None:
            import_open_clip()
            find_weights(name, models.text_model_folders())

        return check_texts(check, clip_model)

    @classmethod
    def execute(
        cls,
        decomposition,
        model,
        source: str,
        target: str,
        scale: float,
        clip_model: str,
        frames: str,
        images: int,
        steps: int,
        settle: bool,
        clip_weight: float,
        identity_weight: float,
        l1_weight: float,
        learning_rate: float,
        seed: int,
        save_memory: bool,
        region: str = OFF,
        person: str = "",
    ) -> io.NodeOutput:
        from dva_core.edit.text import text_search

        if not source.strip():
            raise DVAError("The source text is empty; say what is to be seen now, such as face.")
        if not target.strip():
            raise DVAError("The target text is empty; say what shall be seen, such as face with beard.")
        search = text_search(
            one_person(decomposition, person, "A search by text"),
            model,
            source,
            target,
            clip_model=clip_model,
            folders=models.text_model_folders(),
            frames=parse_frames(frames),
            images=images,
            iterations=steps,
            settle=settle,
            clip_weight=clip_weight,
            identity_weight=identity_weight,
            l1_weight=l1_weight,
            learning_rate=learning_rate,
            seed=seed,
            save_memory=save_memory,
        )
        try:
            best = search.run(status.NodeProgress(1))
        except BaseException:  # cancelled or failed: the best result so far is saved, and the graph ends
            if search.best.step is not None:
                path = search.direction().save(folders.output_path("dva/unfinished", ".safetensors"))
                status.tell(
                    cls.hidden.unique_id, f"Ended after {search.iterations} iterations; the best so far is {path.name}, for Load Direction"
                )
            raise
        status.tell(cls.hidden.unique_id, f"Loss {search.history[0]:.3f} -> {best.loss:.3f} in {search.iterations} iterations")
        direction = replace(search.direction(), region=region_or_none(region))
        return io.NodeOutput(
            apply_direction(decomposition, model, direction, scale, person=person),
            direction,
            to_image(np.asarray(search.pictures, np.float32)),
        )


def parse_frames(text: str) -> list[int]:
    """Parse "0, 20 40" to [0, 20, 40]. DVAError for anything else."""
    parts = re.split(r"[\s,;]+", text.strip())
    if not all(part.isdecimal() for part in parts):
        raise DVAError(f"The frames {text[:40]!r} are no numbers of frames; write for example 0, or 0, 20, 40.")
    return [int(part) for part in parts]
