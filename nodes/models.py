"""The models that ComfyUI lists, and their loading."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import folder_paths
from torch import nn

from dva_core.edit.attributes import Attribute, AttributeSet, entries_of
from dva_core.edit.text_model import FOLDER as CLIP_FOLDER
from dva_core.errors import DVAError
from dva_core.hosts.comfy import ComfyHost, choose_precision
from dva_core.hosts.devices import AUTO
from dva_core.model.bundle import read_header, resolve_model
from dva_core.model.loader import STARTER, load_model

logger = logging.getLogger(__name__)

MODELS = "dva"  # the folder under models/, and the key in extra_model_paths.yaml
SUFFIX = ".safetensors"


def register_models_folder() -> None:
    """Add models/dva to ComfyUI's model folders, after those of extra_model_paths.yaml."""
    folder = Path(folder_paths.models_dir) / MODELS
    folder_paths.add_model_folder_path(MODELS, str(folder))
    folder_paths.folder_names_and_paths[MODELS][1].add(SUFFIX)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("The folder %s cannot be made (%s).", folder, error.strerror)


def model_names() -> list[str]:
    """List the models: the starter of the pack and the files in the models folders."""
    others = f"{CLIP_FOLDER}{os.sep}", f"{CLIP_FOLDER}/"  # image-text models, for editing by text
    return [STARTER, *(name for name in folder_paths.get_filename_list(MODELS) if not name.startswith(others))]


def text_model_folders() -> list[str]:
    """Folders of image-text models (edit.text_model), ComfyUI's own last."""
    return folder_paths.get_folder_paths(MODELS)


def model_path(name: str) -> Path:
    """Find the file of a listed model; DVAError, with the list and the folder for models, for another name."""
    if name == STARTER:
        return resolve_model(STARTER)
    path = folder_paths.get_full_path(MODELS, name)
    if path is None:
        folders = " or ".join(folder_paths.get_folder_paths(MODELS))
        names = ", ".join(model_names())
        raise DVAError(f"There is no model {name[:100]!r}; there is {names}, and a bundle put into {folders} is listed too.")
    return Path(path)


def check_scales(scales: Mapping[str, Any]) -> None:
    """Check the scales of an edit before a prompt runs, when the model is not known yet.

    DVAError for an invalid scale, and for a name that no model here has; names are not checked if a model cannot be read.
    """
    attributes: tuple[Attribute, ...] = ()
    for name in model_names():
        try:
            attributes += entries_of(read_header(model_path(name)).config)
        except DVAError:
            attributes = tuple(Attribute(name, "identity", 0) for name in scales)
            break
    AttributeSet(attributes, {}).check(scales)


def load(name: str, precision: str = AUTO, compile: bool = False, cuda_graphs: bool = False) -> nn.Module:
    """Load the listed model `name` on the host. DVAError for an unknown name, an invalid file, or both `compile` and `cuda_graphs`."""
    host = ComfyHost(choose_precision(precision), whole=compile or cuda_graphs)
    return load_model(model_path(name), host=host, compile=compile, cuda_graphs=cuda_graphs)
