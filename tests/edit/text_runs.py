"""Searches by text on a tiny model, short enough for a test, and the decomposition they start from."""

import numpy as np
import pytest
from brightness import SIZE, Brightness
from bundles import IDENTITY, tiny_config, write_tiny

from dva_core.decomposition import Decomposition
from dva_core.edit.text import text_search
from dva_core.model.loader import load_model

from .decompositions import draw_decomposition

FRAMES, CROP, MOTION = 4, 32, 102
QUICK = {"iterations": 8, "settle": False, "images": 3}


def make_decomposition(model) -> Decomposition:
    """Of the frames 0, 1, 5 and 6 of eight; 2 to 4 have no face."""
    sizes = {"image_size": SIZE, "crop_size": CROP, "identity_dim": IDENTITY, "motion_dim": MOTION}
    info = {"model_fingerprint": model.fingerprint, "model_name": "tiny"}
    decomposition = draw_decomposition([0, 1, 5, 6], **sizes, common=10 / 3, length=8, **info)
    masks = np.zeros((FRAMES, CROP, CROP))
    masks[:, 8:24, 8:24] = 1
    decomposition.store.write("masks", 0, masks)
    decomposition.store.write("crops", 0, np.random.default_rng(1).integers(0, 256, (FRAMES, CROP, CROP, 3)))
    return decomposition


@pytest.fixture(scope="module", params=["epsilon", "v"])
def path(request, tmp_path_factory):
    config = tiny_config()
    config["diffusion"]["prediction"] = request.param
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors", config=config)


@pytest.fixture(scope="module")
def model(path):
    return load_model(path, device="cpu")


@pytest.fixture(scope="module")
def decomposition(model):
    return make_decomposition(model)


def new_search(decomposition, model, target="left bright face", source="face", **settings):
    return text_search(decomposition, model, source, target, clip_model=Brightness(), **{**QUICK, **settings})
