"""Encode Decomposed."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from dva_core.decomposition.people import people_of
from dva_core.diffusion.schedule import LARGEST_POWER
from dva_core.diffusion.solvers import SOLVER, STEPS, VIDEO_SOLVERS, evaluations
from dva_core.faces.finder import DETECTORS
from dva_core.pipeline.report import describe_model, describe_tracks

from . import folders, status
from .cache import cached
from .face import FACES, face_box_inputs, face_choice, middle_of, people_or_face
from .frames import pictures_hash
from .image import rows_to_show, to_image, to_mask
from .schema import check_texts, schema
from .types import CATEGORY, DecompositionType, Model, detector_input, rate_input
from .video import as_file


class EncodeDecomposed(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVAEncodeDecomposed",
            display_name="Encode Decomposed",
            category=CATEGORY,
            description="Finds and tracks the face in a video and encodes it: one identity for the whole video, and motion and background "
            "for every frame. Done once; any number of edits can follow.",
            search_aliases=["face", "invert", "inversion", "encode video", "track face", "analyze face", "deaging"],
            advanced=("batch_size", "rate", "max_images", "power", "clamp", "detector", "keep"),
            inputs=[
                Model.Input("model", display_name="model", tooltip="The model from Load DVA Model."),
                io.Video.Input(
                    "video",
                    optional=True,
                    display_name="video",
                    tooltip="The video. Read frame by frame from its file; a video made of images in memory is first written to a "
                    "temporary file.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    display_name="images",
                    tooltip="Frames instead of a video. They are written to a lossless temporary file of 8 bits a channel, which lasts "
                    "until ComfyUI is closed, and which Save Decomposition keeps; the batch itself stays in memory as long as ComfyUI "
                    "keeps it.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    display_name="reference face",
                    tooltip="A picture of the person to follow; used when face is set to reference.",
                ),
                io.Int.Input(
                    "steps",
                    default=STEPS,
                    min=1,
                    max=1000,
                    display_name="steps",
                    tooltip="Diffusion steps, each way. More rebuild the face more exactly and take longer; 10 serve with angle2, 20 with "
                    "order2, 100 with ddim.",
                ),
                io.Combo.Input(
                    "solver",
                    options=list(VIDEO_SOLVERS),
                    default=SOLVER,
                    display_name="solver",
                    tooltip="How the diffusion equation is solved. ddim is the paper's. angle2 needs the fewest steps. angle2c corrects "
                    "each step: edits are a little more exact, the rebuilt face a little less. order2 needs about twice as many steps. "
                    "fixed-point inverts ddim's steps exactly, at twice the cost.",
                ),
                io.Combo.Input(
                    "face",
                    options=list(FACES),
                    default="largest",
                    display_name="face",
                    tooltip="Which face to follow: the largest, the one nearest to a position, the one most like the reference "
                    "picture, everyone, or those chosen by click on this node.",
                ),
                io.Float.Input(
                    "face_x",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    display_name="face x",
                    tooltip="For position: where the face is in the first frames, from 0 (left) to 1 (right).",
                ),
                io.Float.Input(
                    "face_y",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    display_name="face y",
                    tooltip="For position: where the face is in the first frames, from 0 (top) to 1 (bottom).",
                ),
                io.Int.Input(
                    "batch_size",
                    default=0,
                    min=0,
                    max=1024,
                    display_name="batch size",
                    tooltip="Frames computed together; 0 chooses. Changes the speed, not the result, and is halved if memory runs out.",
                ),
                io.Int.Input(
                    "max_frames",
                    default=0,
                    min=0,
                    max=10**6,
                    display_name="most frames",
                    tooltip="Stop after that many frames; 0 takes them all.",
                ),
                rate_input(),
                io.Int.Input(
                    "max_images",
                    default=64,
                    min=0,
                    max=10**6,
                    display_name="most images",
                    tooltip="How many crops and masks to give out, evenly over the video, so that a long one does not fill the memory; 0 "
                    "gives all.",
                ),
                io.Float.Input(
                    "power",
                    default=0.0,
                    min=0.0,
                    max=LARGEST_POWER,
                    step=0.1,
                    optional=True,
                    display_name="timestep power",
                    tooltip="Spacing of the timesteps: 0 is the solver's default, 1 is even, as in the paper; above 1, up to 4, they lie "
                    "closer together at low noise, where the detail of the face is made.",
                ),
                io.Boolean.Input(
                    "clamp",
                    default=True,
                    optional=True,
                    display_name="clamp",
                    tooltip="Clamps the estimated picture to its valid range in each step, as in the paper. Off: the estimate as the "
                    "network outputs it.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    display_name="audio",
                    tooltip="The sound of the images, for the decoded video; a video brings its own.",
                ),
                detector_input(
                    "What finds the face: the model's own detector, or that of insightface, a package to be installed. Its weights are "
                    "for non-commercial research only, and must be put in place by you."
                ),
                *face_box_inputs(),
                io.Boolean.Input(
                    "keep",
                    default=False,
                    optional=True,
                    display_name="keep",
                    tooltip="Saves the decomposition under a name made of its content, in output/dva_clips or the folder dva_clips of "
                    "extra_model_paths.yaml. The same video with the same settings is then loaded, on every server that shares the folder.",
                ),
                io.String.Input(
                    "people",
                    default="",
                    dynamic_prompts=False,
                    optional=True,
                    display_name="people",
                    tooltip="Instead of one face: all, or people by number, such as 1, 3, or what Choose Faces gives. Each is followed "
                    "through the whole video and can be edited differently. Person 1 is seen most, and largest. Empty: the choice of face.",
                ),
            ],
            outputs=[
                DecompositionType.Output(
                    "decomposition", display_name="decomposition", tooltip="The decomposition, for the edit nodes and Decode DDIM."
                ),
                io.Image.Output("crops", display_name="crops", tooltip="The face squares as cut from the frames."),
                io.Mask.Output("masks", display_name="masks", tooltip="Where the face is in those squares."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, people: str | None = None) -> bool | str:
        return check_texts(lambda text: people_or_face(text, ""), people)

    @classmethod
    def execute(
        cls,
        model,
        steps: int,
        solver: str,
        face: str,
        face_x: float,
        face_y: float,
        batch_size: int,
        max_frames: int,
        rate: float,
        max_images: int,
        video=None,
        images: torch.Tensor | None = None,
        reference: torch.Tensor | None = None,
        power: float = 0.0,
        clamp: bool = True,
        audio: dict[str, Any] | None = None,
        detector: str = DETECTORS[0],
        face_box: Any = None,
        keep: bool = False,
        people: str = "",
    ) -> io.NodeOutput:
        from dva_core.pipeline import encode
        from dva_core.pipeline.cache import encode_cached

        source, part = as_file(video, images, rate, audio)
        if face_box is not None:
            face, face_x, face_y = ("position", *middle_of(face_box, source, part))
        other = {} if detector == DETECTORS[0] else {"detector": detector}
        face = people_or_face(people, face)
        unused = "" if reference is None or face == "reference" else " The reference picture is not used: set face to reference."
        if unused:
            status.tell(cls.hidden.unique_id, unused.strip(), logging.WARNING)
        with face_choice(face, face_x, face_y, reference) as choice:
            place = {"folder": folders.decompositions_folder()} if keep else {"scratch": folders.scratch_folder()}
            decomposition = (encode_cached if keep else encode)(
                source,
                model,
                **place,
                steps=steps,
                solver=solver,
                face=choice,
                batch_size=batch_size or None,
                max_frames=max_frames or None,
                progress=status.NodeProgress(sum(evaluations(solver, steps))),
                power=power or None,
                clamp=clamp,
                surveys=folders.faces_folder(),
                survey_hash=pictures_hash(images) if images is not None and choice[0] == "people" else None,
                **part,
                **other,
            )
        status.tell(cls.hidden.unique_id, f"{describe_tracks(decomposition)}. {describe_model(model)}{unused}")
        everybody = people_of(decomposition)
        rows = rows_to_show(everybody, max_images)
        crops = np.concatenate([one.crops[own] for one, own in zip(everybody, rows)])
        masks = np.concatenate([one.visible_face(own) for one, own in zip(everybody, rows)])
        return io.NodeOutput(cached(decomposition), to_image(crops), to_mask(masks))
