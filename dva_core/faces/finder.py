"""The model's own networks as the detector, landmarker and identity encoder of the face tracker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F

from ..errors import DVAError, MissingFileError
from ..hosts.results import fetch
from ..model.arrays import to_images
from ..model.loader import face_tools
from ..video.images import read_rgb
from .choice import is_people, parse_people
from .detector import FaceDetector
from .landmarker import CropLandmarker
from .select import FaceChoice, check_choice, reference_embedding
from .track import SAME_PERSON

DETECTORS = ("own", "insightface")


@dataclass(frozen=True)
class FaceFinder:
    """Networks for tracking: `detector.detect(rgb) -> list[Face]`, `landmarker(rgb, face) -> [68, 2]`, `embed(crops) -> [B, D]`."""

    detector: Any
    landmarker: Callable
    embed: Callable[[np.ndarray], np.ndarray]
    same_person: float = SAME_PERSON  # cosine of two embeddings from which on they are taken for one person

    @classmethod
    def of(cls, model, detector: str = "own") -> FaceFinder:
        """Make the finder from the model's networks, or the starter's for those that the model lacks.

        detector: "insightface" uses the detector and landmarks of that package (see faces/insightface.py). DVAError for another name,
        MissingDependencyError if the package or its weights are missing.
        """
        if detector == "insightface":
            from .insightface import InsightFace

            package = InsightFace()
            return cls(package, package.landmarks, partial(embed, model), model.config.get("same_person", SAME_PERSON))
        if detector != "own":
            raise DVAError(f"There is no detector {detector!r}; choose one of {', '.join(DETECTORS)}.")
        tools = face_tools(model)
        own = FaceDetector(tools.detector, device=lambda: tools.host.use("detector", tools.detector))

        def begin(crops: np.ndarray) -> Callable[[], np.ndarray]:
            fetched = fetch(tools.track_landmarks(to_images(crops, tools.host.device)).float(), apart=False)
            return lambda: fetched()[0]

        landmarker = CropLandmarker(lambda crops: begin(crops)(), tools.crop_size, begin if tools.host.device.type == "cuda" else None)
        return cls(own, landmarker, partial(embed, model), model.config.get("same_person", SAME_PERSON))


def embed(model, crops: np.ndarray) -> np.ndarray:
    """Compute identity vectors [B, D] of crops uint8 [B, S, S, 3], less the mean identity of the training set if the model has it.

    The vectors of a small identity network share a large common component, which would make all people similar.
    """
    z_id = model.encode_identity(to_images(crops, model.host.device)).float().cpu()
    statistics = getattr(model.attributes, "identity", None)
    if statistics is not None:
        z_id = F.normalize(z_id - statistics.mean.float().cpu(), dim=1)
    return z_id.numpy()


def parse_face(text: str) -> tuple[str, ...]:
    """Parse a face choice of the command line: "largest", "position:x,y", "reference:FILE", or people: "all", "1,3" or JSON.

    DVAError for anything else.
    """
    if is_people(text):
        return ("people", parse_people(text))
    kind, _, rest = text.partition(":")
    if kind == "largest" and not rest:
        return ("largest",)
    if kind == "position":
        try:
            x, y = (float(part) for part in rest.split(","))
        except ValueError:
            raise DVAError(
                f"The face position {rest!r} is not two numbers; write position:x,y in fractions of the frame, e.g. position:0.3,0.5."
            ) from None
        return check_choice(("position", x, y))
    if kind == "reference" and rest:
        if not Path(rest).is_file():
            raise MissingFileError(f"There is no reference picture {rest}; check the path.")
        return ("reference", rest)
    raise DVAError(f"Cannot choose a face by {text!r}; write largest, position:x,y, reference:FILE, all, or numbers such as 1,3.")


def resolve_face(face: str | FaceChoice, finder: FaceFinder) -> FaceChoice:
    """Convert to a choice of the tracker: ("reference", FILE) becomes the identity vector of the picture's face."""
    if isinstance(face, str):
        face = parse_face(face)
    if face[0] == "reference" and len(face) == 2:
        return ("reference", reference_embedding(read_rgb(face[1]), finder.detector, finder.landmarker, finder.embed), finder.embed)
    return "largest" if face[0] == "largest" else face
