"""The published encoders against the published keys and the reference numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import need_shared

from dva_core.errors import DVAError
from dva_core.networks import build_network
from dva_core.networks.bisenet import NOT_FACE, NOT_FACE_IN_VIDEO

from .reference import seeded_weights, shapes


@pytest.fixture(scope="module")
def golden():
    return {key: torch.from_numpy(value) for key, value in np.load(need_shared("reference/encoders.npz")).items()}


@pytest.fixture(scope="module")
def published():
    return json.loads(need_shared("reference/official_checkpoints.json").read_text())


def seeded(kind):
    """The published network of that kind, filled from its keys."""
    network = build_network({"type": kind}).eval()
    network.load_state_dict(seeded_weights(need_shared).seeded_state_dict(network.state_dict()))
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def landmark_network():
    return seeded("mobilenet_gdconv")


@pytest.mark.parametrize(("kind", "file", "count"), [("ir_se50", "model_ir_se50.pth", 397), ("bisenet", "79999_iter.pth", 191)])
def test_keys_and_shapes_equal_the_published_ones(published, kind, file, count):
    with torch.device("meta"):
        network = build_network({"type": kind})
    assert shapes(network) == published[file]
    assert len(published[file]) == count


def test_identity_equals_the_reference(golden):
    z_id = seeded("ir_se50")(golden["image"])
    torch.testing.assert_close(z_id, golden["z_id"], atol=1e-4, rtol=0)
    torch.testing.assert_close(z_id.norm(dim=1), torch.ones(2))


def test_landmarks_equal_the_reference(golden, landmark_network):
    landmarks = landmark_network(golden["image"])
    assert landmarks.shape == (2, 68, 2)
    torch.testing.assert_close(landmarks[:, 17:].flatten(1), golden["z_landmark"], atol=1e-4, rtol=0)


def test_masks_equal_the_reference(golden):
    logits = seeded("bisenet")(golden["image"])
    torch.testing.assert_close(logits[:, :, ::16, ::16], golden["parsing_logits_32"], atol=1e-4, rtol=0)
    classes = logits.argmax(dim=1, keepdim=True)[:, :, ::2, ::2]
    for name, outside in (("mask_train", NOT_FACE), ("mask_video", NOT_FACE_IN_VIDEO)):
        mask = ~torch.isin(classes, torch.tensor(outside))
        assert (mask != golden[name].bool()).sum() <= 5  # where two logits tie


@pytest.mark.parametrize("copies", ["both", "pretrain_net", "base_net"])
def test_the_published_landmark_checkpoint_loads_with_its_two_trunks(published, copies):
    """The trunk comes twice under two names, and with a classifier that nothing uses; it is kept once."""
    tensors = published["mobilenet_224_model_best_gdconv_external.pth.tar"]["state_dict"]
    tensors = {f"prefix.{key.removeprefix('module.')}": torch.empty(shape, device="meta") for key, shape in tensors.items()}
    other = {"both": "neither", "pretrain_net": "prefix.base_net.", "base_net": "prefix.pretrain_net."}[copies]
    tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(other)}
    with torch.device("meta"):
        network = torch.nn.ModuleDict({"prefix": build_network({"type": "mobilenet_gdconv"})})
    network.load_state_dict(tensors, assign=True)  # strict: every key and shape
    assert len(network.state_dict()) == 324


def test_a_trunk_under_its_other_name_gives_the_same_values(golden, landmark_network):
    renamed = {key.replace("base_net.0.", "pretrain_net.features."): tensor for key, tensor in landmark_network.state_dict().items()}
    network = build_network({"type": "mobilenet_gdconv"}).eval()
    network.load_state_dict(renamed)
    with torch.no_grad():
        assert torch.equal(network(golden["image"]), landmark_network(golden["image"]))


def test_any_square_size_and_only_squares(golden, landmark_network):
    image = torch.nn.functional.interpolate(golden["image"], (64, 64), mode="area")
    large = torch.nn.functional.interpolate(image, (256, 256), mode="bilinear")
    assert (landmark_network(image) - landmark_network(large)).abs().max() < 1e-5
    assert landmark_network(torch.nn.functional.interpolate(large, (320, 320), mode="bilinear")).shape == (2, 68, 2)
    with pytest.raises(DVAError, match="must be square, not 64x32"):
        landmark_network(torch.zeros(1, 3, 32, 64))
