"""The networks a text edit differentiates through, without touching those that others share."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autoencoder import activation_bytes
from ..networks import build_network
from ..structure import SkipInit
from .clip_model import ImageTextModel

PREDICTOR, IMAGE_TEXT = "text_edit_noise_predictor", "text_edit_image_text"  # names of the parts for the host
KEPT_FOR_GRADIENT = 6  # times what evaluating alone takes


class Differentiable:
    """Noise predictor, fusion layer and image-text model in float32, with weights that autograd accepts; frozen.

    A context: on leaving it the host may let go of everything. Where the model's weights were loaded under ComfyUI's inference mode
    (autograd refuses those) or are half precision, the noise predictor is copied; the shared one is never changed. Enter it outside
    inference mode. `schedule` and `predict_noise` are what the solvers ask of a model.
    """

    def __init__(self, model, clip: ImageTextModel) -> None:
        self.model, self.clip, self.host, self.schedule = model, clip, model.host, model.schedule
        self._predictor: nn.Module | None = None

    def __enter__(self) -> Differentiable:
        own = list(self.model.noise_predictor.parameters())
        if any(weight.is_inference() or weight.dtype != torch.float32 for weight in own):
            self._predictor = twin(self.model)
        self._fusion = tuple(
            weight.detach().float().clone().to(self.device) for weight in (self.model.fusion.weight, self.model.fusion.bias)
        )
        return self

    def __exit__(self, *error: Any) -> None:
        self._predictor = None
        for name in (PREDICTOR, IMAGE_TEXT):
            self.host.forget(name)

    @property
    def device(self) -> torch.device:
        return self.host.device

    def fuse(self, z_id: Tensor, z_motion: Tensor) -> Tensor:
        """As DiffusionVideoAutoencoder.fuse, a motion for each identity: [n, D], [n, M] -> [n, F]."""
        return F.linear(torch.cat([z_id, z_motion], 1).to(self.device), *self._fusion)

    def predict_noise(self, x_t: Tensor, t: Tensor, z_face: Tensor) -> Tensor:
        """As DiffusionVideoAutoencoder.predict_noise; differentiable in x_t and z_face."""
        if self._predictor is None:
            return self.model.predict_noise(x_t, t, z_face)
        needed = KEPT_FOR_GRADIENT * activation_bytes(self._predictor, x_t, torch.float32)
        device = self.host.use(PREDICTOR, self._predictor, needed)
        x_t = x_t.to(device)
        return self.schedule.as_noise(self._predictor(x_t, t.to(device), z_face.to(device)), x_t, t)

    def images(self, images: Tensor) -> Tensor:
        """Features [n, E] of images [n, 3, H, W] in [-1, 1]."""
        self._use_clip(len(images))
        return self.clip.encode_images(images)

    def texts(self, texts: list[str]) -> Tensor:
        """Features [n, E] of texts, on the device."""
        self._use_clip(len(texts))
        return self.clip.encode_texts(texts).to(self.device)

    def _use_clip(self, count: int) -> None:
        if isinstance(self.clip, nn.Module):
            per_item = getattr(self.clip, "activations_per_image", 2**24)
            self.host.use(IMAGE_TEXT, self.clip, KEPT_FOR_GRADIENT * count * per_item)


def twin(model) -> nn.Module:
    """A copy of the model's noise predictor in float32, of plain layers, frozen; its weights are no inference tensors."""
    with torch.random.fork_rng(devices=[]), SkipInit():
        network = build_network(model.config["noise_predictor"])
    weights = {name: weight.detach().to(torch.float32, copy=True) for name, weight in model.noise_predictor.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)
