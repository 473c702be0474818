"""The whole model, in the published and in a small configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from networks.reference import seeded_weights
from torch.utils._python_dispatch import TorchDispatchMode

from dva_core.diffusion import ddim
from dva_core.edit.attributes import AttributeSet
from dva_core.errors import DVAError
from dva_core.model.autoencoder import DiffusionVideoAutoencoder
from dva_core.model.convert import published_config
from dva_core.networks.hull import hull_mask

from .small import SMALL


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DiffusionVideoAutoencoder(SMALL).eval()


class Host:
    """A host that remembers what it was asked for."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self):
        self.used = []

    def use(self, name, module, activation_bytes=0):
        self.used.append((name, activation_bytes))
        return self.device


class Single(TorchDispatchMode):
    """Refuses to turn a tensor into double precision, which Apple's GPUs do not have."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._to_copy.default or (kwargs or {}).get("dtype") != torch.float64
        return function(*args, **(kwargs or {}))


def test_nothing_is_made_double_precision_on_the_way(model):
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with Single():
        z_face = model.fuse(model.encode_identity(images), model.encode_motion(images))
        ddim.sample(model, ddim.invert(model, torch.rand(2, 3, 16, 16), z_face, steps=2), z_face, steps=2)
        assert model.face_mask(images).shape == (2, 1, 32, 32)
        AttributeSet.from_model(model)


def test_the_published_checkpoint_fits_in_every_key_and_shape(shared):
    file = json.loads(shared("reference/official_checkpoints.json").read_text())["diffusion_video_autoencoder.ckpt"]
    places = {
        "encoder.idnet.backbone.": "identity_encoder.",
        "encoder.lndnet.backbone.": "motion_encoder.",
        "encoder.bgnet.backbone.": "face_parser.",
        "encoder.linear.": "fusion.",
    }
    tensors = {}
    for key, shape in file["tensors_per_prefix"].items():
        theirs = next((place for place in places if key.startswith(place)), "")
        tensors[places.get(theirs, "noise_predictor.") + key.removeprefix(theirs)] = torch.empty(shape, device="meta")
    assert len(tensors) == 1986
    with torch.device("meta"):
        network = DiffusionVideoAutoencoder(published_config())
    network.load_state_dict(tensors, assign=True)  # strict: every key and shape
    assert (network.image_size, network.identity_dim, network.motion_dim) == (256, 512, 102)
    assert network.detector is None and network.landmarks is None


def test_fusion_equals_the_reference(shared):
    """z_face of the mean identity, which is not brought back to unit length."""
    golden = {key: torch.from_numpy(value) for key, value in np.load(shared("reference/encoders.npz")).items()}
    noise_predictor = {**SMALL["noise_predictor"], "condition_channels": 512}
    config = {**SMALL, "identity_dim": 512, "face_dim": 512, "attributes": [], "noise_predictor": noise_predictor}
    model = DiffusionVideoAutoencoder(config)
    with torch.no_grad():
        weights = {f"linear.{key}": tensor for key, tensor in model.fusion.state_dict().items()}
        weights = seeded_weights(shared).seeded_state_dict(weights)
        model.fusion.load_state_dict({key.removeprefix("linear."): tensor for key, tensor in weights.items()})
        mean = golden["z_id"].mean(dim=0)
        for z_id in (mean, mean[None], mean.expand(2, -1)):
            torch.testing.assert_close(model.fuse(z_id, golden["z_landmark"]), golden["z_face"], atol=1e-4, rtol=0)


def test_shapes_and_lengths(model):
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    z_id, z_motion = model.encode_identity(images), model.encode_motion(images)
    assert z_id.shape == (3, 20) and z_motion.shape == (3, 102)
    torch.testing.assert_close(z_id.norm(dim=1), torch.ones(3))
    landmarks = model.encode_landmarks(images)
    assert landmarks.shape == (3, 68, 2)
    torch.testing.assert_close(landmarks[:, 17:].flatten(1), z_motion)  # this encoder sees the whole crop
    torch.testing.assert_close(model.track_landmarks(images), landmarks)
    z_face = model.fuse(z_id, z_motion)
    assert z_face.shape == (3, 24)
    eps = model.predict_noise(torch.randn(3, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 10, 999]), z_face)
    assert eps.shape == (3, 3, 16, 16) and eps.dtype == torch.float64
    assert ddim.invert(model, torch.rand(3, 3, 16, 16), z_face, 5).shape == (3, 3, 16, 16)


def test_landmarks_of_a_centre_window_are_given_in_the_crop(model, monkeypatch):
    images = torch.rand(1, 3, 32, 32)
    inside = model.encode_landmarks(images)
    monkeypatch.setattr(model.motion_encoder, "window", (16 / 256, 240 / 256), raising=False)
    torch.testing.assert_close(model.encode_landmarks(images), 0.0625 + 0.875 * inside)
    torch.testing.assert_close(model.encode_motion(images), inside[:, 17:].flatten(1))


def test_every_network_goes_through_the_host(model, monkeypatch):
    host = Host()
    monkeypatch.setattr(model, "host", host)
    images = torch.rand(2, 3, 32, 32)
    model.fuse(model.encode_identity(images), model.encode_motion(images))
    model.face_mask(images)
    model.predict_noise(torch.randn(2, 3, 16, 16), torch.tensor([0, 1]), torch.zeros(2, 24))
    model.run("detector", images)
    assert [name for name, _ in host.used] == [
        "identity_encoder", "motion_encoder", "fusion", "motion_encoder", "noise_predictor", "detector"
    ]  # fmt: skip
    assert min(size for _, size in host.used) > 0
    host.dtype = torch.bfloat16
    with pytest.raises(RuntimeError, match="BFloat16"):  # the weights are still float32: the host's precision reaches the network
        model.predict_noise(torch.randn(2, 3, 16, 16), torch.tensor([0, 1]), torch.zeros(2, 24))


def test_encoders_stay_frozen_in_training():
    model = DiffusionVideoAutoencoder(SMALL).train()
    assert model.noise_predictor.training and not model.identity_encoder.training
    trained = {key.partition(".")[0] for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"noise_predictor", "fusion"}
    for parameter in model.noise_predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    z_face = model.fuse(torch.randn(2, 20), torch.randn(2, 102))
    model.predict_noise(torch.randn(2, 3, 16, 16), torch.tensor([3, 500]), z_face).square().mean().backward()
    assert model.fusion.weight.grad.abs().max() > 0


def test_attributes_are_part_of_the_state(model):
    sizes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if key.startswith("attributes.")}
    assert sizes == {
        "attributes.identity.weight": (2, 20),
        "attributes.identity.bias": (2,),
        "attributes.identity.mean": (20,),
        "attributes.identity.std": (20,),
        "attributes.motion.shift": (1, 102),
    }


def test_parts_that_are_missing_or_do_not_fit_are_named(model):
    bare = DiffusionVideoAutoencoder({**SMALL, "detector": None, "landmarks": None})
    with pytest.raises(DVAError, match="no landmarks of its own"):
        bare.track_landmarks(torch.zeros(1, 3, 32, 32))
    with pytest.raises(DVAError, match="24 condition channels and face_dim is 25"):
        DiffusionVideoAutoencoder({**SMALL, "face_dim": 25})


def oval(turn=0.0):
    """68 landmarks on a face-like oval: jaw below, brows above, the rest between; in 0..1."""
    jaw = np.linspace(0, np.pi, 17)
    points = [np.stack([0.5 - 0.3 * np.cos(jaw), 0.45 + 0.35 * np.sin(jaw)], 1)]
    points.append(np.stack([np.linspace(0.25, 0.75, 10), np.full(10, 0.4)], 1))
    points.append(np.full((41, 2), 0.5))
    centred = np.concatenate(points) - 0.5
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return torch.from_numpy(centred @ rotation.T + 0.5).float()[None]


def test_the_hull_covers_the_face_and_the_forehead():
    mask = hull_mask(oval(), 100)
    assert mask.shape == (1, 1, 100, 100) and set(mask.unique().tolist()) == {0, 1}
    assert mask[0, 0, 79, 50] == 1 and mask[0, 0, 81, 50] == 0  # chin at .8
    assert mask[0, 0, 21, 50] == 1 and mask[0, 0, 19, 50] == 0  # .4 - half of .4 above the brows
    assert mask[0, 0, 50, 10] == 0 and mask[0, 0, 45, 21] == 1
    assert (mask != mask.flip(-1)).float().mean() < 0.01  # how cv2 draws edges is not quite symmetric
    assert (hull_mask(oval(), 100, growth=1.15) >= mask).all() and hull_mask(oval(), 100, growth=1.15).mean() > 1.2 * mask.mean()
    turned = hull_mask(oval(np.pi / 2), 100)  # a quarter turn: the chin points left
    assert turned[0, 0, 50, 21] == 1 and turned[0, 0, 50, 18] == 0
    assert (turned.rot90(1, (2, 3)) != mask).float().mean() < 0.01


def test_hull_mask_of_the_model(model, monkeypatch):
    monkeypatch.setattr(model.motion_encoder, "forward", lambda images: oval().expand(len(images), -1, -1))
    images = torch.rand(2, 3, 48, 48)
    video, train = model.face_mask(images), model.face_mask(images, for_video=False)
    assert video.shape == (2, 1, 48, 48) and video.dtype == torch.float32
    assert torch.equal(video, hull_mask(oval(), 48).expand(2, -1, -1, -1))
    assert (train >= video).all() and train.sum() > video.sum()


class Stripes(torch.nn.Module):
    """A parser that sees class 0 in the first 26 columns of 512, class 1 in the next 26, and so on."""

    def forward(self, images):
        classes = (torch.arange(512) // 26).clamp(max=18).expand(len(images), 512, 512)
        return torch.nn.functional.one_hot(classes, 19).permute(0, 3, 1, 2).float()


def test_a_parsers_classes_make_the_mask():
    model = DiffusionVideoAutoencoder(SMALL)
    model.face_parser = Stripes()
    images = torch.zeros(2, 3, 256, 256)
    for for_video, outside in ((False, {0, 16, 18}), (True, {0, 7, 8, 14, 16, 17, 18})):
        mask = model.face_mask(images, for_video)
        assert mask.shape == (2, 1, 256, 256)
        assert {k for k in range(19) if mask[1, 0, 100, 13 * k + 6] == 0} == outside
    small = model.face_mask(torch.zeros(1, 3, 64, 64))
    assert small[0, 0, 0, 3] == 0 and small[0, 0, 0, 4] == 1  # every eighth column of the parser's, from the first on
