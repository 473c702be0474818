"""Load Model."""

from __future__ import annotations

from comfy_api.latest import io

from dva_core.hosts.devices import AUTO, PRECISIONS
from dva_core.model.loader import STARTER
from dva_core.pipeline.report import describe_model

from . import models, status
from .schema import check_texts, schema
from .types import CATEGORY, Model


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="DVALoadModel",
            display_name="Load DVA Model",
            category=CATEGORY,
            description="Loads a diffusion video autoencoder with its face encoders. The starter comes with the pack and needs no "
            "download.",
            search_aliases=["checkpoint", "diffusion video autoencoder", "face model", "starter"],
            advanced=("compile", "cuda_graphs"),
            inputs=[
                io.Combo.Input(
                    "model",
                    options=models.model_names(),
                    default=STARTER,
                    display_name="model",
                    tooltip="The starter, or a bundle (.safetensors) from the folder models/dva.",
                ),
                io.Combo.Input(
                    "precision",
                    options=[AUTO, *PRECISIONS],
                    default=AUTO,
                    display_name="precision",
                    tooltip="Number format of the noise predictor. auto leaves it to ComfyUI and the device; fp32 is the most exact and "
                    "needs the most memory. If half precision overflows, those frames are computed again in float32, with a warning.",
                ),
                io.Boolean.Input(
                    "compile",
                    default=False,
                    optional=True,
                    display_name="compile",
                    tooltip="Compile the noise predictor when it is first used: minutes of waiting, then faster steps on a GPU. For long "
                    "videos. If compiling is not possible, the log says so and the model runs as usual.",
                ),
                io.Boolean.Input(
                    "cuda_graphs",
                    default=False,
                    optional=True,
                    display_name="cuda graphs",
                    tooltip="On NVIDIA cards, record each step once per batch size and replay it in one launch: a second of waiting, then "
                    "faster steps of small models such as the starter. The model stays loaded as a whole, with the memory of a batch. "
                    "Instead of compile. Where it is not possible, the log says so and the model runs as usual.",
                ),
            ],
            outputs=[Model.Output("dva_model", display_name="model", tooltip="The model, for all other DVA nodes.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        return check_texts(models.model_path, model)

    @classmethod
    def fingerprint_inputs(cls, model: str | None = None, **_) -> float:
        return 0.0 if model is None else models.model_path(model).stat().st_mtime

    @classmethod
    def execute(cls, model: str, precision: str, compile: bool = False, cuda_graphs: bool = False) -> io.NodeOutput:
        dva_model = models.load(model, precision, compile, cuda_graphs)
        status.tell(cls.hidden.unique_id, describe_model(dva_model))
        return io.NodeOutput(dva_model)
