"""Switch Features."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.edit import apply_switch
from dva_core.edit.switch import LENGTHS

from .schema import schema
from .types import CATEGORY, DecompositionType, Model, person_input


class SwitchFeatures(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVASwitchFeatures",
            display_name="Switch Features",
            category=CATEGORY,
            description="Takes identity, motion or background from another decomposition, or random noise as background: the paper's "
            "check that the three are independent.",
            search_aliases=["face swap", "faceswap", "reenact", "reenactment", "swap identity", "motion transfer", "deepfake"],
            inputs=[
                DecompositionType.Input(
                    "decomposition", display_name="decomposition", tooltip="The decomposition to change; its frames and sound stay."
                ),
                Model.Input("model", display_name="model", tooltip="The model both videos were encoded with."),
                DecompositionType.Input(
                    "other",
                    optional=True,
                    display_name="other",
                    tooltip="The decomposition to take features from, with its own edits. Not needed for random noise.",
                ),
                io.Boolean.Input("identity", default=False, display_name="identity", tooltip="Take who it is from the other video."),
                io.Boolean.Input(
                    "motion", default=False, display_name="motion", tooltip="Take pose and expression of each frame from the other video."
                ),
                io.Boolean.Input(
                    "background",
                    default=False,
                    display_name="background",
                    tooltip="Take the noise maps, which hold background, hair and light, from the other video. Seen in the crops; in the "
                    "video only the face is replaced.",
                ),
                io.Boolean.Input(
                    "random_noise",
                    default=False,
                    display_name="random noise",
                    tooltip="Instead of a background: one noise map drawn at random, the same in all frames.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**63 - 1,
                    control_after_generate=True,
                    display_name="seed",
                    tooltip="Which random noise; the same seed always draws the same.",
                ),
                io.Combo.Input(
                    "length",
                    options=list(LENGTHS),
                    default=LENGTHS[0],
                    optional=True,  # as all appended inputs: older prompts lack it
                    display_name="length",
                    tooltip="How another length is matched: repeat starts again, ping-pong goes back and forth, stretch plays slower or "
                    "faster. The first two cut a longer video.",
                ),
                person_input("Whom to change"),
            ],
            outputs=[
                DecompositionType.Output("switched", display_name="decomposition", tooltip="The decomposition with the features switched.")
            ],
        )

    @classmethod
    def execute(
        cls,
        decomposition,
        model,
        identity: bool,
        motion: bool,
        background: bool,
        random_noise: bool,
        seed: int,
        length: str = LENGTHS[0],
        other=None,
        person: str = "",
    ) -> io.NodeOutput:
        result = apply_switch(
            decomposition,
            model,
            other,
            identity=identity,
            motion=motion,
            background=background,
            noise_seed=seed if random_noise else None,
            length=length,
            person=person,
        )
        return io.NodeOutput(result)
