"""The model's networks for computing gradients; networks shared with others are never changed."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.build import SkipInit
from ..model.evaluation import activation_bytes
from ..networks import build_network

PARTS = ("noise_predictor", "identity_encoder")  # those that gradients go through
GRADIENT_MEMORY = 6  # memory with gradients over that of an evaluation


class Differentiable:
    """Noise predictor, fusion layer and identity encoder in float32, frozen, with weights that autograd accepts.

    A context manager: on exit the host may release the networks. A network is copied if its weights are in half precision or were
    loaded under ComfyUI's inference mode, which autograd refuses; the shared one is never changed. Enter it outside inference mode.
    `schedule` and `predict_noise` are the interface that the solvers need.
    """

    def __init__(self, model) -> None:
        self.model, self.host, self.schedule = model, model.host, model.schedule
        self._copies: dict[str, nn.Module] = {}

    def __enter__(self) -> Differentiable:
        for part in PARTS:
            weights = getattr(self.model, part).parameters()
            if any(weight.is_inference() or weight.dtype != torch.float32 for weight in weights):
                self._copies[part] = copy_network(self.model, part)
        self._fusion = tuple(
            weight.detach().float().clone().to(self.device) for weight in (self.model.fusion.weight, self.model.fusion.bias)
        )
        return self

    def __exit__(self, *error: Any) -> None:
        for part in self._copies:
            self.host.forget(copy_name(part))
        self._copies.clear()

    @property
    def device(self) -> torch.device:
        return self.host.device

    def fuse(self, z_id: Tensor, z_motion: Tensor) -> Tensor:
        """As DiffusionVideoAutoencoder.fuse, a motion for each identity: [n, D], [n, M] -> [n, F]."""
        return F.linear(torch.cat([z_id, z_motion], 1).to(self.device), *self._fusion)

    def predict_noise(self, x_t: Tensor, t: Tensor, z_face: Tensor) -> Tensor:
        """As DiffusionVideoAutoencoder.predict_noise; differentiable in x_t and z_face."""
        network = self._use_copy("noise_predictor", x_t)
        if network is None:
            return self.model.predict_noise(x_t, t, z_face)
        x_t = x_t.to(self.device)
        return self.schedule.as_noise(network(x_t, t.to(self.device), z_face.to(self.device)), x_t, t)

    def encode_identity(self, images: Tensor) -> Tensor:
        """As DiffusionVideoAutoencoder.encode_identity, differentiable: [B, 3, S, S] in [-1, 1] -> [B, D]."""
        network = self._use_copy("identity_encoder", images)
        return self.model.run("identity_encoder", images) if network is None else network(images.to(self.device))

    def _use_copy(self, part: str, images: Tensor) -> nn.Module | None:
        """The copy of a part, on the device; None if the shared network can be used."""
        network = self._copies.get(part)
        if network is not None:
            self.host.use(copy_name(part), network, GRADIENT_MEMORY * activation_bytes(network, images, torch.float32))
        return network


def copy_name(part: str) -> str:
    """Name under which the host manages the copy of a part."""
    return f"differentiable_{part}"


def copy_network(model, part: str) -> nn.Module:
    """Copy one of the model's networks to float32 and plain layers, frozen; its weights are not inference tensors."""
    with torch.random.fork_rng(devices=[]), SkipInit():
        network = build_network(model.config[part])
    weights = {
        name: weight.detach().to(torch.float32 if weight.is_floating_point() else weight.dtype, copy=True)
        for name, weight in getattr(model, part).state_dict().items()
    }
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)
