"""Choose Faces."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from comfy_api.latest import io

from dva_core.faces.choice import ChosenPerson, choose_people, parse_choice
from dva_core.faces.finder import DETECTORS
from dva_core.pipeline.people import picture_path, survey_key, survey_people
from dva_core.pipeline.people_sheet import people_sheet

from . import folders, status
from .frames import pictures_hash
from .image import to_image
from .schema import check_texts, schema
from .types import CATEGORY, Model, detector_input, rate_input
from .video import as_file

logger = logging.getLogger(__name__)

FOUND = "dva.faces"  # the event that tells the page which survey a node has; also the key of the node's output for the page


class ChooseFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVAChooseFaces",
            display_name="Choose Faces",
            category=CATEGORY,
            description="Finds everybody in a video and lets you choose by click whom to edit: in all of it, or shot by shot. The people "
            "are numbered, the one seen most first, and may be given names.",
            search_aliases=["face", "select face", "pick person", "multiple faces", "face index", "people"],
            advanced=("rate", "detector"),
            inputs=[
                Model.Input("model", display_name="model", tooltip="The model from Load DVA Model; its networks find the faces."),
                io.Video.Input("video", optional=True, display_name="video", tooltip="The video, the same as for Encode Decomposed."),
                io.Image.Input(
                    "images", optional=True, display_name="images", tooltip="Frames instead of a video, the same as for Encode Decomposed."
                ),
                io.String.Input(
                    "choice",
                    default="",
                    multiline=True,
                    optional=True,
                    dynamic_prompts=False,
                    display_name="choice",
                    tooltip='Who is chosen, as JSON: {"people": [1, 3], "names": {"1": "Anna"}, "shots": {"2": [3]}}. people may be "all"; '
                    "shots chooses others in single shots. Empty: the person seen most.",
                ),
                rate_input(optional=True),
                detector_input("What finds faces: the model's own detector, or that of insightface, as on Encode Decomposed."),
            ],
            outputs=[
                io.String.Output(
                    "people", display_name="people", tooltip="Who is chosen, as JSON, for the input people of Encode Decomposed."
                ),
                io.Image.Output(
                    "sheet", display_name="sheet", tooltip="The frame with most people, with numbers, and everybody's portrait."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, choice: str | None = None) -> bool | str:
        return check_texts(parse_choice, choice)

    @classmethod
    def execute(
        cls,
        model,
        choice: str = "",
        video=None,
        images: torch.Tensor | None = None,
        rate: float = 25.0,
        detector: str = DETECTORS[0],
    ) -> io.NodeOutput:
        from dva_core.video.images import read_rgb

        request = parse_choice(choice)
        source, part = as_file(video, images, rate)
        folder, progress = folders.faces_folder(), status.NodeProgress(1)
        pictures = None if images is None else pictures_hash(images)  # with sound they are another file on Encode Decomposed
        key = survey_key(source, model, detector=detector, sha256=pictures, **part)
        survey = survey_people(source, model, **part, detector=detector, folder=folder, key=key, progress=progress)
        status.send(FOUND, {"node": cls.hidden.unique_id, "key": key})  # also where the choice is refused: it can then be made again
        chosen = choose_people(request, survey, key)
        answer = replace(request, survey=key)
        logger.info(describe(chosen, len(survey.people)))
        sheet = people_sheet(survey, read_rgb(picture_path(folder / key, survey.busiest)))
        return io.NodeOutput(answer.to_json(), to_image(sheet[None]), ui={FOUND: [{"key": key}]})


def describe(chosen: Sequence[ChosenPerson], count: int) -> str:
    """Describe in a line who is chosen, of how many."""
    names = ", ".join(one.name or str(one.number) for one in chosen)
    return f"Chosen: {names}; {count} {'person' if count == 1 else 'people'} found."
